"""The failure table of images, end to end: what shards hold and what the accounting says."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from furnclip.preparing import sharding
from furnclip.preparing.plan import scheme_of
from furnclip.preparing.workers import make_pictures
from furnclip.shards import ShardReader, list_shards
from furnclip.state.preparing import read_memory
from tests.preparing.catalogues import SMALL, Project, picture
from tests.preparing.test_sharding import assert_sound, rejects_file
from tests.preparing.test_workers import deadly
from tests.test_images import png_header

ONE_SPLIT = SMALL.model_copy(update={"val_fraction": 0, "test_fraction": 0, "mini_fraction": 0})


def test_every_refusal_of_the_table_is_in_the_accounting(tmp_path: Path) -> None:
    project = Project(tmp_path / "in", 40)
    images = tmp_path / "in" / "images"
    secret = tmp_path / "secret.jpg"
    picture(99).save(secret)
    whole = (images / "0.jpg").read_bytes()
    (images / "0.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "1.jpg").write_bytes(b"")
    Image.new("RGB", (5000, 1)).save(images / "2.jpg", "PNG")
    (images / "3.jpg").write_bytes(png_header(8_001, 8_001))
    Image.new("F", (8, 8)).save(images / "4.jpg", "TIFF")
    (images / "5.jpg").unlink()
    (images / "5.jpg").symlink_to(secret)
    project.rows[6]["local_path"] = str(secret)
    project.rows[7]["local_path"] = "../secret.jpg"
    result = project.shard()
    wanted = [
        "truncated", "not_image", "aspect", "too_large", "unsupported_mode", "outside_root",
        "outside_root", "outside_root",
    ]  # fmt: skip
    assert [(r["row"], r["reason"]) for r in rejects_file(project)] == [
        (str(number), reason) for number, reason in enumerate(wanted, 1)
    ]
    assert_sound(project, result)


def _turned() -> tuple[Image.Image, Image.Exif]:
    image = Image.new("RGB", (60, 30), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 30, 30))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned clockwise: what is left comes to the top
    return image, exif


def test_mended_kinds_come_out_of_the_shard_as_they_should(tmp_path: Path) -> None:
    project = Project(tmp_path, 7)
    at = [tmp_path / "images" / f"{number}.jpg" for number in range(7)]
    half = Image.new("RGBA", (40, 40), (200, 0, 0, 128))
    palette = Image.new("P", (40, 40), 0)
    palette.putpalette([200, 0, 0])
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(at[0], "JPEG", quality=95)
    Image.fromarray(np.full((40, 40), 100 * 256 + 255, np.uint16)).save(at[1], "PNG")
    half.save(at[2], "PNG")
    half.convert("LA").save(at[3], "PNG")
    palette.save(at[4], "PNG", transparency=0)
    red, blue = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "blue")
    red.save(at[5], "GIF", save_all=True, append_images=[blue])
    image, exif = _turned()
    image.save(at[6], "JPEG", quality=95, exif=exif)
    project.shard(ONE_SPLIT)
    reader = ShardReader(list_shards(project.out / "train"))
    found = {reader.meta(i)["product_id"]: i for i in range(len(reader))}
    centres = [
        (255, 0, 0), (100, 100, 100), (227, 127, 127), (157, 157, 157), (255, 255, 255),
        (255, 0, 0),
    ]  # fmt: skip
    for number, color in enumerate(centres):
        square = Image.open(io.BytesIO(reader.jpg(found[f"P{number}"])))
        assert square.getpixel((16, 16)) == pytest.approx(color, abs=6), number
    upright = Image.open(io.BytesIO(reader.jpg(found["P6"])))
    assert upright.getpixel((16, 5)) == pytest.approx((255, 0, 0), abs=12)
    assert upright.getpixel((16, 27)) == pytest.approx((0, 0, 255), abs=12)
    meta = reader.meta(found["P6"])
    assert (meta["width"], meta["height"]) == (30, 60)
    pictures = read_memory(
        project.state, str(project.out.resolve()), scheme=scheme_of(ONE_SPLIT)
    ).pictures
    kept = [pictures[f"images/{n}.jpg"] for n in (0, 1, 5)]
    assert [(k.mode, k.frames) for k in kept] == [("CMYK", 1), ("I;16", 1), ("P", 2)]


def test_image_that_kills_every_decoder_is_rejected_and_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path, 40)
    poisoned = partial(make_pictures, command=deadly(tmp_path / "log", "images/7.jpg"))
    monkeypatch.setattr(sharding, "make_pictures", poisoned)
    result = project.shard()
    assert result.rejected == {"crashed": 1}
    (listed,) = rejects_file(project)
    assert (listed["row"], listed["product_id"], listed["reason"]) == ("8", "P7", "crashed")
    assert "SIGABRT" in listed["message"]
    assert_sound(project, result)


def test_captions_longer_than_clip_reads_are_counted(tmp_path: Path) -> None:
    project = Project(tmp_path, 20)
    for number in (3, 4, 5):
        project.rows[number]["name"] = "oak " * 80
    assert project.shard().long_captions == 3
