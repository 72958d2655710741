"""Captions from templates such as ``a {style} {color} {material} {object_type}``."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from furnclip.catalogue import CLEANED_FIELDS
from furnclip.errors import ConfigError

SLOTS = ("title", *CLEANED_FIELDS)
CLIP_CONTEXT = 77
_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+|_+")
_ARTICLE = re.compile(r"\b(a|A)n? $")


@dataclass(frozen=True)
class Template:
    """A parsed template: alternating literal text and slot names."""

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Parse ``text``; raises ``ConfigError`` for a slot that does not exist."""
        try:
            parts = tuple((literal, name) for literal, name, *_ in string.Formatter().parse(text))
        except ValueError as error:
            raise ConfigError(f"prep.captions: {text!r}: {error}") from error
        for _, name in parts:
            if name is not None and name not in SLOTS:
                raise ConfigError(
                    f"prep.captions: {text!r} has no slot {{{name}}}",
                    hint=f"slots: {', '.join(SLOTS)}",
                )
        return cls(parts)

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the caption; empty when it would describe nothing.

        Empty slots are dropped with the space beside them, and so are words said already ("Pine"
        as colour and as material); ``a`` becomes ``an`` where it must.
        The last slot is what the caption is about: without it there is no caption.
        """
        slots = [name for _, name in self.parts if name is not None]
        if slots and not values.get(slots[-1], "").strip():
            return ""
        text, said = "", {values[slots[-1]].strip().casefold()} if slots else set()
        for literal, name in self.parts:
            text += literal if not text.endswith(" ") else literal.lstrip(" ")
            value = values.get(name, "").strip() if name else ""
            if value and (name == slots[-1] or value.casefold() not in said):
                said.add(value.casefold())
                text = _ARTICLE.sub(rf"\1{'n' if value[0] in 'aeiouAEIOU' else ''} ", text) + value
        return re.sub(r"\s+", " ", text).strip()


def captions_of(values: Mapping[str, str], templates: Sequence[Template]) -> list[str]:
    """Return the captions of a product in template order, without repetitions.

    ``values`` has the keys of ``SLOTS``. A product whose templates all come out empty is captioned
    by its raw title; the list is empty only when that is empty too.
    """
    found: dict[str, str] = {}
    for template in templates:
        caption = template.fill(values)
        if caption:
            found.setdefault(caption.casefold(), caption)
    title = re.sub(r"\s+", " ", values.get("title", "")).strip()
    return list(found.values()) or ([title] if title else [])


def is_long(caption: str) -> bool:
    """Say whether a caption surely exceeds CLIP's 77 tokens: every piece is a token or more."""
    return len(_PIECES.findall(caption)) + 2 > CLIP_CONTEXT
