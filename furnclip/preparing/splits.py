"""Which split a product belongs to: a hash of its group, so that no product ever moves.

A seeded shuffle moves 5 to 7% of the old rows when a tenth is appended; a hash moves none.
"""

from __future__ import annotations

from hashlib import blake2b

SPLITS = ("train", "val", "test")
MINI = "mini_train"


def unit(salt: str, group: str) -> float:
    """Map a group to [0, 1), evenly and for ever: blake2b(salt, group) / 2^64."""
    digest = blake2b(f"{salt}\0{group}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def split_of(group: str, *, salt: str, val_fraction: float, test_fraction: float) -> str:
    """Return ``test``, ``val`` or ``train`` for a group, against fixed thresholds."""
    position = unit(salt, group)
    if position < test_fraction:
        return "test"
    return "val" if position < test_fraction + val_fraction else "train"


def in_mini(group: str, *, salt: str, mini_fraction: float) -> bool:
    """Say whether a training group is also in ``mini_train``: a second, independent hash."""
    return unit(f"{salt}\0{MINI}", group) < mini_fraction
