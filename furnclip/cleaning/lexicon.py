"""The word lists of the rules backend, read from the package's data files.

A list is one term a line; ``canonical: other, spellings`` where it has variants; ``#`` starts a
comment. Terms are matched as runs of lower-case words, longest first.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_WORD = re.compile(r"[^\W_]+(?:['\u2019.&][^\W_]+)*")

_CODE = ("lexicon.py", "photo_color.py", "rules.py", "titles.py")

Term = tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """``tokens[start:stop]`` spell the term whose canonical form is ``name``."""

    start: int
    stop: int
    name: str


class TermList:
    """Terms with their canonical names; finds the longest one at each word."""

    def __init__(self, names: Mapping[Term, str]) -> None:
        self._names = names
        self._longest = max(map(len, names), default=0)

    def at(self, tokens: Sequence[str], start: int) -> Match | None:
        """Return the longest term that begins at ``tokens[start]``."""
        for length in range(min(self._longest, len(tokens) - start), 0, -1):
            name = self._names.get(tuple(tokens[start : start + length]))
            if name is not None:
                return Match(start, start + length, name)
        return None

    def find(self, tokens: Sequence[str]) -> list[Match]:
        """Return the terms in ``tokens`` from left to right, longest first, not overlapping."""
        found: list[Match] = []
        start = 0
        while start < len(tokens):
            match = self.at(tokens, start)
            if match is not None:
                found.append(match)
            start = match.stop if match is not None else start + 1
        return found

    def __contains__(self, term: object) -> bool:
        return term in self._names


@dataclass(frozen=True)
class Color:
    """A colour family and the sRGB values a photo of it shows (none: only read from titles)."""

    name: str
    samples: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Lexicon:
    """All lists. ``finish_colors``: material → colour families a photo of that finish shows."""

    nouns: TermList
    modifiers: TermList
    materials: TermList
    styles: TermList
    colors: TermList
    qualifiers: TermList
    palette: tuple[Color, ...]
    finish_colors: Mapping[str, frozenset[str]]
    patterns: re.Pattern[str]
    noise: tuple[str, ...]
    brands: tuple[str, ...]


def words(text: str) -> Term:
    """Split into lower-case words; hyphens separate, apostrophes and inner dots do not."""
    return tuple(match.group().lower().replace("\u2019", "'") for match in _WORD.finditer(text))


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return where each of ``words(text)`` stands in ``text``."""
    return [match.span() for match in _WORD.finditer(text)]


@cache
def load_lexicon() -> Lexicon:
    """Read the lists once."""
    colors, palette = _colors()
    materials, finishes = _materials()
    return Lexicon(
        nouns=TermList(_with_plurals("nouns.txt")),
        modifiers=TermList(_plain("modifiers.txt")),
        materials=TermList(materials),
        styles=TermList(_variants(_lines("styles.txt"))),
        colors=TermList(colors),
        qualifiers=TermList(_plain("qualifiers.txt")),
        palette=palette,
        finish_colors=finishes,
        patterns=_patterns(),
        noise=tuple(sorted(_lines("noise.txt"), key=len, reverse=True)),
        brands=tuple(sorted(_lines("brands.txt"), key=len, reverse=True)),
    )


@cache
def rules_version() -> str:
    """Return a hash of the lists and the code that reads them: other rules, other answers."""
    package = files("furnclip.cleaning")
    lists = [entry for entry in (package / "data").iterdir() if entry.name.endswith(".txt")]
    code = [package / name for name in _CODE]
    digest = hashlib.sha256()
    for entry in sorted(lists + code, key=lambda item: item.name):
        digest.update(entry.name.encode() + b"\0" + entry.read_bytes())
    return digest.hexdigest()[:12]


def singular(word: str) -> str:
    """Return the singular of an English noun of the shop: shelves → shelf, boxes → box."""
    if word in {"glass", "chaise longue", "hours", "series", "scissors", "tongs", "sheers"}:
        return word
    if word.endswith(("shelves", "knives", "loaves", "leaves")):
        return word[:-3] + ("fe" if word.endswith("knives") else "f")
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _lines(name: str) -> Iterator[str]:
    text = (files("furnclip.cleaning") / "data" / name).read_text("utf-8")
    for line in text.splitlines():
        term = line.partition("#")[0].strip()
        if term:
            yield term


def _patterns() -> re.Pattern[str]:
    text = (files("furnclip.cleaning") / "data" / "patterns.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("# ")]
    return re.compile("|".join(f"(?:{line})" for line in lines), re.IGNORECASE)


def _plain(name: str) -> dict[Term, str]:
    return {words(term): term for term in _lines(name)}


def _with_plurals(name: str) -> dict[Term, str]:
    names = _plain(name)
    for term, canonical in list(names.items()):
        for plural in _plurals(term[-1]):
            names.setdefault((*term[:-1], plural), canonical)
    return names


def _plurals(word: str) -> tuple[str, ...]:
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return (word[:-1] + "ies",)
    if word.endswith(("s", "x", "ch", "sh")):
        return (word + "es",)
    if word.endswith("fe"):
        return (word[:-2] + "ves", word + "s")
    if word.endswith("f"):
        return (word[:-1] + "ves", word + "s")
    return (word + "s",)


def _variants(lines: Iterator[str]) -> dict[Term, str]:
    names: dict[Term, str] = {}
    for line in lines:
        canonical, _, others = line.partition(":")
        for spelling in (canonical, *filter(None, map(str.strip, others.split(",")))):
            names[words(spelling)] = canonical.strip()
    return names


def _materials() -> tuple[dict[Term, str], dict[str, frozenset[str]]]:
    spellings, finishes = [], {}
    for line in _lines("materials.txt"):
        terms, _, families = line.partition("|")
        spellings.append(terms.strip())
        if families:
            finishes[terms.partition(":")[0].strip()] = frozenset(families.split())
    return _variants(iter(spellings)), finishes


def _colors() -> tuple[dict[Term, str], tuple[Color, ...]]:
    spellings, palette = [], []
    for line in _lines("colors.txt"):
        left, _, others = line.partition(":")
        name, *numbers = left.replace(",", " ").split()
        values = [int(number) for number in numbers]
        samples = tuple((values[i], values[i + 1], values[i + 2]) for i in range(0, len(values), 3))
        palette.append(Color(name, samples))
        spellings.append(f"{name}: {others}")
    return _variants(iter(spellings)), tuple(palette)
