"""How the photographer stood: camera, light and backdrop, different for every photo."""

from __future__ import annotations

import numpy as np

from furnclip.demo.palette import jittered
from furnclip.demo.scene import Setting

_STUDIO = ("fafaf8", "f4f3f0", "ececea", "f6f1e8", "e8ebee")
_TINTED = ("dfe3da", "e8dccf", "d5dde3", "e6d6d2", "cfd3d4")
_WALLS = ("e7e1d6", "d9dcd6", "c9d2d3", "e2d2c3", "b9c3bb", "d8d4d8", "f0ede6")
_FLOORS = {
    "oak": ("bd9f7c", "ae8d69", "d3ba9a"),
    "walnut": ("7d5d47", "6a4f3e"),
    "linen": ("cfc7ba", "b7b6b1", "d9d2c4"),
    "marble": ("dcd9d3", "c4c3c0"),
}


def setting(rng: np.random.Generator, *, room: bool) -> Setting:
    """Arrange one photo, in a ``room`` or before a seamless studio backdrop."""
    wall = str(rng.choice(_WALLS if room else (_STUDIO if rng.random() < 0.75 else _TINTED)))
    floor = str(rng.choice(list(_FLOORS))) if room else "studio"
    ground = str(rng.choice(_FLOORS[floor])) if room else wall
    side = rng.choice((-1, 1))
    return Setting(
        yaw=float(side * rng.uniform(6, 40)),
        pitch=float(rng.uniform(8, 22)),
        fill=float(rng.uniform(0.66, 0.80) if room else rng.uniform(0.72, 0.90)),
        offset=(float(rng.normal(0, 0.02)), float(rng.uniform(0.0, 0.06))),
        sun=(float(rng.uniform(-65, 65)), float(rng.uniform(38, 66))),
        sunlight=float(rng.uniform(0.35, 0.8)),
        warmth=float(rng.normal(0.02, 0.035)),
        exposure=float(rng.uniform(0.9, 1.08)),
        backdrop=jittered(wall, rng),
        floor=floor,
        floor_color=jittered(ground, rng),
    )
