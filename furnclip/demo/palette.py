"""Which materials come in which colours, and how they look.

Every shade has the family that the answer key uses and the words that a shop would print.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from furnclip.demo.scene import Finish

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Shade:
    """A colour of a material: ``family`` in the key, ``words`` in titles, sRGB ``hex`` colour."""

    family: str
    words: str
    hex: str


_TEXTILE = {
    "Leather": (
        "Black:Black:1f1d1c", "Brown:Cognac Brown:96562b", "Brown:Dark Brown:4f3122",
        "White:White:ece6da", "Red:Red:8c1f1f", "Green:Olive Green:565c34", "Grey:Grey:7c7b79",
    ),
    "Velvet": (
        "Green:Emerald Green:14604a", "Blue:Navy Blue:1f3265", "Blue:Blue:4468a8",
        "Pink:Blush Pink:d88f9c", "Red:Burgundy Red:7a1730", "Yellow:Mustard Yellow:c9982f",
        "Grey:Grey:84868c", "Black:Black:201f24",
    ),
    "Linen": (
        "Beige:Beige:d2bf9d", "Grey:Light Grey:a9aaa8", "Grey:Charcoal Grey:4c4e52",
        "White:White:eeebe3", "Blue:Light Blue:86a8c6", "Green:Sage Green:93a585",
        "Orange:Terracotta Orange:c0673e",
    ),
    "Boucle": (
        "White:White:f1ede4", "Beige:Cream Beige:dccbb0", "Grey:Grey:97979a", "Pink:Pink:dba9a6",
    ),
}  # fmt: skip
_HARD = {
    "Oak": ("Natural:Natural:c8a47c", "Black:Black:353230", "White:White:ddd6c9"),
    "Walnut": ("Brown:Brown:7a5238", "Brown:Dark Brown:553423"),
    "Pine": (
        "Natural:Natural:dcbb90", "White:White:e9e5dc", "Green:Green:5f7f5f", "Blue:Blue:56789c",
        "Grey:Grey:8f908c",
    ),
    "Metal": (
        "Black:Black:2a2b2d", "White:White:e6e6e4", "Grey:Grey:9fa3a6", "Gold:Gold:d0a24e",
        "Red:Red:b02a25", "Blue:Blue:31609f", "Yellow:Yellow:e0b02c", "Green:Green:3e7356",
    ),
    "Glass": ("Black:Black:2a2b2d", "Gold:Gold:d0a24e", "White:White:e6e6e4"),
    "Marble": ("White:White:ece9e4", "Black:Black:34343a", "Green:Green:3c6152"),
    "Rattan": ("Natural:Natural:cfab78", "Brown:Brown:8a5a33", "Black:Black:38332f",
               "White:White:e8e2d3"),
    "Ceramic": (
        "White:White:f0ede6", "Blue:Blue:2f5e9e", "Green:Green:4f8068", "Yellow:Yellow:dcae3c",
        "Pink:Pink:d99aa0", "Black:Black:2b2a2d",
    ),
}  # fmt: skip
SHADES: dict[str, tuple[Shade, ...]] = {
    material: tuple(Shade(*entry.split(":")) for entry in entries)
    for material, entries in (_TEXTILE | _HARD).items()
}

_SEATING = ("Leather", "Velvet", "Linen", "Boucle")
_CASES = ("Oak", "Walnut", "Pine", "Rattan", "Metal")
MATERIALS: dict[str, tuple[str, ...]] = {
    "Sofa": _SEATING,
    "Armchair": _SEATING,
    "Dining chair": ("Oak", "Leather", "Velvet", "Rattan", "Metal"),
    "Bar stool": ("Oak", "Leather", "Velvet", "Rattan", "Metal"),
    "Bench": ("Oak", "Walnut", "Leather", "Velvet", "Rattan"),
    "Coffee table": ("Oak", "Walnut", "Pine", "Marble", "Glass"),
    "Dining table": ("Oak", "Walnut", "Pine", "Marble", "Glass"),
    "Desk": ("Oak", "Walnut", "Pine", "Metal"),
    "Bookcase": ("Oak", "Walnut", "Pine", "Metal"),
    "Dresser": _CASES,
    "Nightstand": _CASES,
    "Wardrobe": _CASES,
    "Bed": ("Oak", "Walnut", "Pine", "Velvet", "Linen", "Leather"),
    "Floor lamp": ("Metal", "Oak", "Walnut"),
    "Table lamp": ("Ceramic", "Metal", "Oak"),
    "Mirror": ("Oak", "Walnut", "Pine", "Metal", "Rattan"),
}

_SURFACE = {"Metal": "metal", "Ceramic": "ceramic", "Glass": "metal"}
_BOOKS = ("b5483a", "2f5d73", "d8b45a", "55694c", "e5ddcc", "31333d", "c98d6b", "8e9fae")
_THROWS = ("c9c4b8", "8fa3a8", "a5705a", "6f7f6a", "d6bfa5", "49566b", "b9a2a0")


def finishes(
    object_type: str, style: str, material: str, shade: Shade, rng: np.random.Generator
) -> dict[str, Finish]:
    """Choose the finish of every slot; the product's own material and shade is ``body``."""
    color = jittered(shade.hex, rng)
    body = Finish(_SURFACE.get(material, material.lower()), color)
    if material == "Pine" and shade.family != "Natural":
        body = Finish("pine", color)
    frame = _frame(style, rng)
    accent = _accent(style, rng)
    slots = {"body": body, "panel": body, "shelf": body, "frame": frame, "accent": accent}
    wood = Finish(
        "oak" if rng.random() < 0.5 else "walnut", jittered(rng.choice(("c6a079", "7a4c30")), rng)
    )
    if material == "Rattan" and object_type in ("Dresser", "Nightstand", "Wardrobe"):
        slots["body"] = slots["shelf"] = Finish("oak", jittered(shade.hex, rng))
    if material == "Glass":
        slots |= {
            "body": Finish("glass", (0.80, 0.93, 0.89)),
            "frame": Finish("metal", color),
            "accent": Finish("metal", color),
            "shelf": Finish("glass", (0.80, 0.93, 0.89)),
        }
    if material in ("Oak", "Walnut", "Pine") and style in ("Mid-Century", "Rustic", "Traditional"):
        slots["frame"] = body
    if material == "Metal" and object_type not in ("Dining chair", "Bar stool"):
        slots["frame"] = body if style != "Mid-Century" else wood
    if material == "Rattan" and style in ("Rustic", "Traditional", "Mid-Century"):
        slots["frame"] = Finish("oak", jittered(shade.hex, rng))
    throw = "linen" if rng.random() < 0.7 else "velvet"
    return slots | {
        "bedding": Finish("bedding", jittered("efece6", rng)),
        "throw": Finish(throw, jittered(str(rng.choice(_THROWS)), rng)),
        "pillow": Finish("linen", jittered(str(rng.choice(_THROWS)), rng)),
        "mirror": Finish("looking_glass", (0.78, 0.84, 0.87)),
        "shade": Finish("paper", jittered(str(rng.choice(("f3e9d2", "f4f1e8", "e9d8b8"))), rng)),
        **{f"book{i}": Finish("lacquer", jittered(str(rng.choice(_BOOKS)), rng)) for i in range(3)},
    }


def _frame(style: str, rng: np.random.Generator) -> Finish:
    if style == "Modern":
        dark = rng.random() < 0.5
        return Finish("lacquer", jittered("26272a", rng)) if dark else Finish("chrome", (0.72,) * 3)
    if style == "Industrial":
        return Finish("lacquer", jittered("2b2b2c", rng))
    if style == "Mid-Century":
        light = rng.random() < 0.5
        return Finish("oak" if light else "walnut", jittered("bd9468" if light else "78513a", rng))
    if style == "Rustic":
        return Finish("pine", jittered("a07850", rng))
    return Finish("walnut", jittered("5b3722", rng))


def _accent(style: str, rng: np.random.Generator) -> Finish:
    colors = {"Modern": "b9bcc0", "Mid-Century": "c9a050", "Industrial": "333436",
              "Rustic": "3b342e", "Traditional": "b8903f"}  # fmt: skip
    return Finish("metal", jittered(colors[style], rng))


def jittered(hex_color: str, rng: np.random.Generator) -> Rgb:
    """Return linear RGB near an sRGB hex colour: no two batches of dye are the same."""
    encoded = np.array([int(hex_color[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    encoded = encoded * (1 + rng.normal(0, 0.03)) + rng.normal(0, 0.008, 3)
    red, green, blue = np.clip(encoded, 0.02, 0.98) ** 2.2
    return float(red), float(green), float(blue)
