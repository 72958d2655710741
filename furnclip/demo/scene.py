"""What a photo is of: finishes, the setting around the product, and how pixels see them."""

from __future__ import annotations

from dataclasses import dataclass

from furnclip.demo.light import Light, Shadow
from furnclip.demo.raster import View
from furnclip.demo.solids import Array


@dataclass(frozen=True)
class Finish:
    """What a slot is made of: a surface and its colour (linear RGB)."""

    surface: str
    color: tuple[float, float, float]


@dataclass(frozen=True)
class Setting:
    """Everything about a photo that is not the product.

    Angles are degrees; ``fill`` is the part of the frame that the product takes up, ``offset``
    its shift in frame widths. ``floor`` names a surface or ``studio`` (a seamless backdrop).
    """

    yaw: float
    pitch: float
    fill: float
    offset: tuple[float, float]
    sun: tuple[float, float]
    sunlight: float
    warmth: float
    exposure: float
    backdrop: tuple[float, float, float]
    floor: str
    floor_color: tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """What all parts of a photo share; ``extent`` is the product's largest side in metres."""

    setting: Setting
    corners: Array
    extent: float
    view: View
    light: Light
    shade: Shadow | None


@dataclass(frozen=True)
class Spots:
    """The pixels that one solid shows: where they are, how they lie, what light they get."""

    points: Array
    normals: Array
    towards: Array
    lit: Array
    open_sky: Array
