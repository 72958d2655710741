"""What gives a piece its style: legs, aprons, knobs, panels, braces."""

from __future__ import annotations

from furnclip.demo.solids import Part, Point, ball, box, cushion, lathe, rod

STYLES = ("Modern", "Mid-Century", "Industrial", "Rustic", "Traditional")

_TURNED = (
    (0.00, 0.55), (0.06, 0.80), (0.12, 0.50), (0.20, 0.62), (0.45, 1.00), (0.62, 0.72),
    (0.70, 1.05), (0.76, 0.70), (0.80, 1.12), (1.00, 1.12),
)  # fmt: skip


def legs(
    style: str, half_x: float, half_z: float, height: float, *, thick: float = 0.03
) -> list[Part]:
    """Stand something on four legs whose outer corners are at ±``half_x``, ±``half_z``."""
    corners = [(sx * half_x, sz * half_z) for sx in (-1, 1) for sz in (-1, 1)]
    parts: list[Part] = []
    for x, z in corners:
        parts += leg(style, x, z, height, thick=thick)
    if style == "Industrial":
        low = 0.16 * height if height > 0.3 else 0.5 * height
        inner_x, inner_z = half_x - thick / 2, half_z - thick / 2
        for sz in (-1, 1):
            parts.append(
                box((0, low, sz * inner_z), (2 * inner_x, thick * 0.8, thick * 0.8), "frame")
            )
        for sx in (-1, 1):
            parts.append(
                box((sx * inner_x, low, 0), (thick * 0.8, thick * 0.8, 2 * inner_z), "frame")
            )
    if style == "Rustic" and height > 0.3:
        wide = thick * 1.6
        parts.append(box((0, 0.2 * height, 0), (2 * half_x - 2 * wide, wide, wide), "frame"))
        for sx in (-1, 1):
            at = sx * (half_x - wide)
            parts.append(box((at, 0.2 * height, 0), (wide, wide, 2 * half_z - 2 * wide), "frame"))
    return parts


def leg(style: str, x: float, z: float, height: float, *, thick: float) -> list[Part]:
    """Make one leg with its outer corner at ``x``, ``z``."""
    sx, sz = (1 if x > 0 else -1), (1 if z > 0 else -1)
    cx, cz = x - sx * thick / 2, z - sz * thick / 2
    if style == "Mid-Century":
        splay = min(0.22 * height, 0.10)
        foot = (x + sx * splay * 0.4, 0.0, z + sz * splay * 0.4)
        top = (x - sx * (splay + thick), height, z - sz * (splay + thick))
        tip = tuple(f + 0.14 * (t - f) for f, t in zip(foot, top, strict=True))
        ankle: Point = (tip[0], tip[1], tip[2])
        return [
            rod(ankle, top, (thick * 0.52, thick * 0.95), "frame"),
            rod(foot, ankle, (thick * 0.42, thick * 0.52), "accent"),
        ]
    if style == "Traditional":
        if height < 0.2:
            return [
                lathe(
                    (x - sx * thick, 0, z - sz * thick),
                    [(0, thick * 0.6), (height * 0.35, thick * 1.35), (height * 0.7, thick * 1.1),
                     (height * 0.8, thick * 0.8), (height, thick * 1.3)],
                    "frame", smooth=True,
                )
            ]  # fmt: skip
        profile = [(a * height, r * thick * 0.95) for a, r in _TURNED]
        return [lathe((x - sx * thick, 0, z - sz * thick), profile, "frame", sides=10, smooth=True)]
    if style == "Rustic":
        wide = thick * 2.2
        at = (x - sx * wide / 2, height / 2, z - sz * wide / 2)
        return [box(at, (wide, height, wide), "frame", bevel=0.012)]
    if style == "Industrial":
        plate = box((cx, 0.008, cz), (thick * 1.9, 0.016, thick * 1.9), "frame")
        return [box((cx, height / 2, cz), (thick, height, thick), "frame", bevel=0.004), plate]
    slim = thick * 0.72
    at = (x - sx * slim / 2, height / 2, z - sz * slim / 2)
    return [box(at, (slim, height, slim), "frame", bevel=0.003)]


def sled(half_x: float, half_z: float, height: float, *, thick: float = 0.022) -> list[Part]:
    """Stand something on two bent flat bars, the modern alternative to legs."""
    parts = []
    for sx in (-1, 1):
        x = sx * (half_x - thick)
        parts += [
            box((x, thick / 2, 0), (thick, thick, 2 * half_z), "frame", bevel=0.003),
            box((x, height / 2, half_z - thick / 2), (thick, height, thick), "frame", bevel=0.003),
            box((x, height / 2, thick / 2 - half_z), (thick, height, thick), "frame", bevel=0.003),
        ]
    return parts


def knob(style: str, x: float, y: float, z: float, width: float) -> list[Part]:
    """Put the style's handle on a front of ``width`` whose surface is at ``z``."""
    if style == "Modern":
        return [box((x, y, z + 0.012), (width * 0.62, 0.014, 0.022), "accent", bevel=0.003)]
    if style == "Mid-Century":
        return [rod((x, y, z), (x, y, z + 0.03), (0.012, 0.022), "accent", sides=10)]
    if style == "Industrial":
        return [
            box((x, y - 0.008, z + 0.02), (min(0.16, width * 0.4), 0.022, 0.024), "accent"),
            box((x, y + 0.018, z + 0.004), (min(0.19, width * 0.45), 0.04, 0.006), "accent"),
        ]
    if style == "Rustic":
        return [
            lathe((x, y, z), [(0, 0.03), (0.006, 0.03), (0.012, 0.012), (0.02, 0.012)], "accent",
                  towards=(x, y, z + 1), sides=10),
            box((x, y - 0.022, z + 0.022), (0.055, 0.05, 0.012), "accent", bevel=0.006),
        ]  # fmt: skip
    return [
        ball((x + dx, y, z + 0.02), (0.02, 0.02, 0.02), "accent")
        for dx in ((-width * 0.27, width * 0.27) if width > 0.5 else (0.0,))
    ]


def front(
    style: str,
    center: Point,
    size: tuple[float, float],
    slot: str,
    *,
    knob_x: float | None = 0.0,
    knob_y: float = 0.0,
    door: bool = False,
) -> list[Part]:
    """Make a drawer front or door whose back is at ``center``'s z, in the style."""
    x, y, z = center
    w, h = size
    thick = 0.02
    parts = [box((x, y, z + thick / 2), (w, h, thick), slot, bevel=0.006)]
    face = z + thick
    if style == "Traditional":
        rim = min(0.045, 0.16 * min(w, h))
        parts += _frame((x, y, face), (w - 0.012, h - 0.012), slot, rim=rim, deep=0.014)
        parts.append(box((x, y, face), (w - 4.2 * rim, h - 4.2 * rim, 0.022), slot, bevel=0.016))
    if style == "Rustic" and door:
        rim = min(0.08, 0.2 * min(w, h))
        parts += _frame((x, y, face), (w, h), slot, rim=rim, deep=0.018)
        lean = _lean(w - 2 * rim, h - 2 * rim)
        length = ((w - 2 * rim) ** 2 + (h - 2 * rim) ** 2) ** 0.5
        parts += [
            box((x, y, face + 0.006), (rim, length, 0.012), slot, turn=(0, 0, lean * s))
            for s in (-1, 1)
        ]
    elif style == "Rustic":
        for edge in (-0.25, 0.25):
            parts.append(
                box((x, y + edge * h, face), (w - 0.01, h * 0.46, 0.012), slot, bevel=0.01)
            )
    if style == "Industrial":
        parts += _frame((x, y, face), (w, h), "frame", rim=0.018, deep=0.01)
    if knob_x is not None:
        parts += knob(style, x + knob_x, y + knob_y, face, w if not door else 0.12)
    return parts


def _frame(
    center: Point, size: tuple[float, float], slot: str, *, rim: float, deep: float
) -> list[Part]:
    (x, y, z), (w, h) = center, size
    return [
        box((x, y + s * (h - rim) / 2, z + deep / 2), (w, rim, deep), slot, bevel=0.005)
        for s in (-1, 1)
    ] + [
        box((x + s * (w - rim) / 2, y, z + deep / 2), (rim, h - 2 * rim, deep), slot, bevel=0.005)
        for s in (-1, 1)
    ]


def _lean(width: float, height: float) -> float:
    """Return the degrees from upright of the diagonal of a rectangle."""
    from math import atan2, degrees

    return degrees(atan2(width, height))


def top(
    style: str, y: float, size: tuple[float, float], slot: str, *, oval: bool = False
) -> list[Part]:
    """Make a table top or cabinet top of the style whose upper side is at ``y``."""
    w, d = size
    if style == "Rustic":
        thick, planks = 0.055, 4
        wide = d / planks
        return [
            box((0, y - thick / 2, -d / 2 + wide * (i + 0.5)), (w, thick, wide - 0.004), slot,
                bevel=0.012)
            for i in range(planks)
        ]  # fmt: skip
    if style == "Traditional":
        return [
            box((0, y - 0.012, 0), (w, 0.024, d), slot, bevel=0.012),
            box((0, y - 0.034, 0), (w - 0.03, 0.02, d - 0.03), slot, bevel=0.01),
        ]
    if style == "Mid-Century" and oval:
        return [
            lathe(
                (0, y - 0.03, 0), [(0, d / 2 - 0.02), (0.02, d / 2), (0.03, d / 2)], slot, sides=36
            )
        ]
    if style == "Mid-Century":
        return [cushion((0, y - 0.016, 0), (w, 0.032, d), slot, radius=0.016)]
    thick = 0.04 if style == "Industrial" else 0.028
    return [box((0, y - thick / 2, 0), (w, thick, d), slot, bevel=0.004)]


def braces(half_x: float, z: float, low: float, high: float) -> list[Part]:
    """Cross two thin rods between two uprights, as on factory shelving."""
    return [
        rod((-s * half_x, low, z), (s * half_x, high, z), 0.007, "frame", sides=6) for s in (-1, 1)
    ]


def crown(y: float, w: float, d: float, slot: str) -> list[Part]:
    """Top a tall piece with a stepped cornice."""
    return [
        box((0, y + 0.015 + 0.028 * i, 0), (w + 0.03 * (i + 1), 0.03, d + 0.03 * (i + 1)), slot,
            bevel=0.01)
        for i in range(3)
    ]  # fmt: skip
