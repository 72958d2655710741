"""The same picture under two products: found, and kept on one side of every split.

Exact: equal pixels. Near: dHashes that differ in a few of 256 bits, confirmed on a small colour
copy, because dHash is blind to colour and a sofa in red is not the same sofa in blue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from furnclip.state.preparing import Picture, near_pairs

# The largest difference of any cell of the 8 x 8 colour copies, of 255, that still is one picture.
_CELL_TOLERANCE = 12
Pair = tuple[int, int]


def same_pictures(pictures: Sequence[Picture]) -> list[Pair]:
    """Return index pairs (first, later) of pictures with equal pixels."""
    first: dict[str, int] = {}
    pairs: list[Pair] = []
    for index, picture in enumerate(pictures):
        earlier = first.setdefault(picture.image_sha256, index)
        if earlier != index:
            pairs.append((earlier, index))
    return pairs


def similar_pictures(pictures: Sequence[Picture], *, bits: int) -> list[Pair]:
    """Return index pairs of distinct pictures that are near each other; none when ``bits`` is 0."""
    if bits == 0 or len(pictures) < 2:
        return []
    hashes = np.frombuffer(b"".join(picture.dhash for picture in pictures), dtype=np.uint64)
    pairs = near_pairs(hashes.reshape(-1, 4), bits=bits)
    if not pairs:
        return []
    tiny = np.frombuffer(b"".join(picture.thumbnail for picture in pictures), dtype=np.uint8)
    cells = tiny.reshape(len(pictures), -1).astype(np.int16)
    index = np.array(pairs)
    close = np.abs(cells[index[:, 0]] - cells[index[:, 1]]).max(axis=1) <= _CELL_TOLERANCE
    return [pair for pair, is_close in zip(pairs, close.tolist(), strict=True) if is_close]


def components(nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the connected sets of more than one node, each in the order of ``nodes``."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.get(node, node) != node:
            parent[node] = parent.get(parent[node], parent[node])
            node = parent[node]
        return node

    for a, b in edges:
        parent[root(a)] = root(b)
    sets: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        sets[root(node)].append(node)
    return [members for members in sets.values() if len(members) > 1]
