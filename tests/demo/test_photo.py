from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from furnclip.demo.furniture import build
from furnclip.demo.palette import SHADES, finishes
from furnclip.demo.photo import take_photo
from furnclip.demo.raster import View, look
from furnclip.demo.scene import Finish, Setting
from furnclip.demo.solids import box

RED, BLUE = (0.6, 0.02, 0.02), (0.02, 0.02, 0.6)
STUDIO = Setting(
    yaw=0.0,
    pitch=12.0,
    fill=0.5,
    offset=(0.0, 0.0),
    sun=(50.0, 45.0),
    sunlight=0.7,
    warmth=0.0,
    exposure=1.0,
    backdrop=(0.95, 0.95, 0.95),
    floor="studio",
    floor_color=(0.95, 0.95, 0.95),
)


def _pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float64) / 255


def _cube(color: tuple[float, float, float], setting: Setting = STUDIO) -> np.ndarray:
    cube = box((0, 0.5, 0), (1, 1, 1), "body")
    return _pixels(take_photo([cube], {"body": Finish("lacquer", color)}, setting, 96))


def test_nearer_solid_hides_the_farther_one() -> None:
    eye, axes = np.array((0, 0, 5.0)), np.array([(1, 0, 0), (0, 1, 0), (0, 0, -1.0)])
    view = View(eye, axes, 60.0, (32.0, 32.0), perspective=True)
    far, near = box((0, 0, 0), (2, 2, 0.1), "a"), box((0, 0, 2), (0.5, 0.5, 0.1), "b")
    for parts, index in (([far, near], 1), ([near, far], 0)):
        seen = look(parts, view, 64)
        assert seen.part_of[int(seen.face[32, 32]) - 1] == index
        assert seen.part_of[int(seen.face[32, 24]) - 1] == 1 - index
        assert 1 / seen.near[32, 32] == pytest.approx(2.95, abs=1e-3)
        assert seen.face[2, 2] == 0


def test_product_has_the_colour_of_its_finish() -> None:
    red, blue = _cube(RED)[48, 48], _cube(BLUE)[48, 48]

    assert red[0] > 2 * red[2]
    assert blue[2] > 2 * blue[0]


def test_product_fills_the_part_of_the_frame_asked_for() -> None:
    colored = np.ptp(_cube(RED), axis=-1) > 0.3
    columns = np.flatnonzero(colored.any(axis=0))
    rows = np.flatnonzero(colored.any(axis=1))

    assert max(np.ptp(columns), np.ptp(rows)) / 96 == pytest.approx(0.5, abs=0.04)


def test_shadow_falls_away_from_the_sun() -> None:
    right, left = (_cube(RED, replace(STUDIO, sun=(side * 50.0, 45.0))) for side in (1, -1))

    assert right[64, 10] == pytest.approx(left[64, 85], abs=0.02)
    assert right[64, 14].mean() < right[64, 81].mean() - 0.05


@pytest.mark.parametrize("material", SHADES)
def test_materials_look_different_in_one_colour(material: str) -> None:
    shade = SHADES["Leather"][0]
    object_type = "Coffee table" if material == "Glass" else "Armchair"

    def photo(name: str) -> np.ndarray:
        parts = build(object_type, "Modern", np.random.default_rng(3))
        finish = finishes(object_type, "Modern", name, shade, np.random.default_rng(4))
        return _pixels(take_photo(parts, finish, STUDIO, 64))

    other = "Leather" if material != "Leather" else "Velvet"
    assert np.abs(photo(material) - photo(other)).max() > 0.1
    assert (photo(material) == photo(material)).all()
