"""Reading a raw shop title: what is noise, what is a name, what the product is.

Nothing here looks at a photo or at other rows, so the same title always reads the same.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from furnclip.cleaning.lexicon import (
    Lexicon,
    Match,
    Term,
    load_lexicon,
    singular,
    word_spans,
    words,
)

# Commas, bars, brackets, lone dashes (also en and em dashes), stars and exclamation marks.
_DASHES = "-\u2013\u2014"
_SEPARATORS = re.compile(
    rf"\s*(?:[,;|()\[\]{{}}~\u2022\u00b7]|\s[{_DASHES}:/+]+\s|\s[{_DASHES}]+$|^[{_DASHES}]+\s"
    r"|[*!?_]+|:\s)\s*"
)
_BY = re.compile(r"\bby\s+[A-Z][\w&'.-]*(?:\s+[A-Z][\w&'.-]*)*")
_SHORT_NOISE = 4
_HEAD_ENDS = frozenset(
    {"with", "w", "for", "in", "on", "of", "and", "without", "from", "plus", "to"}
)
_MAX_TYPE_WORDS = 4
_ACRONYMS = re.compile(r"\b(?:led|tv|usb|mdf|pvc|pu)\b", re.IGNORECASE)


@dataclass(frozen=True)
class ParsedTitle:
    """What a title says; ``clean`` has noise, names and sizes removed, None fields are not said.

    ``color`` is the words of the title (``dark grey``), ``color_family`` the palette's name for it.
    """

    clean: str
    object_type: str | None
    color: str | None
    color_family: str | None
    material: str | None
    style: str | None


def parse_title(raw: str) -> ParsedTitle:
    """Read one title with the package's word lists."""
    lexicon = load_lexicon()
    segments = _drop_names(_segments(strip_noise(raw)), lexicon)
    object_type, used = _object_type(segments, lexicon)
    rest = [_blank(segment, used.get(index)) for index, segment in enumerate(segments)]
    color, family = _color(rest, lexicon)
    return ParsedTitle(
        clean=_sentence(", ".join(segments))
        or _sentence(" ".join(raw.split()))
        or "Unnamed product",
        object_type=object_type,
        color=color,
        color_family=family,
        material=_material(rest, lexicon),
        style=next((m.name for s in segments for m in lexicon.styles.find(words(s))), None),
    )


def strip_noise(raw: str) -> str:
    """Remove article numbers, prices, quantities, sizes, shop talk and known brand names."""
    text = html.unescape(unicodedata.normalize("NFKC", raw)).replace(
        "\N{REPLACEMENT CHARACTER}", ""
    )
    text = _BY.sub(" ", text)
    lexicon = load_lexicon()
    text = lexicon.patterns.sub(" ", text)
    text = _phrases(lexicon.noise, shop_talk=True).sub(" ", text)
    text = _phrases(lexicon.brands, shop_talk=False).sub(" ", text)
    return " ".join(text.split())


@cache
def _phrases(phrases: tuple[str, ...], *, shop_talk: bool) -> re.Pattern[str]:
    """Match the phrases whole; a short word of shop talk only in capitals: NEW, not New York."""
    parts = []
    for phrase in phrases:
        spelled = r"[\s-]+".join(re.escape(part) for part in re.split(r"[\s-]+", phrase))
        if shop_talk and len(phrase) <= _SHORT_NOISE:
            parts.append(rf"{spelled.upper()}\b!*|(?i:{spelled})!+")
        else:
            parts.append(rf"(?i:{spelled})(?!\w)!*")
    return re.compile(r"(?<!\w)(?:" + "|".join(parts) + ")")


def _segments(text: str) -> list[str]:
    return [
        part
        for part in (p.strip(f" ./'\"{_DASHES}") for p in _SEPARATORS.split(text))
        if words(part)
    ]


def _drop_names(segments: Sequence[str], lexicon: Lexicon) -> list[str]:
    """Drop what stands before the first known word: in shops that is a maker or a series."""
    for index, segment in enumerate(segments):
        tokens = words(segment)
        if not _says_something(tokens, lexicon):
            continue
        first = next((i for i in range(len(tokens)) if _known(tokens, i, lexicon)), None)
        if first is not None:
            return [_from_word(segment, first), *segments[index + 1 :]]
    return list(segments)


def _says_something(tokens: Term, lexicon: Lexicon) -> bool:
    lists = (lexicon.nouns, lexicon.materials, lexicon.styles, lexicon.colors)
    return any(terms.find(tokens) for terms in lists)


def _known(tokens: Term, index: int, lexicon: Lexicon) -> bool:
    lists = (
        lexicon.nouns,
        lexicon.modifiers,
        lexicon.materials,
        lexicon.styles,
        lexicon.colors,
        lexicon.qualifiers,
    )
    return any(terms.at(tokens, index) for terms in lists)


def _from_word(text: str, index: int) -> str:
    return text[word_spans(text)[index][0] :]


def _object_type(segments: Sequence[str], lexicon: Lexicon) -> tuple[str | None, dict[int, range]]:
    """Return the type and the words it took, as segment index → word range."""
    for whole in (False, True):
        for index, segment in enumerate(segments):
            tokens = words(segment)
            end = len(tokens) if whole else _head_end(tokens)
            head = _head(tokens[:end], lexicon)
            if head is None:
                continue
            start = _type_start(tokens, head, lexicon)
            return _type_name(tokens, start, head), {index: range(start, head.stop)}
    return None, {}


def _head_end(tokens: Term) -> int:
    return next((i for i, word in enumerate(tokens) if i and word in _HEAD_ENDS), len(tokens))


def _head(tokens: Term, lexicon: Lexicon) -> Match | None:
    """Return the noun that ends the first run of nouns: (bar stool) … (leather seat) → stool.

    A counted part (3 drawers), a material (glass) or a word that mostly describes (storage) is
    taken only when there is nothing better.
    """
    nouns = lexicon.nouns.find(tokens)
    proper = [
        noun
        for noun in nouns
        if tokens[noun.start : noun.stop] not in lexicon.materials
        and not (noun.start and tokens[noun.start - 1].isdigit())
    ]
    naming = [noun for noun in proper if tokens[noun.start : noun.stop] not in lexicon.modifiers]
    for noun, after in pairwise([*naming, None]):
        if noun is not None and (after is None or after.start > noun.stop):
            return noun
    candidates = proper or nouns
    return candidates[-1] if candidates else None


def _type_start(tokens: Term, head: Match, lexicon: Lexicon) -> int:
    covered = {
        index
        for terms in (lexicon.nouns, lexicon.modifiers)
        for match in terms.find(tokens)
        for index in range(match.start, match.stop)
        if tokens[match.start : match.stop] not in lexicon.materials
    }
    start = head.start
    while start - 1 in covered and head.stop - start < _MAX_TYPE_WORDS:
        start -= 1
    return start


def _type_name(tokens: Term, start: int, head: Match) -> str:
    last = singular(tokens[head.stop - 1])
    name = " ".join([*tokens[start : head.stop - 1], last])
    following = [word for word in tokens[head.stop : head.stop + 3] if not word.isdigit()]
    if name.endswith("chest") and following[:2] == ["of", "drawers"]:
        name += " of drawers"
    return capitalised(_acronyms(name))


def _blank(segment: str, used: range | None) -> str:
    """Replace the words of the object type, so that they are not read as colour or material."""
    if used is None:
        return segment
    spans = word_spans(segment)
    return segment[: spans[used.start][0]] + " · " + segment[spans[used.stop - 1][1] :]


def _color(segments: Sequence[str], lexicon: Lexicon) -> tuple[str | None, str | None]:
    for segment in segments:
        tokens, spans = words(segment), word_spans(segment)
        for match in lexicon.colors.find(tokens):
            if lexicon.materials.at(tokens, match.start):
                continue
            start, stop = match.start, match.stop
            while start and _joins(segment, spans, tokens, start, lexicon):
                start -= 1
            while stop < len(tokens) and _hyphenated_color(segment, spans, tokens, stop, lexicon):
                stop += 1
            text = segment[spans[start][0] : spans[stop - 1][1]].lower()
            return capitalised(_spelling(text)), match.name
    return None, None


def _joins(
    segment: str, spans: Sequence[tuple[int, int]], tokens: Term, start: int, lexicon: Lexicon
) -> bool:
    if lexicon.qualifiers.at(tokens, start - 1):
        return True
    return (
        _hyphen_before(segment, spans, start) and lexicon.colors.at(tokens, start - 1) is not None
    )


def _hyphenated_color(
    segment: str, spans: Sequence[tuple[int, int]], tokens: Term, index: int, lexicon: Lexicon
) -> bool:
    return _hyphen_before(segment, spans, index) and lexicon.colors.at(tokens, index) is not None


def _hyphen_before(segment: str, spans: Sequence[tuple[int, int]], index: int) -> bool:
    return segment[spans[index - 1][1] : spans[index][0]] == "-"


def _material(segments: Iterable[str], lexicon: Lexicon) -> str | None:
    """Return the first material, a specific one (oak) before a general one (wood)."""
    found = [m.name for s in segments for m in lexicon.materials.find(words(s))]
    general = ("wood", "metal", "fabric", "engineered wood", "plastic")
    specific = [name for name in found if name not in general]
    candidates = specific or found
    return capitalised(candidates[0]) if candidates else None


def _spelling(text: str) -> str:
    return re.sub(r"\bgray\b", "grey", re.sub(r"\bmulti[- ]?color\b", "multicolour", text))


def _sentence(text: str) -> str:
    """Give a shouted title sentence case; leave others as written, but for the first letter."""
    letters = [c for c in text if c.isalpha()]
    shouted = letters and sum(c.isupper() for c in letters) > 0.7 * len(letters)
    return capitalised(_acronyms(text.lower()) if shouted else text)


def _acronyms(text: str) -> str:
    return _ACRONYMS.sub(lambda found: found.group().upper(), text)


def capitalised(text: str) -> str:
    """Return ``text`` with its first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]
