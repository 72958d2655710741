"""Damaged photos and damaged tables end to end: no crash, no hang, and every row accounted for."""

import csv
import io
import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from furnclip.errors import FurnclipError
from furnclip.preparing.verify import verify_shards
from furnclip.shards import ShardReader, list_shards
from tests.preparing.catalogues import SMALL, Project, picture, row, save_pictures, write_csv

LENIENT = SMALL.model_copy(update={"max_reject_rate": 1.0, "samples_per_shard": 500})
KINDS = ("JPEG", "JPEG", "JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Overwrite, cut, repeat or remove bytes, more often near the start where the headers are."""
    data = bytearray(content)
    for _ in range(rng.choice((0, 1, 2, 8, 40))):
        data[rng.randrange(min(len(data), rng.choice((64, 10**9))))] = rng.randrange(256)
    start = rng.randrange(len(data))
    action = rng.random()
    if action < 0.15:
        del data[start:]
    elif action < 0.25:
        del data[start : start + rng.randrange(1, 60)]
    elif action < 0.35:
        data[start:start] = data[start : start + rng.randrange(1, 60)] * rng.randrange(1, 4)
    return bytes(data)


def photo(seed: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    image = picture(seed)
    options = {"progressive": seed % 2 == 0} if kind == "JPEG" else {}
    image.convert("P" if kind == "GIF" else "RGB").save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.slow
def test_two_thousand_mutated_images_are_all_accounted_for(tmp_path: Path) -> None:
    project = Project(tmp_path, 0)
    rng = random.Random(1)
    project.rows = [row(number) for number in range(2_000)]
    for number in range(2_000):
        content = mutated(photo(number, rng.choice(KINDS)), rng)
        (tmp_path / "images" / f"{number}.jpg").write_bytes(content)
    result = project.shard(LENIENT)
    written = sum(result.splits[split].samples for split in ("train", "val", "test"))
    assert written + sum(result.rejected.values()) + result.duplicates == 2_000
    assert result.rejected.keys() >= {"not_image", "truncated", "corrupt"}
    assert "crashed" not in result.rejected
    assert 200 < written < 1_900
    report = verify_shards(project.out, csv_path=project.csv)
    assert report.problems == []
    assert sum(report.accounting.values()) == report.rows == 2_000
    listed = Counter(r["product_id"] for r in read(project.out / "rejects.csv"))
    shards = [p for s in ("train", "val", "test") for p in list_shards(project.out / s)]
    reader = ShardReader(shards)
    for index in range(len(reader)):
        listed[reader.meta(index)["product_id"]] += 1
        with Image.open(io.BytesIO(reader.jpg(index))) as square:
            square.load()
            assert (square.size, square.mode) == ((32, 32), "RGB")
    assert listed == Counter({f"P{number}": 1 for number in range(2_000)})


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_five_hundred_mutated_csvs_are_sharded_or_refused(tmp_path: Path) -> None:
    """One folder and one state file for all, as a catalogue that is edited again and again."""
    project = Project(tmp_path, 0)
    save_pictures(tmp_path, range(12))
    names = ['Chair, "oak"', "Stuhl für zwei", "two\nlines", "", "  ", "ソファ", "x" * 300]
    rows = [row(number, name=names[number % len(names)]) for number in range(12)]
    plain = write_csv(project.csv, rows).read_bytes()
    rng = random.Random(2)
    outcomes: Counter[str] = Counter()
    for _ in range(500):
        content = mutated(plain, rng)
        project.csv.write_bytes(content)
        try:
            result = project.shard_csv(LENIENT)
        except FurnclipError:
            outcomes["refused"] += 1
            continue
        outcomes["sharded"] += 1
        report = verify_shards(project.out, csv_path=project.csv)
        assert report.problems == []
        assert sum(report.accounting.values()) == report.rows == result.rows
        text = content.decode("utf-8-sig")
        parsed = [found for found in csv.reader(io.StringIO(text, newline="")) if found]
        assert report.rows == len(parsed) - 1
        outcomes["some rejected"] += bool(result.rejected)
    assert outcomes["sharded"] > 100
    assert outcomes["refused"] > 20
    assert outcomes["some rejected"] > 50
