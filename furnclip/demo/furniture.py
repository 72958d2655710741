"""The sixteen kinds of furniture, each in five styles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from furnclip.demo import bedroom, decor, seating, storage, tables
from furnclip.demo.solids import Part


def build(object_type: str, style: str, rng: np.random.Generator) -> list[Part]:
    """Build one piece standing on the floor, its front towards +z; proportions vary with rng."""
    return _BUILDERS[object_type](style, rng)


_BUILDERS: dict[str, Callable[[str, np.random.Generator], list[Part]]] = {
    "Sofa": seating.sofa,
    "Armchair": seating.armchair,
    "Dining chair": seating.dining_chair,
    "Bar stool": seating.bar_stool,
    "Bench": seating.bench,
    "Coffee table": tables.coffee_table,
    "Dining table": tables.dining_table,
    "Desk": tables.desk,
    "Bookcase": storage.bookcase,
    "Dresser": storage.dresser,
    "Nightstand": storage.nightstand,
    "Wardrobe": storage.wardrobe,
    "Bed": bedroom.bed,
    "Floor lamp": decor.floor_lamp,
    "Table lamp": decor.table_lamp,
    "Mirror": decor.mirror,
}
OBJECT_TYPES = tuple(_BUILDERS)
