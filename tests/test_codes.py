"""Codes of one byte never miss a near neighbour, whatever the gallery looks like."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from furnclip.codes import Codes, CodesFile
from furnclip.nearest import top_k

Gallery = npt.NDArray[np.float16]


def coded(path: Path, gallery: npt.NDArray[Any], *, part: int = 1000) -> Codes:
    buffer = io.BytesIO()
    file = CodesFile(buffer)
    for start in range(0, len(gallery), part):
        file.add(gallery[start : start + part])
    file.finish()
    path.write_bytes(buffer.getvalue())
    codes = Codes.open(path, (gallery.shape[0], gallery.shape[1]))
    assert codes is not None
    return codes


def unit(vectors: npt.NDArray[Any]) -> Gallery:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, dtype=np.float16)


def galleries() -> dict[str, Gallery]:
    rng = np.random.default_rng(0)
    plain = rng.standard_normal((6_000, 24))
    shared = plain * 0.3
    shared[:, 5] += 4.0  # as CLIP's: one long component that all vectors have
    first_part_elsewhere = plain.copy()
    first_part_elsewhere[:1000] += 50
    twice = plain.copy()
    twice[3_000:] = twice[:3_000]
    return {
        "plain": unit(plain),
        "shared": unit(shared),
        "first part elsewhere": unit(first_part_elsewhere),
        "every vector twice": unit(twice),
        "all the same": unit(np.ones((6_000, 24))),
        "long and short": (plain * rng.uniform(0, 30, (6_000, 1))).astype(np.float16),
        "nothing but zeros": np.zeros((6_000, 24), dtype=np.float16),
        "close together": unit(1 + 0.003 * plain),
    }


@pytest.mark.parametrize("name", galleries())
def test_search_with_codes_equals_search_without(tmp_path: Path, name: str) -> None:
    gallery = galleries()[name]
    codes = coded(tmp_path / "g.i8", gallery)
    rng = np.random.default_rng(1)
    queries = np.concatenate([gallery[[3, 4_000]], 5 * rng.standard_normal((4, 24))])
    some = rng.random(len(gallery)) < 0.8
    few_at_the_end = np.arange(len(gallery)) >= len(gallery) - 4_200
    for allowed in (None, some, few_at_the_end):
        for k in (1, 10, 300):
            plain = top_k(queries, gallery, k, allowed=allowed)
            quick = top_k(queries, gallery, k, allowed=allowed, codes=codes)
            assert np.allclose(quick[1], plain[1], atol=1e-6)
            differ = quick[0] != plain[0]
            assert np.allclose(quick[1][differ], plain[1][differ], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", galleries())
def test_bounds_hold_for_every_row(tmp_path: Path, name: str) -> None:
    gallery = galleries()[name]
    codes = coded(tmp_path / "g.i8", gallery)
    for seed in range(5):
        query = np.random.default_rng(seed).standard_normal(24).astype(np.float32)
        exact = gallery.astype(np.float64) @ query
        for k in (1, 40):
            border = np.sort(exact)[-k]
            found = set(codes.may_be_nearest(query, k).tolist())
            assert found >= set(np.flatnonzero(exact > border + 1e-6).tolist())


def test_few_rows_are_left_over(tmp_path: Path) -> None:
    gallery = unit(np.random.default_rng(2).standard_normal((50_000, 64)))
    codes = coded(tmp_path / "g.i8", gallery)
    assert len(codes.may_be_nearest(gallery[7].astype(np.float32), 10)) < 1_000


def test_rows_allowed_in_fewer_blocks_than_k(tmp_path: Path) -> None:
    gallery = unit(np.random.default_rng(2).standard_normal((20_000, 16)))
    codes = coded(tmp_path / "g.i8", gallery)
    allowed = np.zeros(len(gallery), dtype=bool)
    allowed[100:112] = True
    found = codes.may_be_nearest(gallery[0].astype(np.float32), 12, allowed=allowed)
    assert found.tolist() == list(range(100, 112))


def test_a_gallery_of_several_blocks_in_uneven_parts(tmp_path: Path) -> None:
    gallery = unit(np.random.default_rng(3).standard_normal((65_537, 8)))
    codes = coded(tmp_path / "g.i8", gallery, part=1_001)
    assert len(codes) == 65_537
    for query in (gallery[65_536], gallery[40_000], np.zeros(8)):
        for k in (1, 10, 2_000):
            plain = top_k(query[None], gallery, k)
            assert top_k(query[None], gallery, k, codes=codes)[0].tolist() == plain[0].tolist()


@pytest.mark.parametrize("damage", [np.nan, np.inf, -np.inf])
def test_a_damaged_vector_hides_no_other(tmp_path: Path, damage: float) -> None:
    gallery = unit(np.random.default_rng(4).standard_normal((10_000, 16)))
    gallery[5, 3] = gallery[9_000, 2] = damage
    codes = coded(tmp_path / "g.i8", gallery)
    for row in (0, 8_961):
        query = gallery[row].astype(np.float32)
        assert row in codes.may_be_nearest(query, 3)


def test_searching_gives_back_no_reference_it_does_not_own(tmp_path: Path) -> None:
    gallery = unit(np.random.default_rng(2).standard_normal((5_000, 16)))
    codes = coded(tmp_path / "g.i8", gallery)
    query = gallery[0].astype(np.float32)
    before = sys.getrefcount(None)
    for _ in range(200):
        codes.may_be_nearest(query, 5)
    assert sys.getrefcount(None) > before - 100


@pytest.mark.parametrize("content", [b"", b"x" * 20, None])
def test_a_file_of_another_size_is_not_used(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "g.i8"
    if content is not None:
        path.write_bytes(content)
    assert Codes.open(path, (10, 8)) is None
    assert Codes.open(path, (0, 8)) is None
