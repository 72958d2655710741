"""Lamps and mirrors, each in five styles."""

from __future__ import annotations

import numpy as np

from furnclip.demo.solids import Part, ball, box, lathe, rod

Rng = np.random.Generator


def floor_lamp(style: str, rng: Rng) -> list[Part]:
    """Build a floor lamp."""
    h = float(rng.uniform(1.4, 1.62))
    wide, tall = float(rng.uniform(0.19, 0.24)), 0.28
    neck = h - tall
    if style == "Mid-Century":
        parts = [
            rod(
                (0.30 * np.sin(a), 0, 0.30 * np.cos(a)),
                (0.02 * np.sin(a), neck, 0.02 * np.cos(a)),
                (0.014, 0.022),
                "body",
            )
            for a in (0.4, 2.5, 4.6)
        ]
        return parts + _shade(style, neck - 0.04, wide, tall)
    if style == "Traditional":
        profile = [
            (0, 0.16),
            (0.03, 0.15),
            (0.05, 0.06),
            (0.10, 0.035),
            (0.16, 0.05),
            (0.2, 0.022),
            (0.62, 0.018),
            (0.68, 0.04),
            (0.74, 0.018),
            (1.0, 0.015),
        ]
        pole = lathe((0, 0, 0), [(a * neck, r) for a, r in profile], "body", sides=16, smooth=True)
        return [pole, *_shade(style, neck - 0.03, wide * 1.1, tall)]
    if style == "Rustic":
        post = box((0, neck / 2, 0), (0.07, neck, 0.07), "body", bevel=0.012)
        feet = [
            box((0, 0.035, 0), (0.44, 0.07, 0.07), "body", turn=(0, t, 0), bevel=0.012)
            for t in (0, 90)
        ]
        return [post, *feet, *_shade(style, neck - 0.03, wide * 1.1, tall)]
    base = lathe((0, 0, 0), [(0, 0.16), (0.022, 0.16), (0.028, 0.15)], "body", sides=28)
    pole = rod((0, 0, 0), (0, neck, 0), 0.013, "body")
    if style == "Industrial":
        elbow = (0.0, neck + 0.05, 0.0)
        head = _shade(style, neck - 0.14, wide * 0.95, 0.24)
        return [base, pole, rod((0, neck, 0), elbow, 0.02, "body"), *head]
    return [base, pole, *_shade(style, neck, wide, tall)]


def table_lamp(style: str, rng: Rng) -> list[Part]:
    """Build a table lamp."""
    wide, tall = float(rng.uniform(0.15, 0.19)), float(rng.uniform(0.19, 0.23))
    foot = float(rng.uniform(0.26, 0.34))
    profiles: dict[str, list[tuple[float, float]]] = {
        "Modern": [(0, 0.075), (0.02, 0.078), (0.5, 0.078), (0.52, 0.01), (1, 0.01)],
        "Mid-Century": [
            (0, 0.045),
            (0.1, 0.085),
            (0.3, 0.125),
            (0.5, 0.11),
            (0.75, 0.05),
            (0.9, 0.025),
            (1, 0.02),
        ],
        "Industrial": [(0, 0.10), (0.06, 0.10), (0.08, 0.02), (1, 0.016)],
        "Rustic": [
            (0, 0.09),
            (0.05, 0.105),
            (0.45, 0.105),
            (0.6, 0.075),
            (0.72, 0.045),
            (0.8, 0.05),
            (1, 0.02),
        ],
        "Traditional": [
            (0, 0.10),
            (0.06, 0.10),
            (0.1, 0.05),
            (0.18, 0.03),
            (0.28, 0.06),
            (0.48, 0.085),
            (0.66, 0.055),
            (0.74, 0.025),
            (0.82, 0.045),
            (0.88, 0.02),
            (1, 0.015),
        ],
    }
    base = lathe(
        (0, 0, 0),
        [(a * foot, r) for a, r in profiles[style]],
        "body",
        sides=24,
        smooth=style in ("Mid-Century", "Rustic", "Traditional"),
    )
    low = foot - (0.05 if style == "Industrial" else 0.01)
    return [base, *_shade(style, low, wide, tall)]


def _shade(style: str, y: float, wide: float, tall: float) -> list[Part]:
    """Make a lampshade whose lower rim is at ``y``."""
    if style == "Industrial":
        profile = [
            (0, wide),
            (0.02, wide * 0.98),
            (tall * 0.45, wide * 0.62),
            (tall * 0.75, wide * 0.3),
            (tall, wide * 0.2),
        ]
        return [lathe((0, y, 0), profile, "body", sides=24)]
    narrow = {"Modern": 1.0, "Mid-Century": 0.82, "Rustic": 0.7, "Traditional": 0.5}[style]
    profile = [(0, wide), (tall, wide * narrow)]
    if style == "Traditional":
        profile = [(0, wide), (tall * 0.4, wide * 0.72), (tall, wide * narrow)]
    parts = [lathe((0, y, 0), profile, "shade", sides=28)]
    if style in ("Traditional", "Rustic"):
        parts.append(
            lathe((0, y - 0.004, 0), [(0, wide * 1.015), (0.014, wide * 1.0)], "frame", sides=28)
        )
    return parts


def mirror(style: str, rng: Rng) -> list[Part]:
    """Build a mirror: round, or leaning against the wall."""
    round_one = style in ("Mid-Century", "Modern") and rng.random() < 0.55
    lean = (-6.0, 0.0, 0.0)
    if round_one:
        r = float(rng.uniform(0.36, 0.45))
        rim = 0.02 if style == "Modern" else 0.05
        at, ahead = (0.0, r + 0.02, 0.0), (0.0, r + 0.02, 9.0)
        return [
            lathe(at, [(0, r), (0.03, r), (0.04, r - 0.01)], "body", towards=ahead, sides=40),
            lathe(
                (0, r + 0.02, 0.041),
                [(0, r - rim), (0.004, r - rim)],
                "mirror",
                towards=ahead,
                sides=40,
            ),
        ]
    w, h = float(rng.uniform(0.62, 0.8)), float(rng.uniform(1.2, 1.65))
    rim = {
        "Modern": 0.022,
        "Mid-Century": 0.04,
        "Industrial": 0.035,
        "Rustic": 0.095,
        "Traditional": 0.085,
    }[style]
    y = h / 2
    parts = [box((0, y, 0), (w - rim, h - rim, 0.02), "mirror", turn=lean, bevel=0.0)]
    deep = 0.05 if style in ("Rustic", "Traditional") else 0.035
    parts += _leaning_frame(w, h, rim, deep, "body")
    if style == "Traditional":
        parts += _leaning_frame(w - 2 * rim + 0.03, h - 2 * rim + 0.03, 0.02, 0.06, "accent")
        parts.append(ball((0, h * 0.995 + 0.02, -0.0), (0.15, 0.07, 0.03), "body"))
    if style == "Industrial":
        for i in range(1, 3):
            parts.append(_leant((0, h * (i / 3 - 0.5)), h, (w, 0.02, 0.03), "body"))
        parts.append(_leant((0, 0), h, (0.02, h, 0.03), "body"))
    return parts


def _leaning_frame(w: float, h: float, rim: float, deep: float, slot: str) -> list[Part]:
    full = h if slot == "body" else h + 0.14
    return [_leant((0, s * (h - rim) / 2), full, (w, rim, deep), slot) for s in (-1, 1)] + [
        _leant((s * (w - rim) / 2, 0), full, (rim, h - 2 * rim, deep), slot) for s in (-1, 1)
    ]


def _leant(at: tuple[float, float], h: float, size: tuple[float, float, float], slot: str) -> Part:
    """Place a bar at ``at`` on a panel of height ``h`` that leans 6° back."""
    x, up = at
    lean = np.radians(6.0)
    center = (x, h / 2 + up * float(np.cos(lean)), -up * float(np.sin(lean)) + 0.008)
    return box(center, size, slot, turn=(-6.0, 0.0, 0.0), bevel=0.012)
