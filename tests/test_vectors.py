"""Vector files and exact search."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from furnclip.errors import DataError
from furnclip.vectors import (
    TEXT_COLUMNS,
    ModelInfo,
    fixed_size_array,
    fixed_size_list,
    master_part,
    read_master,
    top_k,
    write_master,
)

BASE = ModelInfo(spec="base", sha="0" * 16, dim=16, dtype="fp32", image_size=32)


def _unit(rows: int, dim: int = 16, seed: int = 0) -> npt.NDArray[np.float16]:
    values = np.random.default_rng(seed).normal(size=(rows, dim))
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(unit, dtype=np.float16)


def _master(path: Path, rows: int = 7, *, shard: Path | None = None) -> Path:
    columns: dict[str, list[Any]] = {
        name: [f"{name} {i}" for i in range(rows)] for name in TEXT_COLUMNS
    }
    columns["shard"] = [str(shard or "missing.tar")] * rows
    columns["jpg_offset"] = [3 + 10 * i for i in range(rows)]
    columns["jpg_size"] = [10] * rows
    vectors = {
        "base": (_unit(rows, seed=1), _unit(rows, seed=2)),
        "tuned": (_unit(rows, seed=3), _unit(rows, seed=4)),
    }
    write_master(path, [master_part(columns, vectors)], {"base": BASE, "tuned": BASE})
    return path


def _brute_force(
    queries: npt.NDArray[np.float32],
    gallery: npt.NDArray[np.float16],
    k: int,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    scores = queries.astype(np.float64) @ gallery.astype(np.float64).T
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def test_master_comes_back_as_written(tmp_path: Path) -> None:
    master = read_master(_master(tmp_path / "master.parquet"))
    assert len(master) == 7
    assert master.models == {"base": BASE, "tuned": BASE}
    assert master.column("title")[3] == "title 3"
    assert np.array_equal(master.vectors("tuned", "text"), _unit(7, seed=4))
    assert master.row(2)["jpg_offset"] == 23


def test_vectors_are_views_of_the_table(tmp_path: Path) -> None:
    master = read_master(_master(tmp_path / "master.parquet"))
    column = master.table.column("base_text").chunk(0)
    buffer = column.flatten().buffers()[1]
    assert master.vectors("base", "text").ctypes.data == buffer.address
    assert isinstance(master.vectors("base", "image").base, np.memmap)


def test_the_mapped_copy_is_not_needed(tmp_path: Path) -> None:
    path = _master(tmp_path / "master.parquet")
    for copy in tmp_path.glob("*.f16"):
        copy.unlink()
    assert np.array_equal(read_master(path).vectors("tuned", "image"), _unit(7, seed=3))


def test_a_mapped_copy_of_another_size_is_not_used(tmp_path: Path) -> None:
    path = _master(tmp_path / "master.parquet")
    for copy in tmp_path.glob("*.f16"):
        copy.write_bytes(copy.read_bytes()[:-2])
    assert np.array_equal(read_master(path).vectors("tuned", "image"), _unit(7, seed=3))


@pytest.mark.parametrize("damage", ["gone", "cut", "of another table", "nonsense"])
def test_the_mapped_products_are_not_needed(tmp_path: Path, damage: str) -> None:
    whole = read_master(_master(tmp_path / "master.parquet"))
    rows = [whole.row(index) for index in range(7)]
    del whole  # it has mapped what is damaged now
    (mapped,) = tmp_path.glob("products-*.arrow")
    if damage == "gone":
        mapped.unlink()
    elif damage == "of another table":
        _master(tmp_path / "other" / "master.parquet", rows=9)
        (other,) = (tmp_path / "other").glob("products-*.arrow")
        mapped.write_bytes(other.read_bytes())
    else:
        mapped.write_bytes(mapped.read_bytes()[:-9] if damage == "cut" else b"nonsense")
    found = read_master(tmp_path / "master.parquet")
    assert [found.row(index) for index in range(7)] == rows
    assert np.array_equal(found.vectors("tuned", "text"), _unit(7, seed=4))


def test_a_file_of_the_users_with_a_similar_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "products-2025.arrow").write_bytes(b"mine")
    _master(tmp_path / "master.parquet")
    assert (tmp_path / "products-2025.arrow").read_bytes() == b"mine"


def test_products_are_mapped_not_decoded(tmp_path: Path) -> None:
    path = _master(tmp_path / "master.parquet")
    before = pa.total_allocated_bytes()
    master = read_master(path, kinds=["image"])
    assert pa.total_allocated_bytes() - before < 1000
    assert master.column("title") == [f"title {number}" for number in range(7)]


def test_a_new_master_replaces_the_mapped_copies(tmp_path: Path) -> None:
    _master(tmp_path / "master.parquet")
    before = {path for path in tmp_path.iterdir() if path.suffix != ".parquet"}
    assert sorted(p.suffix for p in before) == [".arrow", ".f16", ".f16", ".i8", ".i8"]
    master = read_master(_master(tmp_path / "master.parquet", rows=9))
    after = {path for path in tmp_path.iterdir() if path.suffix != ".parquet"}
    assert len(after) == 5
    assert not before & after
    assert np.array_equal(master.vectors("base", "image"), _unit(9, seed=1))
    assert len(master.codes["base"]) == 9


def test_a_failed_write_keeps_the_old_master_whole(tmp_path: Path) -> None:
    path = _master(tmp_path / "master.parquet")

    def parts() -> Iterator[pa.Table]:
        columns = {name: ["x"] for name in TEXT_COLUMNS} | {"jpg_offset": [1], "jpg_size": [2]}
        yield master_part(columns, {"base": (_unit(1), _unit(1))})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_master(path, parts(), {"base": BASE})
    assert np.array_equal(read_master(path).vectors("base", "image"), _unit(7, seed=1))
    assert not list(tmp_path.glob(".*"))


def test_only_the_wanted_labels_are_read(tmp_path: Path) -> None:
    master = read_master(_master(tmp_path / "master.parquet"), labels=["tuned"])
    assert "base_image" not in master.table.column_names
    with pytest.raises(DataError, match="tuned"):
        master.vectors("base", "image")


def test_only_the_wanted_kinds_are_read(tmp_path: Path) -> None:
    master = read_master(_master(tmp_path / "master.parquet"), kinds=["image"])
    assert [n for n in master.table.column_names if "_text" in n] == []


def test_parts_become_one_table(tmp_path: Path) -> None:
    columns = {name: ["x"] for name in TEXT_COLUMNS} | {"jpg_offset": [1], "jpg_size": [2]}
    parts = (master_part(columns, {"base": (_unit(1, seed=i), _unit(1))}) for i in range(3))
    assert write_master(tmp_path / "master.parquet", parts, {"base": BASE}) == 3
    found = read_master(tmp_path / "master.parquet").vectors("base", "image")
    assert np.array_equal(found, np.concatenate([_unit(1, seed=i) for i in range(3)]))


def test_missing_label_names_the_ones_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only of base, tuned"):
        read_master(_master(tmp_path / "master.parquet"), labels=["mine"])


def test_missing_master_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_master(tmp_path / "master.parquet")
    assert "furnclip embed" in str(caught.value.hint)


@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing", b"\0" * 100])
def test_a_broken_master_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "master.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match="master"):
        read_master(path)


def test_another_programs_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "master.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(DataError, match="not written by furnclip"):
        read_master(path)


def test_duckdb_reads_the_vectors_as_an_array(tmp_path: Path) -> None:
    path = _master(tmp_path / "master.parquet")
    query = "SELECT title, base_image FROM read_parquet(?) ORDER BY title LIMIT 1"
    title, vector = duckdb.execute(query, [str(path)]).fetchall()[0]
    assert title == "title 0"
    assert np.allclose(np.array(vector, dtype=np.float16), _unit(7, seed=1)[0])


def test_thumbnail_is_read_out_of_the_shard(tmp_path: Path) -> None:
    shard = tmp_path / "test-000000.tar"
    shard.write_bytes(b"abc" + b"".join(b"\xff\xd8 jpeg %d " % i for i in range(7)))
    master = read_master(_master(tmp_path / "master.parquet", shard=shard))
    assert master.thumbnail(4) == b"\xff\xd8 jpeg 4 "


def test_thumbnail_of_a_changed_shard_is_refused(tmp_path: Path) -> None:
    shard = tmp_path / "test-000000.tar"
    shard.write_bytes(b"something else altogether, long enough to be read" * 4)
    master = read_master(_master(tmp_path / "master.parquet", shard=shard))
    with pytest.raises(DataError, match="changed"):
        master.thumbnail(0)


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    first = _master(tmp_path / "a.parquet").read_bytes()
    assert first == _master(tmp_path / "b.parquet").read_bytes()


def test_empty_vector_column_keeps_its_width() -> None:
    column = pa.chunked_array([], type=pa.list_(pa.float16(), 5))
    assert fixed_size_array(column).shape == (0, 5)
    assert fixed_size_array(pa.chunked_array([fixed_size_list(np.zeros((2, 5)))])).shape == (2, 5)


@pytest.mark.parametrize("k", [1, 10, 400])
def test_top_k_equals_brute_force(k: int) -> None:
    gallery = _unit(400, seed=6)
    queries = _unit(9, seed=7).astype(np.float32)
    indices, scores = top_k(queries, gallery, k)
    assert indices.tolist() == _brute_force(queries, gallery, k).tolist()
    exact = np.take_along_axis(queries @ gallery.astype(np.float32).T, indices, axis=1)
    assert np.allclose(scores, exact, atol=1e-6)


def test_top_k_over_many_blocks_equals_brute_force() -> None:
    gallery = _unit(40_000, dim=8, seed=6)
    queries = _unit(12, dim=8, seed=7).astype(np.float32)
    indices, _ = top_k(queries, gallery, 7)
    assert indices.tolist() == _brute_force(queries, gallery, 7).tolist()


def test_allowed_rows_only() -> None:
    gallery = _unit(50)
    allowed = np.zeros(50, dtype=bool)
    allowed[[3, 30, 31]] = True
    indices, scores = top_k(gallery[:2].astype(np.float32), gallery, 10, allowed=allowed)
    assert indices.shape == scores.shape == (2, 3)
    assert set(indices[0].tolist()) == {3, 30, 31}
    assert top_k(gallery[:2], gallery, 10, allowed=np.zeros(50, dtype=bool))[0].shape == (2, 0)


@pytest.mark.parametrize("rows", [0, 50, 5000])
def test_no_queries_find_nothing(rows: int) -> None:
    indices, scores = top_k(np.empty((0, 16), dtype=np.float32), _unit(rows), 3)
    assert indices.shape == scores.shape == (0, min(3, rows))


def test_a_slice_of_a_column_keeps_its_own_rows() -> None:
    vectors = _unit(6)
    column = pa.chunked_array([fixed_size_list(vectors)]).slice(2, 3)
    assert np.array_equal(fixed_size_array(column), vectors[2:5])


def test_writing_and_reading_vectors_imports_no_pandas() -> None:
    code = (
        "import sys, numpy as np, pyarrow as pa;"
        "from furnclip.vectors import fixed_size_array, fixed_size_list;"
        "fixed_size_array(pa.chunked_array([fixed_size_list(np.ones((3, 4)))]));"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_equal_scores_keep_the_gallerys_order() -> None:
    gallery = np.ones((600, 4), dtype=np.float16)
    indices, _ = top_k(np.ones((1, 4), dtype=np.float32), gallery, 5)
    assert indices.tolist() == [[0, 1, 2, 3, 4]]


def test_every_half_is_widened_exactly() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    _, scores = top_k(np.ones((1, 1), dtype=np.float32), halves[:, None], len(halves))
    assert np.array_equal(scores[0], np.sort(halves.astype(np.float32))[::-1])


def test_search_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np; from furnclip.vectors import top_k;"
        "top_k(np.ones((1, 4)), np.ones((9000, 4), dtype=np.float16), 3);"
        "sys.exit('torch' in sys.modules or 'duckdb' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
