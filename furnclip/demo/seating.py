"""Things to sit on, each in five styles."""

from __future__ import annotations

import numpy as np

from furnclip.demo.fittings import legs, sled, top
from furnclip.demo.solids import Part, ball, box, cushion, lathe, rod

Rng = np.random.Generator


def _seat(style: str, rng: Rng, width: float, seats: int) -> list[Part]:
    """Make a sofa or armchair: arms and back in the style, one cushion a seat."""
    depth = rng.uniform(0.82, 0.92)
    lift = {
        "Modern": 0.10,
        "Mid-Century": 0.20,
        "Industrial": 0.16,
        "Rustic": 0.12,
        "Traditional": 0.12,
    }[style]
    back = rng.uniform(0.74, 0.82) + (0.06 if style == "Traditional" else 0)
    arm = {
        "Modern": 0.17,
        "Mid-Century": 0.07,
        "Industrial": 0.09,
        "Rustic": 0.15,
        "Traditional": 0.17,
    }[style]
    inner = width - 2 * arm
    base_h, seat_h = 0.17, 0.15
    parts = legs(style, width / 2 - 0.02, depth / 2 - 0.02, lift, thick=0.035)
    parts.append(
        cushion((0, lift + base_h / 2, 0), (width - 0.02, base_h, depth), "body", radius=0.03)
    )
    lean = -9.0
    for i in range(seats):
        w = inner / seats
        x = -inner / 2 + w * (i + 0.5)
        parts.append(
            cushion(
                (x, lift + base_h + seat_h / 2, 0.07),
                (w - 0.006, seat_h, depth - 0.16),
                "body",
                radius=0.05,
                puff=0.10,
            )
        )
        parts.append(
            cushion(
                (x, lift + base_h + seat_h + 0.17, -depth / 2 + 0.22),
                (w - 0.008, back - lift - base_h - seat_h + 0.04, 0.17),
                "body",
                radius=0.06,
                puff=0.10,
                turn=(lean, 0, 0),
            )
        )
    shell = cushion(
        (0, (lift + back) / 2, -depth / 2 + 0.08),
        (width - 0.02, back - lift, 0.14),
        "body",
        radius=0.05,
        turn=(lean / 3, 0, 0),
    )
    parts.append(shell)
    for s in (-1, 1):
        parts += _arm(style, s * (width / 2 - arm / 2), arm, lift, depth)
    if style == "Traditional":
        parts += _buttons(inner, back, depth, lift + base_h + seat_h)
    if rng.random() < 0.35:
        turn = (-18.0, float(rng.uniform(-20, 20)), 8.0)
        at = (inner / 2 - 0.22, lift + base_h + seat_h + 0.17, -0.06)
        parts.append(cushion(at, (0.38, 0.38, 0.12), "pillow", radius=0.05, puff=0.25, turn=turn))
    return parts


def _arm(style: str, x: float, arm: float, lift: float, depth: float) -> list[Part]:
    high = 0.60
    if style == "Mid-Century":
        front_z, back_z = depth / 2 - 0.04, -depth / 2 + 0.1
        return [
            cushion((x, high - 0.02, 0.02), (0.07, 0.035, depth - 0.06), "frame", radius=0.017),
            rod((x, lift, front_z), (x, high - 0.02, front_z - 0.05), (0.018, 0.022), "frame"),
            rod((x, lift, back_z), (x, high - 0.02, back_z), (0.018, 0.022), "frame"),
        ]
    if style == "Industrial":
        parts = [
            cushion(
                (x, (lift + high) / 2, 0), (arm, high - lift, depth - 0.02), "body", radius=0.02
            )
        ]
        s = 1 if x > 0 else -1
        parts += [
            box((x + s * arm / 2, high / 2, z), (0.03, high + 0.02, 0.03), "frame")
            for z in (-depth / 2 + 0.03, depth / 2 - 0.03)
        ]
        parts.append(box((x + s * arm / 2, high + 0.01, 0), (0.03, 0.03, depth - 0.03), "frame"))
        return parts
    if style == "Traditional":
        return [
            cushion(
                (x, (lift + high) / 2 - 0.03, 0),
                (arm * 0.8, high - lift - 0.06, depth),
                "body",
                radius=0.03,
            ),
            rod(
                (x, high - 0.02, -depth / 2 + 0.05),
                (x, high - 0.02, depth / 2 + 0.015),
                arm * 0.62,
                "body",
                sides=18,
            ),
            rod(
                (x, high - 0.02, depth / 2 + 0.01),
                (x, high - 0.02, depth / 2 + 0.022),
                (arm * 0.30, arm * 0.22),
                "frame",
                sides=14,
            ),
        ]
    radius = 0.02 if style == "Modern" else 0.07
    return [cushion((x, (lift + high) / 2, 0), (arm, high - lift, depth), "body", radius=radius)]


def _buttons(inner: float, back: float, depth: float, seat: float) -> list[Part]:
    columns = max(3, round(inner / 0.2))
    parts = []
    for row in range(2):
        y = seat + 0.12 + 0.15 * row
        for i in range(columns - row):
            x = (i - (columns - row - 1) / 2) * inner / columns
            z = -depth / 2 + 0.325 - 0.16 * (y - seat - 0.17)
            parts.append(ball((x, min(y, back), z), (0.013, 0.013, 0.009), "frame"))
    return parts


def sofa(style: str, rng: Rng) -> list[Part]:
    """Build a sofa of two or three seats."""
    seats = int(rng.integers(2, 4))
    return _seat(style, rng, 0.62 * seats + rng.uniform(0.3, 0.5), seats)


def armchair(style: str, rng: Rng) -> list[Part]:
    """Build an armchair."""
    return _seat(style, rng, float(rng.uniform(0.82, 0.94)), 1)


def dining_chair(style: str, rng: Rng) -> list[Part]:
    """Build a dining chair."""
    w, d, seat = rng.uniform(0.44, 0.5), rng.uniform(0.44, 0.5), 0.46
    high = rng.uniform(0.84, 0.98)
    parts = legs(style, w / 2, d / 2, seat - 0.02, thick=0.034)
    if style in ("Modern", "Mid-Century"):
        parts.append(cushion((0, seat, 0), (w, 0.05, d), "body", radius=0.024))
        curve = 3 if style == "Mid-Century" else 1
        for i in range(curve):
            side = i - (curve - 1) / 2
            parts.append(
                cushion(
                    (side * w / curve, (high + seat) / 2 + 0.08, -d / 2 + 0.03 + 0.03 * abs(side)),
                    (w / curve + 0.02, high - seat - 0.14, 0.04),
                    "body",
                    radius=0.02,
                    turn=(-8, -16 * side, 0),
                )
            )
        for s in (-1, 1):
            parts.append(
                rod(
                    (s * w * 0.3, seat, -d / 2 + 0.04),
                    (s * w * 0.28, seat + 0.2, -d / 2 + 0.01),
                    0.012,
                    "frame",
                )
            )
        return parts
    parts.append(
        box((0, seat, 0), (w + 0.02, 0.045, d + 0.02), "body", bevel=0.012)
        if style == "Rustic"
        else cushion((0, seat, 0), (w, 0.06, d), "body", radius=0.028, puff=0.05)
    )
    post = 0.045 if style == "Rustic" else 0.03
    for s in (-1, 1):
        parts.append(
            box(
                (s * (w / 2 - post / 2), (seat + high) / 2, -d / 2 + 0.01),
                (post, high - seat, post),
                "frame",
                turn=(-5, 0, 0),
            )
        )
    if style == "Rustic":
        for y in (0.35, 0.62, 0.9):
            at = seat + (high - seat) * y
            parts.append(box((0, at, -d / 2 - 0.02 * y), (w - post, 0.075, 0.022), "body"))
        return parts
    parts.append(
        cushion(
            (0, (seat + high) / 2 + 0.08, -d / 2 + 0.0),
            (w - 0.05, high - seat - 0.12, 0.05),
            "body",
            radius=0.025,
            puff=0.05,
            turn=(-5, 0, 0),
        )
    )
    if style == "Traditional":
        parts.append(box((0, high, -d / 2 - 0.02), (w + 0.02, 0.05, 0.04), "frame", bevel=0.02))
        for s in (-1, 1):
            finial = (s * (w / 2 - 0.015), high + 0.045, -d / 2 - 0.02)
            parts.append(ball(finial, (0.024, 0.03, 0.024), "frame"))
    return parts


def bar_stool(style: str, rng: Rng) -> list[Part]:
    """Build a bar stool; the traditional one has a back."""
    seat, half = float(rng.uniform(0.66, 0.78)), 0.17
    wide = 2 * half + 0.05
    parts = legs(style, half, half, seat - 0.02, thick=0.032)
    if style in ("Mid-Century", "Industrial"):
        radius = 0.255 if style == "Industrial" else 0.2
        seat_profile = [
            (0, radius - 0.02),
            (0.012, radius),
            (0.045, radius),
            (0.058, radius - 0.03),
        ]
        parts.append(lathe((0, seat - 0.025, 0), seat_profile, "body", sides=28))
    else:
        parts.append(cushion((0, seat, 0), (wide, 0.07, wide), "body", radius=0.03, puff=0.06))
    if style != "Industrial":
        reach = half - 0.02
        for s in (-1, 1):
            parts.append(box((0, 0.26, s * reach), (2 * half, 0.022, 0.022), "frame"))
            parts.append(box((s * reach, 0.26, 0), (0.022, 0.022, 2 * half), "frame"))
    if style == "Traditional":
        back = (0, seat + 0.22, -half)
        parts.append(cushion(back, (wide, 0.26, 0.05), "body", radius=0.025, puff=0.05))
        for s in (-1, 1):
            post = ((s * half * 0.7, seat, -half), (s * half * 0.7, seat + 0.2, -half))
            parts.append(rod(*post, 0.014, "frame"))
    return parts


def bench(style: str, rng: Rng) -> list[Part]:
    """Build a bench."""
    w, d, seat = rng.uniform(1.1, 1.4), rng.uniform(0.36, 0.42), rng.uniform(0.42, 0.48)
    stand = sled if style == "Modern" else None
    parts = (
        stand(w / 2 - 0.05, d / 2, seat - 0.03)
        if stand
        else legs(style, w / 2 - 0.03, d / 2 - 0.01, seat - 0.03, thick=0.036)
    )
    if style == "Rustic":
        parts += top(style, seat, (w, d), "body")
    elif style == "Traditional":
        parts.append(box((0, seat - 0.05, 0), (w, 0.06, d), "frame", bevel=0.012))
        parts.append(
            cushion((0, seat + 0.02, 0), (w - 0.02, 0.1, d - 0.02), "body", radius=0.045, puff=0.08)
        )
    elif style == "Mid-Century":
        count = 3
        for i in range(count):
            x = (i - 1) * w / count
            parts.append(cushion((x, seat, 0), (w / count - 0.004, 0.09, d), "body", radius=0.035))
    else:
        parts.append(cushion((0, seat, 0), (w, 0.07, d), "body", radius=0.014))
    return parts
