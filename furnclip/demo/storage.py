"""Things to keep things in, each in five styles."""

from __future__ import annotations

import numpy as np

from furnclip.demo.fittings import braces, crown, front, legs, top
from furnclip.demo.solids import Part, box

Rng = np.random.Generator


def bookcase(style: str, rng: Rng) -> list[Part]:
    """Build a bookcase with a few books."""
    w, h, d = float(rng.uniform(0.8, 1.0)), float(rng.uniform(1.6, 1.95)), 0.33
    shelves = int(rng.integers(4, 6))
    lift = 0.14 if style == "Mid-Century" else (0.03 if style != "Traditional" else 0.08)
    parts: list[Part] = []
    if style == "Industrial":
        for sx in (-1, 1):
            for sz in (-1, 1):
                at = (sx * (w / 2 - 0.015), h / 2, sz * (d / 2 - 0.015))
                parts.append(box(at, (0.03, h, 0.03), "frame"))
        parts += braces(w / 2 - 0.02, -d / 2 + 0.01, 0.2, h - 0.1)
        for i in range(shelves):
            y = 0.1 + (h - 0.12) * i / (shelves - 1)
            parts.append(box((0, y, 0), (w - 0.01, 0.035, d), "body"))
    else:
        parts += legs(style, w / 2 - 0.03, d / 2 - 0.02, lift, thick=0.034)
        parts += _carcass(w, h - lift, d, lift)
        for i in range(1, shelves):
            y = lift + (h - lift) * i / shelves
            parts.append(box((0, y, 0.005), (w - 0.05, 0.024, d - 0.03), "body"))
        if style == "Traditional":
            parts += crown(h, w, d, "body")
        if style == "Rustic":
            parts.append(box((0, h + 0.03, 0), (w + 0.08, 0.06, d + 0.05), "body", bevel=0.014))
    return parts + _books((w, h, d), lift, shelves, style, rng)


def _carcass(w: float, h: float, d: float, lift: float, slot: str = "body") -> list[Part]:
    """Make an open box: sides, top, bottom, back."""
    t = 0.025
    y = lift + h / 2
    return [
        box((-w / 2 + t / 2, y, 0), (t, h, d), slot, bevel=0.004),
        box((w / 2 - t / 2, y, 0), (t, h, d), slot, bevel=0.004),
        box((0, lift + t / 2, 0), (w, t, d), slot, bevel=0.004),
        box((0, lift + h - t / 2, 0), (w, t, d), slot, bevel=0.004),
        box((0, y, -d / 2 + 0.006), (w - t, h - t, 0.012), slot, bevel=0.0),
    ]


def _books(
    size: tuple[float, float, float], lift: float, shelves: int, style: str, rng: Rng
) -> list[Part]:
    """Put a few books and a vase on the shelves, as a photographer would."""
    w, h, d = size
    parts: list[Part] = []
    for i in range(shelves - (1 if style == "Industrial" else 0)):
        if style == "Industrial":
            floor = 0.1 + (h - 0.12) * i / (shelves - 1) + 0.018
        else:
            floor = lift + (h - lift) * i / shelves + 0.014
        if rng.random() < 0.35:
            continue
        x = float(rng.uniform(-w / 2 + 0.06, w / 2 - 0.35))
        for _ in range(int(rng.integers(2, 6))):
            thick, tall = float(rng.uniform(0.025, 0.045)), float(rng.uniform(0.17, 0.25))
            slot = f"book{rng.integers(3)}"
            parts.append(
                box((x, floor + tall / 2, 0.02), (thick, tall, d * 0.55), slot, bevel=0.003)
            )
            x += thick + 0.002
    return parts


def dresser(style: str, rng: Rng) -> list[Part]:
    """Build a dresser of one or two columns of drawers."""
    columns = int(rng.integers(1, 3))
    rows = int(rng.integers(3, 5)) if columns == 1 else 3
    w = 0.75 if columns == 1 else float(rng.uniform(1.2, 1.45))
    return _chest(style, (w, float(rng.uniform(0.72, 0.95)), 0.46), columns=columns, rows=rows)


def nightstand(style: str, rng: Rng) -> list[Part]:
    """Build a nightstand: two drawers, or one on legs."""
    w, d, h = float(rng.uniform(0.42, 0.52)), 0.4, float(rng.uniform(0.52, 0.6))
    if rng.random() < 0.5:
        return _chest(style, (w, h, d), columns=1, rows=2)
    lift = 0.3
    parts = legs(style, w / 2 - 0.01, d / 2 - 0.01, lift, thick=0.034)
    parts.append(box((0, (lift + h) / 2, 0), (w, h - lift, d), "body"))
    parts += top(style, h + 0.03, (w + 0.02, d + 0.02), "body")
    parts += front(style, (0, (lift + h) / 2, d / 2), (w - 0.02, h - lift - 0.02), "panel")
    if style in ("Industrial", "Rustic", "Traditional"):
        parts.append(box((0, 0.1, 0), (w - 0.05, 0.022, d - 0.05), "body"))
    return parts


def _chest(style: str, size: tuple[float, float, float], *, columns: int, rows: int) -> list[Part]:
    w, h, d = size
    lift = {
        "Modern": 0.05,
        "Mid-Century": 0.19,
        "Industrial": 0.14,
        "Rustic": 0.08,
        "Traditional": 0.10,
    }[style]
    parts = legs(style, w / 2 - 0.02, d / 2 - 0.02, lift, thick=0.036)
    parts.append(box((0, (lift + h) / 2, 0), (w, h - lift, d), "body"))
    over = 0.0 if style in ("Modern", "Mid-Century") else 0.04
    parts += top(style, h + 0.03, (w + over, d + over), "body")
    each = (h - lift - 0.02) / rows
    for c in range(columns):
        wide = (w - 0.03) / columns
        x = -(w - 0.03) / 2 + wide * (c + 0.5)
        for r in range(rows):
            at = (x, h - 0.01 - each * (r + 0.5), d / 2)
            parts += front(style, at, (wide - 0.014, each - 0.014), "panel")
    return parts


def wardrobe(style: str, rng: Rng) -> list[Part]:
    """Build a wardrobe of two or three doors."""
    doors = int(rng.integers(2, 4))
    w, h, d = 0.5 * doors + 0.06, float(rng.uniform(1.85, 2.1)), 0.56
    lift = 0.14 if style == "Mid-Century" else 0.08
    parts = legs(style, w / 2 - 0.02, d / 2 - 0.02, lift, thick=0.04)
    parts.append(box((0, (lift + h) / 2, 0), (w, h - lift, d), "body"))
    foot = 0.26 if style in ("Traditional", "Rustic") else 0.0
    wide = (w - 0.04) / doors
    for i in range(doors):
        x = -(w - 0.04) / 2 + wide * (i + 0.5)
        side = wide / 2 - 0.06 if i % 2 == 0 else -wide / 2 + 0.06
        tall = h - lift - 0.04 - foot
        parts += front(
            style,
            (x, h - 0.02 - tall / 2, d / 2),
            (wide - 0.012, tall - 0.01),
            "panel",
            knob_x=side,
            door=True,
        )
        if foot:
            at = (x, lift + 0.02 + foot / 2, d / 2)
            parts += front(style, at, (wide - 0.012, foot - 0.014), "panel")
    if style == "Traditional":
        parts += crown(h, w, d, "body")
    if style == "Rustic":
        parts.append(box((0, h + 0.03, 0), (w + 0.1, 0.06, d + 0.06), "body", bevel=0.014))
    return parts
