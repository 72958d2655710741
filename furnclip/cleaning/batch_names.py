"""Names of batches: a vendor's ids are long, so their ends are shown and taken for the whole."""

from collections.abc import Sequence

from furnclip.errors import DataError, UsageError
from furnclip.state import StateStore
from furnclip.state.cleaning_parts import BatchRow, list_batches

_ELLIPSIS = "…"
_SHORTEST = 8


def shortened(ids: Sequence[str]) -> list[str]:
    """Return the ends of ids, long enough that no two are the same."""
    longest = max(map(len, ids), default=0)
    lengths = range(_SHORTEST, longest + 1)
    differ = (n for n in lengths if len({name[-n:] for name in ids}) == len(set(ids)))
    length = next(differ, longest)
    return [n if len(n) <= length + 4 else f"{_ELLIPSIS}{n[-length:]}" for n in ids]


def named_batches(store: StateStore, name: str) -> list[BatchRow]:
    """Return the batch of this id, or the one whose id ends like it; none when there is none.

    An end has at least eight characters. Raises ``UsageError`` when several ids end like it and
    ``DataError`` when none does and it was plainly meant as an end.
    """
    if found := list_batches(store, batch_id=name):
        return found
    end = name.removeprefix(_ELLIPSIS)
    if len(end) >= _SHORTEST:
        found = [row for row in list_batches(store) if row.batch_id.endswith(end)]
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} batches have ids that end in {end}",
            hint="`furnclip clean status --json` shows the whole ids",
        )
    if not found and name.startswith(_ELLIPSIS):
        raise DataError(
            f"no batch has an id that ends in {end}",
            hint="`furnclip clean status` lists the batches",
        )
    return found
