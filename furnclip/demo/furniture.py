"""The sixteen kinds of furniture, each in five styles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from furnclip.demo.fittings import braces, crown, front, leg, legs, sled, top
from furnclip.demo.solids import Part, ball, box, cushion, lathe, rod

Rng = np.random.Generator


def build(object_type: str, style: str, rng: Rng) -> list[Part]:
    """Build one piece standing on the floor, its front towards +z; proportions vary with rng."""
    return _BUILDERS[object_type](style, rng)


def _seat(style: str, rng: Rng, width: float, seats: int) -> list[Part]:
    """Make a sofa or armchair: arms and back in the style, one cushion a seat."""
    depth = rng.uniform(0.82, 0.92)
    lift = {"Modern": 0.10, "Mid-Century": 0.20, "Industrial": 0.16, "Rustic": 0.12,
            "Traditional": 0.12}[style]  # fmt: skip
    back = rng.uniform(0.74, 0.82) + (0.06 if style == "Traditional" else 0)
    arm = {"Modern": 0.17, "Mid-Century": 0.07, "Industrial": 0.09, "Rustic": 0.15,
           "Traditional": 0.17}[style]  # fmt: skip
    inner = width - 2 * arm
    base_h, seat_h = 0.17, 0.15
    parts = legs(style, width / 2 - 0.02, depth / 2 - 0.02, lift, thick=0.035)
    parts.append(cushion((0, lift + base_h / 2, 0), (width - 0.02, base_h, depth), "body", radius=0.03))
    lean = -9.0
    for i in range(seats):
        w = inner / seats
        x = -inner / 2 + w * (i + 0.5)
        parts.append(
            cushion((x, lift + base_h + seat_h / 2, 0.07), (w - 0.006, seat_h, depth - 0.16), "body",
                    radius=0.05, puff=0.10)
        )  # fmt: skip
        parts.append(
            cushion((x, lift + base_h + seat_h + 0.17, -depth / 2 + 0.22),
                    (w - 0.008, back - lift - base_h - seat_h + 0.04, 0.17), "body",
                    radius=0.06, puff=0.10, turn=(lean, 0, 0))
        )  # fmt: skip
    shell = cushion((0, (lift + back) / 2, -depth / 2 + 0.08), (width - 0.02, back - lift, 0.14), "body",
                    radius=0.05, turn=(lean / 3, 0, 0))  # fmt: skip
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
        parts = [cushion((x, (lift + high) / 2, 0), (arm, high - lift, depth - 0.02), "body", radius=0.02)]
        s = 1 if x > 0 else -1
        for z in (-depth / 2 + 0.03, depth / 2 - 0.03):
            parts.append(box((x + s * arm / 2, high / 2, z), (0.03, high + 0.02, 0.03), "frame"))
        parts.append(box((x + s * arm / 2, high + 0.01, 0), (0.03, 0.03, depth - 0.03), "frame"))
        return parts
    if style == "Traditional":
        return [
            cushion((x, (lift + high) / 2 - 0.03, 0), (arm * 0.8, high - lift - 0.06, depth), "body",
                    radius=0.03),
            rod((x, high - 0.02, -depth / 2 + 0.05), (x, high - 0.02, depth / 2 + 0.015),
                arm * 0.62, "body", sides=18),
            rod((x, high - 0.02, depth / 2 + 0.01), (x, high - 0.02, depth / 2 + 0.022),
                (arm * 0.30, arm * 0.22), "frame", sides=14),
        ]  # fmt: skip
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


def _sofa(style: str, rng: Rng) -> list[Part]:
    seats = int(rng.integers(2, 4))
    return _seat(style, rng, 0.62 * seats + rng.uniform(0.3, 0.5), seats)


def _armchair(style: str, rng: Rng) -> list[Part]:
    return _seat(style, rng, float(rng.uniform(0.82, 0.94)), 1)


def _chair(style: str, rng: Rng) -> list[Part]:
    w, d, seat = rng.uniform(0.44, 0.5), rng.uniform(0.44, 0.5), 0.46
    high = rng.uniform(0.84, 0.98)
    parts = legs(style, w / 2, d / 2, seat - 0.02, thick=0.034)
    if style in ("Modern", "Mid-Century"):
        parts.append(cushion((0, seat, 0), (w, 0.05, d), "body", radius=0.024))
        curve = 3 if style == "Mid-Century" else 1
        for i in range(curve):
            side = i - (curve - 1) / 2
            parts.append(
                cushion((side * w / curve, (high + seat) / 2 + 0.08, -d / 2 + 0.03 + 0.03 * abs(side)),
                        (w / curve + 0.02, high - seat - 0.14, 0.04), "body", radius=0.02,
                        turn=(-8, -16 * side, 0))
            )  # fmt: skip
        for s in (-1, 1):
            parts.append(rod((s * w * 0.3, seat, -d / 2 + 0.04),
                             (s * w * 0.28, seat + 0.2, -d / 2 + 0.01), 0.012, "frame"))  # fmt: skip
        return parts
    parts.append(
        box((0, seat, 0), (w + 0.02, 0.045, d + 0.02), "body", bevel=0.012)
        if style == "Rustic"
        else cushion((0, seat, 0), (w, 0.06, d), "body", radius=0.028, puff=0.05)
    )
    post = 0.045 if style == "Rustic" else 0.03
    for s in (-1, 1):
        parts.append(box((s * (w / 2 - post / 2), (seat + high) / 2, -d / 2 + 0.01),
                         (post, high - seat, post), "frame", turn=(-5, 0, 0)))  # fmt: skip
    if style == "Rustic":
        for y in (0.35, 0.62, 0.9):
            at = seat + (high - seat) * y
            parts.append(box((0, at, -d / 2 - 0.02 * y), (w - post, 0.075, 0.022), "body"))
        return parts
    parts.append(
        cushion((0, (seat + high) / 2 + 0.08, -d / 2 + 0.0), (w - 0.05, high - seat - 0.12, 0.05), "body",
                radius=0.025, puff=0.05, turn=(-5, 0, 0))
    )  # fmt: skip
    if style == "Traditional":
        parts.append(box((0, high, -d / 2 - 0.02), (w + 0.02, 0.05, 0.04), "frame", bevel=0.02))
        for s in (-1, 1):
            at = (s * (w / 2 - 0.015), high + 0.045, -d / 2 - 0.02)
            parts.append(ball(at, (0.024, 0.03, 0.024), "frame"))
    return parts


def _stool(style: str, rng: Rng) -> list[Part]:
    seat, half = float(rng.uniform(0.66, 0.78)), 0.17
    wide = 2 * half + 0.05
    parts = legs(style, half, half, seat - 0.02, thick=0.032)
    if style in ("Mid-Century", "Industrial"):
        radius = 0.255 if style == "Industrial" else 0.2
        seat_profile = [(0, radius - 0.02), (0.012, radius), (0.045, radius), (0.058, radius - 0.03)]
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


def _bench(style: str, rng: Rng) -> list[Part]:
    w, d, seat = rng.uniform(1.1, 1.4), rng.uniform(0.36, 0.42), rng.uniform(0.42, 0.48)
    stand = sled if style == "Modern" else None
    parts = stand(w / 2 - 0.05, d / 2, seat - 0.03) if stand else legs(
        style, w / 2 - 0.03, d / 2 - 0.01, seat - 0.03, thick=0.036
    )
    if style == "Rustic":
        parts += top(style, seat, (w, d), "body")
    elif style == "Traditional":
        parts.append(box((0, seat - 0.05, 0), (w, 0.06, d), "frame", bevel=0.012))
        parts.append(cushion((0, seat + 0.02, 0), (w - 0.02, 0.1, d - 0.02), "body", radius=0.045,
                             puff=0.08))  # fmt: skip
    elif style == "Mid-Century":
        count = 3
        for i in range(count):
            x = (i - 1) * w / count
            parts.append(cushion((x, seat, 0), (w / count - 0.004, 0.09, d), "body", radius=0.035))
    else:
        parts.append(cushion((0, seat, 0), (w, 0.07, d), "body", radius=0.014))
    return parts


def _coffee_table(style: str, rng: Rng) -> list[Part]:
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


def _apron(w: float, d: float, y: float, deep: float) -> list[Part]:
    return [box((0, y - deep / 2, s * (d / 2 - 0.012)), (w, deep, 0.022), "frame") for s in (-1, 1)] + [
        box((s * (w / 2 - 0.012), y - deep / 2, 0), (0.022, deep, d), "frame") for s in (-1, 1)
    ]


def _dining_table(style: str, rng: Rng) -> list[Part]:
    w, d, h = float(rng.uniform(1.5, 1.9)), float(rng.uniform(0.8, 0.95)), 0.75
    parts = top(style, h, (w, d), "body")
    if style == "Rustic":
        for s in (-1, 1):
            for lean in (-32, 32):
                parts.append(box((s * (w / 2 - 0.3), 0.35, 0), (0.08, 0.86, 0.075), "frame",
                                 turn=(lean, 0, 0)))  # fmt: skip
        return [*parts, box((0, 0.35, 0), (w - 0.6, 0.09, 0.06), "frame")]
    if style == "Industrial":
        for s in (-1, 1):
            x = s * (w / 2 - 0.2)
            for lean, z in ((10, 0.16), (-10, -0.16)):
                parts.append(box((x, 0.355, z * 1.5), (0.05, 0.73, 0.05), "frame", turn=(-lean, 0, 0)))
            parts.append(box((x, 0.05, 0), (0.05, 0.05, d - 0.22), "frame"))
            parts.append(box((x, 0.69, 0), (0.05, 0.04, d - 0.4), "frame"))
        return parts
    parts += legs(style, w / 2 - 0.05, d / 2 - 0.05, h - 0.03, thick=0.05)
    parts += _apron(w - 0.16, d - 0.16, h - 0.04, 0.075 if style != "Modern" else 0.03)
    return parts


def _desk(style: str, rng: Rng) -> list[Part]:
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


def _bookcase(style: str, rng: Rng) -> list[Part]:
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
    return parts + _books(w, h, d, lift, shelves, style, rng)


def _books(w: float, h: float, d: float, lift: float, shelves: int, style: str, rng: Rng) -> list[Part]:
    """Put a few books and a vase on the shelves, as a photographer would."""
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
            parts.append(box((x, floor + tall / 2, 0.02), (thick, tall, d * 0.55), slot, bevel=0.003))
            x += thick + 0.002
    return parts


def _dresser(style: str, rng: Rng) -> list[Part]:
    columns = int(rng.integers(1, 3))
    rows = int(rng.integers(3, 5)) if columns == 1 else 3
    w = 0.75 if columns == 1 else float(rng.uniform(1.2, 1.45))
    return _chest(style, w, float(rng.uniform(0.72, 0.95)), 0.46, columns, rows)


def _chest(style: str, w: float, h: float, d: float, columns: int, rows: int) -> list[Part]:
    lift = {"Modern": 0.05, "Mid-Century": 0.19, "Industrial": 0.14, "Rustic": 0.08,
            "Traditional": 0.10}[style]  # fmt: skip
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


def _nightstand(style: str, rng: Rng) -> list[Part]:
    w, d, h = float(rng.uniform(0.42, 0.52)), 0.4, float(rng.uniform(0.52, 0.6))
    if rng.random() < 0.5:
        return _chest(style, w, h, d, 1, 2)
    lift = 0.3
    parts = legs(style, w / 2 - 0.01, d / 2 - 0.01, lift, thick=0.034)
    parts.append(box((0, (lift + h) / 2, 0), (w, h - lift, d), "body"))
    parts += top(style, h + 0.03, (w + 0.02, d + 0.02), "body")
    parts += front(style, (0, (lift + h) / 2, d / 2), (w - 0.02, h - lift - 0.02), "panel")
    if style in ("Industrial", "Rustic", "Traditional"):
        parts.append(box((0, 0.1, 0), (w - 0.05, 0.022, d - 0.05), "body"))
    return parts


def _wardrobe(style: str, rng: Rng) -> list[Part]:
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
        parts += front(style, (x, h - 0.02 - tall / 2, d / 2), (wide - 0.012, tall - 0.01), "panel",
                       knob_x=side, door=True)  # fmt: skip
        if foot:
            at = (x, lift + 0.02 + foot / 2, d / 2)
            parts += front(style, at, (wide - 0.012, foot - 0.014), "panel")
    if style == "Traditional":
        parts += crown(h, w, d, "body")
    if style == "Rustic":
        parts.append(box((0, h + 0.03, 0), (w + 0.1, 0.06, d + 0.06), "body", bevel=0.014))
    return parts


def _bed(style: str, rng: Rng) -> list[Part]:
    w, length = float(rng.choice([1.4, 1.6, 1.8])) + 0.08, 2.05
    lift, rail = (0.16, 0.2)
    head = float(rng.uniform(0.9, 1.15))
    front_z, back_z = length / 2, -length / 2
    parts = legs(style, w / 2, length / 2, lift + 0.04, thick=0.05)
    parts.append(box((0, lift + rail / 2, 0), (w, rail, length), "body", bevel=0.012))
    parts.append(cushion((0, lift + rail + 0.09, 0.02), (w - 0.06, 0.24, length - 0.1), "bedding",
                         radius=0.08))  # fmt: skip
    parts.append(cushion((0, lift + rail + 0.15, 0.32), (w + 0.0, 0.19, length - 0.68), "throw",
                         radius=0.08))  # fmt: skip
    for s in (-1, 1):
        parts.append(cushion((s * w / 4, lift + rail + 0.27, back_z + 0.34), (w / 2 - 0.1, 0.16, 0.42),
                             "bedding", radius=0.075, puff=0.22, turn=(28, 0, 0)))  # fmt: skip
    return parts + _headboard(style, w, head, back_z) + _footboard(style, w, lift, rail, front_z)


def _headboard(style: str, w: float, head: float, z: float) -> list[Part]:
    if style == "Modern":
        return [box((0, head / 2 + 0.06, z), (w + 0.1, head - 0.12, 0.07), "body", bevel=0.02)]
    if style == "Mid-Century":
        return [
            cushion((0, head / 2 + 0.2, z), (w, head - 0.4, 0.05), "body", radius=0.024),
            *leg(style, w / 2, z, 0.4, thick=0.05),
        ]
    posts = [(s * w / 2, z) for s in (-1, 1)]
    if style == "Industrial":
        bars = [rod((x, 0, zz), (x, head, zz), 0.024, "frame") for x, zz in posts]
        bars.append(rod((-w / 2, head, z), (w / 2, head, z), 0.024, "frame"))
        bars.append(rod((-w / 2, head - 0.34, z), (w / 2, head - 0.34, z), 0.014, "frame"))
        count = 9
        for i in range(1, count):
            x = -w / 2 + w * i / count
            bars.append(rod((x, 0.35, z), (x, head, z), 0.010, "frame", sides=8))
        return [*bars, box((0, head - 0.17, z - 0.012), (w - 0.04, 0.26, 0.02), "body")]
    if style == "Rustic":
        planks = [
            box((0, 0.35 + (head - 0.35) * (i + 0.5) / 4, z), (w, (head - 0.35) / 4 - 0.008, 0.04),
                "body", bevel=0.012)
            for i in range(4)
        ]  # fmt: skip
        return planks + [box((x, head / 2 + 0.03, z), (0.09, head + 0.06, 0.09), "body") for x, _ in posts]
    tufted = [cushion((0, head / 2 + 0.22, z + 0.02), (w - 0.06, head - 0.3, 0.08), "body", radius=0.035)]
    tufted.append(lathe((0, head - 0.3, z - 0.02), [(0, w * 0.36), (0.075, w * 0.36)], "body",
                        towards=(0, head - 0.3, 9), sides=36))  # fmt: skip
    for x, zz in posts:
        tufted.append(rod((x, 0, zz), (x, head, zz), (0.04, 0.034), "frame"))
        tufted.append(ball((x, head + 0.04, zz), (0.05, 0.05, 0.05), "frame"))
    return tufted


def _footboard(style: str, w: float, lift: float, rail: float, z: float) -> list[Part]:
    if style == "Industrial":
        high = lift + rail + 0.22
        bars = [rod((s * w / 2, 0, z), (s * w / 2, high, z), 0.024, "frame") for s in (-1, 1)]
        return [*bars, rod((-w / 2, high, z), (w / 2, high, z), 0.024, "frame")]
    if style == "Traditional":
        high = lift + rail + 0.1
        parts = [box((0, high / 2 + 0.06, z), (w, high - 0.12, 0.05), "body", bevel=0.02)]
        for s in (-1, 1):
            parts.append(rod((s * w / 2, 0, z), (s * w / 2, high, z), 0.04, "frame"))
            parts.append(ball((s * w / 2, high + 0.04, z), (0.05, 0.05, 0.05), "frame"))
        return parts
    if style == "Rustic":
        high = lift + rail + 0.08
        return [box((0, high / 2 + 0.05, z), (w, high - 0.1, 0.06), "body", bevel=0.014)] + [
            box((s * w / 2, high / 2, z), (0.09, high, 0.09), "body") for s in (-1, 1)
        ]
    return []


def _shade(style: str, y: float, wide: float, tall: float) -> list[Part]:
    """Make a lampshade whose lower rim is at ``y``."""
    if style == "Industrial":
        profile = [(0, wide), (0.02, wide * 0.98), (tall * 0.45, wide * 0.62), (tall * 0.75, wide * 0.3),
                   (tall, wide * 0.2)]  # fmt: skip
        return [lathe((0, y, 0), profile, "body", sides=24)]
    narrow = {"Modern": 1.0, "Mid-Century": 0.82, "Rustic": 0.7, "Traditional": 0.5}[style]
    profile = [(0, wide), (tall, wide * narrow)]
    if style == "Traditional":
        profile = [(0, wide), (tall * 0.4, wide * 0.72), (tall, wide * narrow)]
    parts = [lathe((0, y, 0), profile, "shade", sides=28)]
    if style in ("Traditional", "Rustic"):
        parts.append(lathe((0, y - 0.004, 0), [(0, wide * 1.015), (0.014, wide * 1.0)], "frame", sides=28))
    return parts


def _floor_lamp(style: str, rng: Rng) -> list[Part]:
    h = float(rng.uniform(1.4, 1.62))
    wide, tall = float(rng.uniform(0.19, 0.24)), 0.28
    neck = h - tall
    if style == "Mid-Century":
        parts = [
            rod((0.30 * np.sin(a), 0, 0.30 * np.cos(a)), (0.02 * np.sin(a), neck, 0.02 * np.cos(a)),
                (0.014, 0.022), "body")
            for a in (0.4, 2.5, 4.6)
        ]  # fmt: skip
        return parts + _shade(style, neck - 0.04, wide, tall)
    if style == "Traditional":
        profile = [(0, 0.16), (0.03, 0.15), (0.05, 0.06), (0.10, 0.035), (0.16, 0.05), (0.2, 0.022),
                   (0.62, 0.018), (0.68, 0.04), (0.74, 0.018), (1.0, 0.015)]  # fmt: skip
        pole = lathe((0, 0, 0), [(a * neck, r) for a, r in profile], "body", sides=16,
                     smooth=True)
        return [pole, *_shade(style, neck - 0.03, wide * 1.1, tall)]
    if style == "Rustic":
        post = box((0, neck / 2, 0), (0.07, neck, 0.07), "body", bevel=0.012)
        feet = [
            box((0, 0.035, 0), (0.44, 0.07, 0.07), "body", turn=(0, t, 0), bevel=0.012) for t in (0, 90)
        ]
        return [post, *feet, *_shade(style, neck - 0.03, wide * 1.1, tall)]
    base = lathe((0, 0, 0), [(0, 0.16), (0.022, 0.16), (0.028, 0.15)], "body", sides=28)
    pole = rod((0, 0, 0), (0, neck, 0), 0.013, "body")
    if style == "Industrial":
        elbow = (0.0, neck + 0.05, 0.0)
        head = _shade(style, neck - 0.14, wide * 0.95, 0.24)
        return [base, pole, rod((0, neck, 0), elbow, 0.02, "body"), *head]
    return [base, pole, *_shade(style, neck, wide, tall)]


def _table_lamp(style: str, rng: Rng) -> list[Part]:
    wide, tall = float(rng.uniform(0.15, 0.19)), float(rng.uniform(0.19, 0.23))
    foot = float(rng.uniform(0.26, 0.34))
    profiles: dict[str, list[tuple[float, float]]] = {
        "Modern": [(0, 0.075), (0.02, 0.078), (0.5, 0.078), (0.52, 0.01), (1, 0.01)],
        "Mid-Century": [(0, 0.045), (0.1, 0.085), (0.3, 0.125), (0.5, 0.11), (0.75, 0.05),
                        (0.9, 0.025), (1, 0.02)],
        "Industrial": [(0, 0.10), (0.06, 0.10), (0.08, 0.02), (1, 0.016)],
        "Rustic": [(0, 0.09), (0.05, 0.105), (0.45, 0.105), (0.6, 0.075), (0.72, 0.045), (0.8, 0.05),
                   (1, 0.02)],
        "Traditional": [(0, 0.10), (0.06, 0.10), (0.1, 0.05), (0.18, 0.03), (0.28, 0.06), (0.48, 0.085),
                        (0.66, 0.055), (0.74, 0.025), (0.82, 0.045), (0.88, 0.02), (1, 0.015)],
    }  # fmt: skip
    base = lathe((0, 0, 0), [(a * foot, r) for a, r in profiles[style]], "body", sides=24,
                 smooth=style in ("Mid-Century", "Rustic", "Traditional"))
    low = foot - (0.05 if style == "Industrial" else 0.01)
    return [base, *_shade(style, low, wide, tall)]


def _mirror(style: str, rng: Rng) -> list[Part]:
    round_one = style in ("Mid-Century", "Modern") and rng.random() < 0.55
    lean = (-6.0, 0.0, 0.0)
    if round_one:
        r = float(rng.uniform(0.36, 0.45))
        rim = 0.02 if style == "Modern" else 0.05
        at, ahead = (0.0, r + 0.02, 0.0), (0.0, r + 0.02, 9.0)
        return [
            lathe(at, [(0, r), (0.03, r), (0.04, r - 0.01)], "body", towards=ahead, sides=40),
            lathe((0, r + 0.02, 0.041), [(0, r - rim), (0.004, r - rim)], "mirror", towards=ahead,
                  sides=40),
        ]  # fmt: skip
    w, h = float(rng.uniform(0.62, 0.8)), float(rng.uniform(1.2, 1.65))
    rim = {"Modern": 0.022, "Mid-Century": 0.04, "Industrial": 0.035, "Rustic": 0.095,
           "Traditional": 0.085}[style]  # fmt: skip
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
    return [
        _leant((0, s * (h - rim) / 2), full, (w, rim, deep), slot) for s in (-1, 1)
    ] + [_leant((s * (w - rim) / 2, 0), full, (rim, h - 2 * rim, deep), slot) for s in (-1, 1)]


def _leant(at: tuple[float, float], h: float, size: tuple[float, float, float], slot: str) -> Part:
    """Place a bar at ``at`` on a panel of height ``h`` that leans 6° back."""
    x, up = at
    lean = np.radians(6.0)
    center = (x, h / 2 + up * float(np.cos(lean)), -up * float(np.sin(lean)) + 0.008)
    return box(center, size, slot, turn=(-6.0, 0.0, 0.0), bevel=0.012)


_BUILDERS: dict[str, Callable[[str, Rng], list[Part]]] = {
    "Sofa": _sofa,
    "Armchair": _armchair,
    "Dining chair": _chair,
    "Bar stool": _stool,
    "Bench": _bench,
    "Coffee table": _coffee_table,
    "Dining table": _dining_table,
    "Desk": _desk,
    "Bookcase": _bookcase,
    "Dresser": _dresser,
    "Nightstand": _nightstand,
    "Wardrobe": _wardrobe,
    "Bed": _bed,
    "Floor lamp": _floor_lamp,
    "Table lamp": _table_lamp,
    "Mirror": _mirror,
}
OBJECT_TYPES = tuple(_BUILDERS)
