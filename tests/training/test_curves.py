from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from furnclip.training.curves import draw_curves, smoothed


def test_smoothing_follows_without_starting_at_zero() -> None:
    assert smoothed([4.0, 4.0, 4.0]) == pytest.approx([4.0, 4.0, 4.0])
    assert smoothed([0.0] * 50 + [1.0] * 50)[-1] > 0.99


@pytest.mark.parametrize("count", [1, 50])
def test_picture_shows_both_curves(tmp_path: Path, count: int) -> None:
    path = tmp_path / "curves.png"
    points = [(float(i), 1 / (i + 1)) for i in range(count)]
    draw_curves(path, title="run <1>", losses=points, scores=points, score_name="nDCG@10")
    pixels = np.asarray(Image.open(path))
    blue = (pixels == np.array([0x1F, 0x5F, 0xA8])).all(axis=2)
    assert blue[:, pixels.shape[1] // 2 :].any()
    if count > 1:
        assert blue[:, : pixels.shape[1] // 2].any()
    drawing = ET.parse(tmp_path / "curves.svg").getroot()
    lines = [each for each in drawing.iter() if each.get("stroke") == "#1f5fa8"]
    assert [len(str(each.get("points")).split()) for each in lines] == [count, count]
    words = [str(each.text) for each in drawing.iter() if each.tag.endswith("text")]
    assert words[0] == "run <1>"
    assert "nDCG@10 by epoch" in words


def test_without_validation_only_the_loss_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    draw_curves(path, title="a", losses=[(0, 2.0), (1, 1.0)], scores=[], score_name="nDCG@10")
    pixels = np.asarray(Image.open(path))
    assert (pixels[:, pixels.shape[1] // 2 + 40 :] == 255).all()
