import numpy as np
import pytest

from furnclip.demo.fittings import STYLES
from furnclip.demo.furniture import OBJECT_TYPES, build
from furnclip.demo.solids import Part, ball, box, cushion, lathe, rod

CONVEX = {
    "box": box((1, 2, 3), (0.5, 0.3, 0.2), "body", turn=(20, 30, 40)),
    "cushion": cushion((0, 1, 0), (0.6, 0.2, 0.5), "body", puff=0.1, turn=(0, 45, 0)),
    "rod": rod((0, 0, 0), (0.3, 1, 0.2), (0.1, 0.05), "body"),
    "cone": lathe((0, 0, 0), [(0, 0.3), (1, 0.1)], "body", sides=6),
    "ball": ball((0, 0, 0), (0.3, 0.2, 0.1), "body"),
}


def _normals(part: Part) -> np.ndarray:
    return np.cross(part.quads[:, 2] - part.quads[:, 0], part.quads[:, 3] - part.quads[:, 1])


@pytest.mark.parametrize("part", CONVEX.values(), ids=CONVEX.keys())
def test_faces_and_normals_point_outwards(part: Part) -> None:
    middle = part.quads.reshape(-1, 3).mean(axis=0)
    outwards = part.quads.mean(axis=1) - middle

    assert (np.einsum("ij,ij->i", _normals(part), outwards) > 0).all()
    assert (np.einsum("ij,ij->i", part.normals.mean(axis=1), outwards) > 0).all()


def test_box_has_the_size_asked_for() -> None:
    part = box((1, 2, 3), (0.5, 0.3, 0.2), "body")

    assert np.ptp(part.quads.reshape(-1, 3), axis=0) == pytest.approx((0.5, 0.3, 0.2))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("object_type", OBJECT_TYPES)
def test_furniture_stands_on_the_floor(object_type: str, style: str) -> None:
    for seed in range(4):
        parts = build(object_type, style, np.random.default_rng(seed))
        heights = np.concatenate([part.quads[..., 1].ravel() for part in parts])

        assert -0.03 < heights.min() < 0.03
        assert 0.3 < heights.max() < 2.4


@pytest.mark.parametrize("object_type", OBJECT_TYPES)
def test_every_style_of_a_kind_has_a_shape_of_its_own(object_type: str) -> None:
    shapes = [build(object_type, style, np.random.default_rng(0)) for style in STYLES]

    assert len({b"".join(part.quads.tobytes() for part in parts) for parts in shapes}) == len(
        STYLES
    )
