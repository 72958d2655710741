"""Tables and desks, each in five styles."""

from __future__ import annotations

import numpy as np

from furnclip.demo.fittings import braces, front, legs, sled, top
from furnclip.demo.solids import Part, box

Rng = np.random.Generator


def coffee_table(style: str, rng: Rng) -> list[Part]:
    """Build a coffee table; the mid-century one may be round."""
    h = float(rng.uniform(0.38, 0.45))
    w, d = float(rng.uniform(0.95, 1.2)), float(rng.uniform(0.55, 0.7))
    oval = style == "Mid-Century" and rng.random() < 0.6
    if oval:
        d = 0.85
    reach = (d / 2 * 0.74, d / 2 * 0.74) if oval else (w / 2 - 0.04, d / 2 - 0.04)
    if style == "Modern":
        parts = sled(w / 2 - 0.03, d / 2 - 0.02, h - 0.028, thick=0.03)
    else:
        parts = legs(style, *reach, h - 0.03, thick=0.04)
    parts += top(style, h, (w, d), "body", oval=oval)
    if style in ("Industrial", "Rustic"):
        parts += [box((0, 0.13, 0), (w - 0.1, 0.025, d - 0.1), "shelf")]
    if style == "Traditional":
        parts += _apron(w - 0.1, d - 0.1, h - 0.045, 0.08)
    return parts


def dining_table(style: str, rng: Rng) -> list[Part]:
    """Build a dining table."""
    w, d, h = float(rng.uniform(1.5, 1.9)), float(rng.uniform(0.8, 0.95)), 0.75
    parts = top(style, h, (w, d), "body")
    if style == "Rustic":
        for s in (-1, 1):
            for lean in (-32, 32):
                parts.append(
                    box(
                        (s * (w / 2 - 0.3), 0.35, 0),
                        (0.08, 0.775, 0.075),
                        "frame",
                        turn=(lean, 0, 0),
                    )
                )
        return [*parts, box((0, 0.35, 0), (w - 0.6, 0.09, 0.06), "frame")]
    if style == "Industrial":
        for s in (-1, 1):
            x = s * (w / 2 - 0.2)
            for lean, z in ((10, 0.16), (-10, -0.16)):
                parts.append(
                    box((x, 0.355, z * 1.5), (0.05, 0.73, 0.05), "frame", turn=(-lean, 0, 0))
                )
            parts.append(box((x, 0.05, 0), (0.05, 0.05, d - 0.22), "frame"))
            parts.append(box((x, 0.69, 0), (0.05, 0.04, d - 0.4), "frame"))
        return parts
    parts += legs(style, w / 2 - 0.05, d / 2 - 0.05, h - 0.03, thick=0.05)
    parts += _apron(w - 0.16, d - 0.16, h - 0.04, 0.075 if style != "Modern" else 0.03)
    return parts


def desk(style: str, rng: Rng) -> list[Part]:
    """Build a desk with drawers on one side."""
    w, d, h = float(rng.uniform(1.1, 1.4)), float(rng.uniform(0.55, 0.65)), 0.75
    parts = top(style, h, (w, d), "body")
    parts += legs(style, w / 2 - 0.02, d / 2 - 0.02, h - 0.03, thick=0.038)
    side = 1 if rng.random() < 0.5 else -1
    wide = 0.36
    x = side * (w / 2 - wide / 2 - 0.05)
    drawers = 3 if style in ("Traditional", "Rustic") else (1 if style == "Modern" else 2)
    each = 0.15
    tall = drawers * each
    y = h - 0.045 - tall / 2
    parts.append(box((x, y, 0), (wide, tall, d - 0.08), "body"))
    for i in range(drawers):
        at = (x, h - 0.045 - each * (i + 0.5), d / 2 - 0.05)
        parts += front(style, at, (wide - 0.012, each - 0.012), "body")
    if style == "Traditional":
        at = (-side * wide / 2, h - 0.1, d / 2 - 0.05)
        parts += front(style, at, (w - wide - 0.2, 0.1), "body")
        parts.append(box((-side * wide / 2, h - 0.1, 0), (w - wide - 0.2, 0.1, d - 0.08), "body"))
    if style == "Industrial":
        parts += braces(w / 2 - 0.06, -d / 2 + 0.04, 0.15, h - 0.1)
    return parts


def _apron(w: float, d: float, y: float, deep: float) -> list[Part]:
    return [
        box((0, y - deep / 2, s * (d / 2 - 0.012)), (w, deep, 0.022), "frame") for s in (-1, 1)
    ] + [box((s * (w / 2 - 0.012), y - deep / 2, 0), (0.022, deep, d), "frame") for s in (-1, 1)]
