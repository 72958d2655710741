"""Beds in five styles."""

from __future__ import annotations

import numpy as np

from furnclip.demo.fittings import leg, legs
from furnclip.demo.solids import Part, ball, box, cushion, lathe, rod

Rng = np.random.Generator


def bed(style: str, rng: Rng) -> list[Part]:
    """Build a made bed."""
    w, length = float(rng.choice([1.4, 1.6, 1.8])) + 0.08, 2.05
    lift, rail = (0.16, 0.2)
    head = float(rng.uniform(0.9, 1.15))
    front_z, back_z = length / 2, -length / 2
    parts = legs(style, w / 2, length / 2, lift + 0.04, thick=0.05)
    parts.append(box((0, lift + rail / 2, 0), (w, rail, length), "body", bevel=0.012))
    parts.append(
        cushion(
            (0, lift + rail + 0.09, 0.02), (w - 0.06, 0.24, length - 0.1), "bedding", radius=0.08
        )
    )
    parts.append(
        cushion((0, lift + rail + 0.15, 0.32), (w + 0.0, 0.19, length - 0.68), "throw", radius=0.08)
    )
    for s in (-1, 1):
        parts.append(
            cushion(
                (s * w / 4, lift + rail + 0.27, back_z + 0.34),
                (w / 2 - 0.1, 0.16, 0.42),
                "bedding",
                radius=0.075,
                puff=0.22,
                turn=(28, 0, 0),
            )
        )
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
            box(
                (0, 0.35 + (head - 0.35) * (i + 0.5) / 4, z),
                (w, (head - 0.35) / 4 - 0.008, 0.04),
                "body",
                bevel=0.012,
            )
            for i in range(4)
        ]
        return planks + [
            box((x, head / 2 + 0.03, z), (0.09, head + 0.06, 0.09), "body") for x, _ in posts
        ]
    tufted = [
        cushion((0, head / 2 + 0.22, z + 0.02), (w - 0.06, head - 0.3, 0.08), "body", radius=0.035)
    ]
    tufted.append(
        lathe(
            (0, head - 0.3, z - 0.02),
            [(0, w * 0.36), (0.075, w * 0.36)],
            "body",
            towards=(0, head - 0.3, 9),
            sides=36,
        )
    )
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
