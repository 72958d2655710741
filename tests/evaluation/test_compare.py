"""Base against tuned from vectors whose right answers are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from furnclip.errors import DataError, UsageError
from furnclip.evaluation.compare import evaluate, per_query
from furnclip.evaluation.html import report_page
from furnclip.vectors import (
    TEXT_COLUMNS,
    MasterVectors,
    ModelInfo,
    master_part,
    read_master,
    write_master,
)

Vectors = npt.NDArray[np.float32]


def _unit(values: npt.ArrayLike) -> Vectors:
    array = np.asarray(values, dtype=np.float32)
    return np.asarray(array / np.linalg.norm(array, axis=1, keepdims=True), dtype=np.float32)


def _master(
    folder: Path,
    vectors: dict[str, tuple[Vectors, Vectors]],
    *,
    products: Sequence[str],
    splits: Sequence[str] | None = None,
    colors: Sequence[str] | None = None,
    captions: Sequence[str] | None = None,
) -> MasterVectors:
    count = len(products)
    jpeg = b"\xff\xd8 not decoded here"
    (folder / "s.tar").write_bytes(jpeg)
    columns: dict[str, Sequence[Any]] = {
        name: [f"{name} {p}" for p in products] for name in TEXT_COLUMNS
    } | {
        "product_id": list(products),
        "split": list(splits or ["test"] * count),
        "color": list(colors or ["red"] * count),
        "caption": list(captions or [f"caption {p}" for p in products]),
        "shard": ["s.tar"] * count,
        "jpg_offset": [0] * count,
        "jpg_size": [len(jpeg)] * count,
    }
    infos = {
        label: ModelInfo(label, "0" * 16, images.shape[1], "fp32", 32)
        for label, (images, _) in vectors.items()
    }
    path = folder / "master.parquet"
    write_master(path, [master_part(columns, vectors)], infos)
    return read_master(path)


def _noisy(count: int, noise: float, seed: int) -> tuple[Vectors, Vectors]:
    generator = np.random.default_rng(seed)
    images = _unit(generator.normal(size=(count, 32)))
    return images, _unit(images + noise * generator.normal(size=(count, 32)))


def test_a_better_model_wins_with_a_small_p(tmp_path: Path) -> None:
    products = [f"p{i}" for i in range(120)]
    vectors = {"base": _noisy(120, 1.5, 0), "tuned": _noisy(120, 0.3, 1)}
    report = evaluate(_master(tmp_path, vectors, products=products))
    for direction in report.directions.values():
        assert (direction.queries, direction.gallery_size) == (120, 120)
        base, tuned = (direction.scores[label]["ndcg@10"] for label in ("base", "tuned"))
        assert base.low < base.mean < base.high < tuned.low < tuned.mean <= tuned.high
        assert direction.compared["tuned"]["ndcg@10"].p < 0.01
        assert direction.compared["tuned"]["ndcg@10"].low > 0
        assert direction.median_rank["tuned"] < direction.median_rank["base"]


def test_the_same_model_twice_shows_no_difference(tmp_path: Path) -> None:
    vectors = _noisy(40, 1.0, 0)
    products = [f"p{i}" for i in range(40)]
    report = evaluate(_master(tmp_path, {"base": vectors, "tuned": vectors}, products=products))
    compared = report.directions["text_to_image"].compared["tuned"]["hit@1"]
    assert (compared.difference, compared.p) == (0.0, 1.0)


def test_all_photos_of_a_product_are_right_and_its_caption_asks_once(tmp_path: Path) -> None:
    eye = np.eye(3, dtype=np.float32)
    images = np.concatenate([eye, eye[:1]])  # product a has two photos
    products = ["a", "b", "c", "a"]
    master = _master(tmp_path, {"base": (images, images)}, products=products)
    report = evaluate(master)
    assert report.products == 3
    text_to_image = report.directions["text_to_image"]
    assert (text_to_image.queries, text_to_image.gallery_size) == (3, 4)
    assert text_to_image.scores["base"]["recall@1"].mean == pytest.approx((0.5 + 1 + 1) / 3)
    assert text_to_image.scores["base"]["hit@1"].mean == 1.0
    image_to_text = report.directions["image_to_text"]
    assert (image_to_text.queries, image_to_text.gallery_size) == (4, 3)
    assert image_to_text.scores["base"]["hit@1"].mean == 1.0


def test_other_splits_are_not_in_the_gallery(tmp_path: Path) -> None:
    images, _ = _noisy(6, 0, 0)
    images[3] = images[0]  # a training photo equal to a test photo would be a tie
    master = _master(
        tmp_path,
        {"base": (images, images)},
        products=list("abcdef"),
        splits=["test"] * 3 + ["train"] * 3,
    )
    report = evaluate(master)
    assert report.directions["text_to_image"].gallery_size == 3
    assert report.directions["text_to_image"].scores["base"]["hit@1"].mean == 1.0


def test_slices_score_their_queries_against_the_whole_gallery(tmp_path: Path) -> None:
    images, texts = _noisy(20, 0.1, 0)
    texts[10:] = -texts[10:]  # the blue ones are found last
    colors = ["red"] * 10 + ["blue"] * 10
    products = [f"p{i}" for i in range(20)]
    master = _master(tmp_path, {"base": (images, texts)}, products=products, colors=colors)
    found = {
        s.value: s for s in evaluate(master, slices=["color"]).slices if "text_to" in s.direction
    }
    assert found["red"].means["base"]["hit@1"] == 1.0
    assert found["blue"].means["base"]["hit@10"] < 0.5
    assert found["blue"].queries == 10


def test_rare_and_unknown_values_are_no_slices(tmp_path: Path) -> None:
    vectors = {"base": _noisy(12, 0.1, 0)}
    colors = ["red"] * 4 + [""] * 8
    products = [f"p{i}" for i in range(12)]
    master = _master(tmp_path, vectors, products=products, colors=colors)
    assert evaluate(master, slices=["color"]).slices == []


def test_shared_captions_are_counted(tmp_path: Path) -> None:
    master = _master(
        tmp_path,
        {"base": _noisy(3, 0.1, 0)},
        products=["a", "b", "c"],
        captions=["oak table", "oak table", "red sofa"],
    )
    assert evaluate(master).shared_captions == 2


def test_an_empty_split_names_the_ones_there_are(tmp_path: Path) -> None:
    master = _master(tmp_path, {"base": _noisy(3, 0.1, 0)}, products=["a", "b", "c"])
    with pytest.raises(DataError) as caught:
        evaluate(master, split="val")
    assert caught.value.hint == "it has test (3)"


def test_an_unknown_attribute_names_the_known_ones(tmp_path: Path) -> None:
    master = _master(tmp_path, {"base": _noisy(3, 0.1, 0)}, products=["a", "b", "c"])
    with pytest.raises(UsageError) as caught:
        evaluate(master, slices=["colour"])
    assert "color" in str(caught.value.hint)


def test_per_query_values_belong_to_their_rows(tmp_path: Path) -> None:
    images = np.eye(4, dtype=np.float32)
    texts = images.copy()
    texts[2] = images[3]
    master = _master(tmp_path, {"base": (images, texts)}, products=list("abcd"))
    rows, metrics = per_query(master, split="test", direction="text_to_image", label="base")
    assert rows.tolist() == [0, 1, 2, 3]
    assert metrics.per_query["hit@1"].tolist() == [1, 1, 0, 1]


def test_the_page_shows_gains_and_losses_and_needs_nothing_else(tmp_path: Path) -> None:
    products = [f"p{i}" for i in range(20)]
    captions = [f"caption <{p}> & more" for p in products]
    vectors = {"base": _noisy(20, 1.5, 0), "tuned": _noisy(20, 0.3, 1)}
    master = _master(tmp_path, vectors, products=products, captions=captions)
    page = report_page(evaluate(master), master)
    assert "tuned gains most" in page
    assert "p (tuned)" in page
    assert "&lt;0.001" in page
    assert "0.000</td>" not in page
    assert "tuned loses most" in page
    assert "data:image/jpeg;base64," in page
    assert "caption &lt;p" in page
    assert "caption <p" not in page
    assert "http" not in page
    assert "<script" not in page
