"""Titles as shops write them: brands, sizes, codes, prices, shouting, and now and then a lie."""

from __future__ import annotations

import numpy as np

from furnclip.demo.palette import SHADES, Shade

_BRANDS = (
    "NORDVIK", "Halden & Sons", "CASA LUMO", "Brookmere", "OAKSHORE", "Villa Aria", "Tenby Home",
    "LINDQVIST", "Merrow", "UrbanNest", "Fjord Living", "HearthCo",
)  # fmt: skip
_LINES = (
    "Alma", "Odense", "Bristol", "Sorrento", "Kyra", "Hugo", "Marlow", "Vera", "Tilda", "Otto",
    "Elba", "Hanna", "Rufus", "Greta", "Milo", "Astrid",
)  # fmt: skip
_SAME = {
    "Sofa": ("Couch", "3 Seater Sofa", "Sofa"),
    "Armchair": ("Accent Armchair", "Armchair"),
    "Dining chair": (
        "Dining Chair", "Dining Chairs Set of 4", "Kitchen Chair", "Set of 2 Dining Chairs",
    ),
    "Bar stool": ("Bar Stool", "Barstool", "Counter Bar Stool"),
    "Bench": ("Entryway Bench", "Bench", "Hallway Bench"),
    "Coffee table": ("Coffee Table", "Living Room Coffee Table"),
    "Dining table": ("Dining Table", "6 Person Dining Table"),
    "Desk": ("Writing Desk", "Home Office Desk", "Desk"),
    "Bookcase": ("Bookcase", "Tall Bookcase", "5 Tier Bookcase"),
    "Dresser": ("Dresser", "Bedroom Dresser", "Drawer Dresser"),
    "Nightstand": ("Nightstand", "Bedside Nightstand"),
    "Wardrobe": ("Wardrobe", "Bedroom Wardrobe"),
    "Bed": ("Bed", "Platform Bed", "Queen Size Bed"),
    "Floor lamp": ("Floor Lamp", "Standing Floor Lamp"),
    "Table lamp": ("Table Lamp", "Bedside Table Lamp"),
    "Mirror": ("Wall Mirror", "Mirror", "Full Length Mirror"),
}  # fmt: skip
_HYPE = ("FREE SHIPPING", "NEW!!", "Best Seller", "*SALE*", "Free Delivery", "HOT DEAL", "In Stock")
_WORN = {"Mid-Century": ("Mid-Century Modern", "Mid Century", "Mid-Century Modern")}


def messy_title(
    object_type: str, style: str, material: str, shade: Shade, rng: np.random.Generator
) -> str:
    """Write the title of one product; facts go missing and one colour in 25 is wrong."""
    color = "" if rng.random() < 0.10 else shade.words
    if color and rng.random() < 0.04:
        color = _other(material, shade, rng).words
    made = "" if rng.random() < 0.10 else material
    look = "" if rng.random() < 0.12 else str(rng.choice(_WORN.get(style, (style,))))
    kind = str(rng.choice(_SAME[object_type]))
    facts = [word for word in _ordered(look, color, made, kind, rng) if word]
    if rng.random() < 0.5:
        facts.insert(0, str(rng.choice(_LINES)))
    if rng.random() < 0.6:
        facts.insert(0, str(rng.choice(_BRANDS)))
    title = " ".join(facts) + _tail(rng)
    shout = rng.random()
    return title.upper() if shout < 0.15 else title.lower() if shout < 0.25 else title


def _ordered(
    look: str, color: str, made: str, kind: str, rng: np.random.Generator
) -> tuple[str, ...]:
    """Put the facts in one of the orders that shops use."""
    order = rng.integers(4)
    if order == 0:
        return look, color, made, kind
    if order == 1:
        return look, made, f"{kind},", color
    if order == 2:
        return color, made, kind, f"- {look}" if look else ""
    return look, kind, f"in {color} {made}".rstrip() if color else made


def _tail(rng: np.random.Generator) -> str:
    """Append what is no fact about the product: sizes, codes, prices, hype."""
    pieces = []
    if rng.random() < 0.45:
        wide, deep = int(rng.integers(40, 220)), int(rng.integers(35, 100))
        pieces.append(f", {wide}x{deep} cm")
    if rng.random() < 0.4:
        letter = chr(65 + int(rng.integers(26)))
        pieces.append(f" | SKU {letter}{rng.integers(10, 99)}-{rng.integers(1000, 9999)}")
    if rng.random() < 0.3:
        pieces.append(f" ${rng.integers(39, 1899)}.{rng.choice(('00', '95', '99'))}")
    if rng.random() < 0.35:
        pieces.append(f" {rng.choice(_HYPE)}")
    return "".join(pieces)


def _other(material: str, shade: Shade, rng: np.random.Generator) -> Shade:
    others = [other for other in SHADES[material] if other.family != shade.family]
    return others[rng.integers(len(others))] if others else shade
