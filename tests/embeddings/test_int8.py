"""Vectors through the eight-bit tower: close, let in by the gate only, and never mixed."""

import json
from pathlib import Path

import numpy as np
import pytest

from furnclip.embeddings.catalogue import embed_catalogue
from furnclip.embeddings.gate import VERDICT, proven_int8
from furnclip.encoder import Encoder
from furnclip.errors import DataError, UsageError
from furnclip.quantized import MODEL, require_runtime, top_overlap
from furnclip.vectors import read_master
from tests.embeddings.shop import write_shop

Models = dict[str, str | Path]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return write_shop(tmp_path / "many", splits={"train": (9,), "test": (8,)})


@pytest.fixture
def _lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectors of a random model lie close together: 95% is what it reaches here."""
    monkeypatch.setattr("furnclip.embeddings.gate.LEAST_OVERLAP", 0.9)


@pytest.mark.usefixtures("_lenient")
def test_int8_vectors_are_close_to_full_ones(models: Models, many: Path, tmp_path: Path) -> None:
    base = {"base": models["base"]}
    embed_catalogue(base, shards_dir=many, out=tmp_path / "low", precision="int8")
    embed_catalogue(base, shards_dir=many, out=tmp_path / "full", precision="fp32")
    low, full = (read_master(tmp_path / name / "master.parquet") for name in ("low", "full"))
    assert low.models["base"].dtype == "int8"
    a, b = (x.vectors("base", "image").astype(np.float32) for x in (low, full))
    cosine = (a * b).sum(axis=1)
    assert cosine.min() > 0.99
    assert not np.array_equal(a, b)
    assert np.array_equal(low.vectors("base", "text"), full.vectors("base", "text"))
    verdict = json.loads((tmp_path / "low" / low.models["base"].sha / VERDICT).read_text())
    assert verdict["products"] == 17
    assert verdict["words"] >= 0.9


@pytest.mark.usefixtures("_lenient")
def test_a_second_run_and_auto_go_on_with_int8(models: Models, many: Path, tmp_path: Path) -> None:
    base = {"base": models["base"]}
    embed_catalogue(base, shards_dir=many, out=tmp_path / "low", precision="int8")
    again = embed_catalogue(base, shards_dir=many, out=tmp_path / "low", precision="auto")
    assert again.files == 0
    assert again.models["base"].dtype == "int8"
    with pytest.raises(DataError, match="not mixed"):
        embed_catalogue(base, shards_dir=many, out=tmp_path / "low", precision="fp32")


def test_int8_that_finds_other_products_is_refused_and_leaves_nothing(
    models: Models, many: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="of the ten nearest") as caught:
        embed_catalogue(models, shards_dir=many, out=tmp_path / "low", precision="int8")
    assert "--precision auto" in str(caught.value.hint)
    assert not [path for path in (tmp_path / "low").rglob("*") if path.name in {MODEL, VERDICT}]
    assert not list((tmp_path / "low").rglob("*.parquet"))


def test_a_damaged_tower_is_named(models: Models, tmp_path: Path) -> None:
    (tmp_path / MODEL).write_bytes(b"nonsense")
    encoder = Encoder.load(models["base"], device="cpu", precision="fp32")
    with pytest.raises(DataError, match="cannot load"):
        proven_int8(encoder, tmp_path, [], label="base")


def test_int8_on_a_gpu_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="CPU"):
        require_runtime("cuda")


def test_int8_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("furnclip.quantized.find_spec", lambda _: None)
    with pytest.raises(UsageError) as caught:
        require_runtime("cpu")
    assert "furnclip[fast]" in str(caught.value.hint)


def test_overlap_counts_the_products_in_both() -> None:
    full = np.eye(20, 24, dtype=np.float32)
    assert top_overlap(full[:3], full, full, k=1) == 1
    low = full.copy()
    low[[0, 1]] = low[[1, 0]]
    assert top_overlap(full[:4], full, low, k=1) == 0.5
