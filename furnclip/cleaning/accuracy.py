"""How often cleaned fields agree with an answer key, by definitions stated here.

* ``object_type`` is right when the *head nouns* agree. The head noun of a phrase is its last word
  before the first comma, slash, preposition or conjunction (with, w, for, in, on, of, and, …),
  singular, lower case: "Chest of 3 drawers" → chest, "Table lamp base" → base.
* ``color`` and ``material`` are right when the value agrees with *any listed one*. The key may
  list several, separated by commas or slashes. Two agree when the words of one are all among the
  words of the other, after lower case, gray → grey, and dropping colour, effect, plated and
  stained: "grey" agrees with "dark grey", not with "white".
* other fields are right when they are equal, case and spaces aside.

Rows whose key is empty do not count; a missing answer counts as wrong.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from furnclip.catalogue import CLEANED_FIELDS, id_column, read_header, read_rows
from furnclip.cleaning.lexicon import singular, words
from furnclip.errors import DataError

_HEAD_ENDS = frozenset(
    {"with", "w", "for", "in", "on", "of", "and", "without", "from", "plus", "to"}
)
_FILLER = frozenset({"colour", "color", "effect", "plated", "stained", "stain"})


@dataclass(frozen=True)
class FieldAccuracy:
    """``correct`` of ``total`` keyed products agree; ``answered`` of them had any value."""

    field: str
    correct: int
    answered: int
    total: int

    @property
    def accuracy(self) -> float:
        """Share of keyed products that agree, 0 when there are none."""
        return self.correct / self.total if self.total else 0.0


def head_noun(phrase: str) -> str:
    """Return the noun that names the thing, as defined above; empty when there is none."""
    tokens = words(re.split(r"[,/;(+]", phrase)[0])
    end = next((i for i, word in enumerate(tokens) if i and word in _HEAD_ENDS), len(tokens))
    kept = [word for word in tokens[:end] if not word.isdigit()]
    return singular(kept[-1]) if kept else ""


def agrees(field: str, answer: str, key: str) -> bool:
    """Say whether ``answer`` is right for ``key`` in this field."""
    if not answer.strip():
        return False
    if field == "object_type":
        return head_noun(answer) == head_noun(key)
    if field in {"color", "material"}:
        mine = _value_words(answer)
        listed = [_value_words(part) for part in re.split(r"[,/]", key)]
        return bool(mine) and any(one and (mine <= one or one <= mine) for one in listed)
    return " ".join(answer.casefold().split()) == " ".join(key.casefold().split())


def measure(
    answers: Iterable[tuple[Mapping[str, str], Mapping[str, str]]], fields: Iterable[str]
) -> list[FieldAccuracy]:
    """Count agreement over pairs of (answer, key), field by field."""
    pairs = list(answers)
    results = []
    for field in fields:
        keyed = [(a.get(field, ""), k[field]) for a, k in pairs if k.get(field, "").strip()]
        correct = sum(agrees(field, answer, key) for answer, key in keyed)
        answered = sum(bool(answer.strip()) for answer, _ in keyed)
        results.append(FieldAccuracy(field, correct, answered, len(keyed)))
    return results


def measure_csv(cleaned: Path, truth: Path) -> list[FieldAccuracy]:
    """Compare a cleaned CSV with an answer key, joined on the id column both have.

    Raises ``DataError`` when there is no common id column, field or product.
    """
    header, key_header = read_header(cleaned), read_header(truth)
    column = id_column(key_header, None, path=truth)
    fields = [name for name in CLEANED_FIELDS if name in key_header]
    if column is None or column not in header or not fields:
        raise DataError(
            f"{truth} cannot be compared with {cleaned}",
            hint=f"it needs {cleaned}'s id column and one or more of: {', '.join(CLEANED_FIELDS)}",
        )
    keys = {row.values[column]: row.values for row in read_rows(truth)}
    pairs = [
        (row.values, keys[row.values[column]])
        for row in read_rows(cleaned)
        if row.values[column] in keys
    ]
    if not pairs:
        raise DataError(f"no product of {cleaned} is in {truth}", hint=f"compare their {column}s")
    return measure(pairs, fields)


def _value_words(value: str) -> frozenset[str]:
    normal = value.casefold().replace("gray", "grey").replace("aluminum", "aluminium")
    return frozenset(words(normal)) - _FILLER
