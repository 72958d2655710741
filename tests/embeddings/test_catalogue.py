"""Embedding a catalogue: right vectors, resumable, never mixed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from furnclip.embeddings.catalogue import embed_catalogue
from furnclip.encoder import Encoder
from furnclip.errors import DataError, Interrupted, UsageError
from furnclip.files import sole_writer
from furnclip.progress import Task
from furnclip.shards import ShardReader
from furnclip.vectors import read_master
from tests.embeddings.shop import product, write_shard

Models = dict[str, str | Path]


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _times(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*/*.parquet")}


def test_master_holds_every_product_with_the_models_own_vectors(
    models: Models, shards: Path, tmp_path: Path
) -> None:
    result = embed_catalogue(models, shards_dir=shards, out=tmp_path / "out", batch_size=4)
    assert (result.rows, result.files, result.skipped, result.dim) == (26, 8, 0, 16)
    assert result.master is not None
    master = read_master(result.master)
    assert list(master.models) == ["base", "tuned"]
    assert master.column("product_id") == [f"p{i}" for i in range(26)]
    assert master.column("split") == ["train"] * 13 + ["val"] * 4 + ["test"] * 9
    reader = ShardReader(sorted((shards / "test").glob("*.tar")))
    for label, spec in models.items():
        encoder = Encoder.load(spec, device="cpu", precision="fp32")
        images = encoder.images([reader.jpg(i) for i in range(9)])
        texts = encoder.texts([reader.text(i) for i in range(9)])
        assert np.allclose(master.vectors(label, "image")[17:], images, atol=2e-3)
        assert np.allclose(master.vectors(label, "text")[17:], texts, atol=2e-3)
    assert master.thumbnail(20) == reader.jpg(3)
    assert master.row(20)["color"] == product(20)["color"]


def test_a_second_run_does_nothing_and_loads_no_model(
    models: Models, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_catalogue(models, shards_dir=shards, out=tmp_path / "out")
    before = _contents(tmp_path / "out")
    times = _times(tmp_path / "out")
    monkeypatch.delattr("furnclip.encoder.Encoder.load")
    result = embed_catalogue(models, shards_dir=shards, out=tmp_path / "out")
    assert (result.rows, result.files, result.skipped) == (26, 0, 8)
    assert _contents(tmp_path / "out") == before
    assert _times(tmp_path / "out") == times


def test_only_a_changed_shard_is_embedded_again(
    models: Models, shards: Path, tmp_path: Path
) -> None:
    embed_catalogue(models, shards_dir=shards, out=tmp_path / "out")
    write_shard(shards / "val" / "val-000000.tar", [product(i) for i in (90, 91)])
    result = embed_catalogue(models, shards_dir=shards, out=tmp_path / "out")
    assert (result.rows, result.files, result.skipped) == (24, 2, 6)
    embed_catalogue(models, shards_dir=shards, out=tmp_path / "fresh")
    assert _contents(tmp_path / "fresh") == _contents(tmp_path / "out")


def test_another_model_is_embedded_beside_the_first(
    models: Models, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    embed_catalogue({"base": models["base"]}, shards_dir=shards, out=out)
    result = embed_catalogue(models, shards_dir=shards, out=out)
    assert (result.files, result.skipped) == (4, 4)


def test_another_precision_is_refused_not_mixed(
    models: Models, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    embed_catalogue(models, shards_dir=shards, out=out, precision="fp32")
    with pytest.raises(DataError, match="not mixed") as caught:
        embed_catalogue(models, shards_dir=shards, out=out, precision="bf16")
    assert "--precision fp32" in str(caught.value.hint)


def test_auto_precision_goes_on_with_what_is_there(
    models: Models, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    embed_catalogue(models, shards_dir=shards, out=out, precision="bf16")
    write_shard(shards / "val" / "val-000000.tar", [product(90)])
    result = embed_catalogue(models, shards_dir=shards, out=out)
    assert {info.dtype for info in result.models.values()} == {"bf16"}


def test_workers_share_the_shards_and_collect_merges_them(
    models: Models, shards: Path, tmp_path: Path
) -> None:
    embed_catalogue(models, shards_dir=shards, out=tmp_path / "one")
    out = tmp_path / "many"
    first = embed_catalogue(models, shards_dir=shards, out=out, worker=(0, 3))
    assert (first.files, first.master) == (4, None)
    with pytest.raises(DataError, match="no vectors of"):
        embed_catalogue(models, shards_dir=shards, out=out, only_collect=True)
    for index in (1, 2):
        embed_catalogue(models, shards_dir=shards, out=out, worker=(index, 3))
    result = embed_catalogue(models, shards_dir=shards, out=out, only_collect=True)
    assert result.rows == 26
    assert _contents(out) == _contents(tmp_path / "one")


def test_a_worker_that_does_not_exist_is_a_usage_error(
    models: Models, shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no worker 3 of 3"):
        embed_catalogue(models, shards_dir=shards, out=tmp_path / "out", worker=(3, 3))


class _StopAfter:
    """A progress that presses Ctrl-C after some images."""

    def __init__(self, images: int) -> None:
        self.left = images

    @contextmanager
    def task(
        self, description: str, *, total: int | None = None, unit: str = "rows"
    ) -> Iterator[Task]:
        yield self

    def advance(self, amount: float = 1) -> None:
        self.left -= int(amount)
        if self.left < 0:
            raise KeyboardInterrupt

    def total(self, total: int) -> None: ...

    def note(self, text: str) -> None: ...

    def point(self, curve: str, value: float) -> None: ...


def test_ctrl_c_keeps_finished_shards_and_says_how_to_go_on(
    models: Models, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(Interrupted, match="1 of 4 shards") as caught:
        embed_catalogue(models, shards_dir=shards, out=out, progress=_StopAfter(8))
    assert "embed" in str(caught.value.hint)
    result = embed_catalogue(models, shards_dir=shards, out=out)
    assert (result.files, result.skipped) == (6, 2)
    embed_catalogue(models, shards_dir=shards, out=tmp_path / "calm")
    assert _contents(out) == _contents(tmp_path / "calm")


def test_two_runs_at_once_do_not_write_over_each_other(
    models: Models, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with sole_writer(out), pytest.raises(DataError, match="another furnclip is writing"):
        embed_catalogue(models, shards_dir=shards, out=out)
    assert embed_catalogue(models, shards_dir=shards, out=out).rows == 26


def test_a_folder_that_cannot_be_made_is_a_data_error(
    models: Models, shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write"):
        embed_catalogue(models, shards_dir=shards, out=tmp_path / "file" / "out")


def test_kill_9_leaves_nothing_that_a_rerun_does_not_mend(
    models: Models, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code = (
        "from pathlib import Path; from furnclip.embeddings.catalogue import embed_catalogue;"
        f"embed_catalogue({ {k: str(v) for k, v in models.items()}!r},"
        f"shards_dir=Path({str(shards)!r}), out=Path({str(out)!r}), batch_size=1)"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not list(out.rglob("*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert list(out.rglob("*.parquet"))
    (out / ".master.parquet.1-abc.tmp").write_bytes(b"half")
    for path in list(out.rglob("*.parquet"))[:1]:
        path.with_name(f".{path.name}.1-abc.tmp").write_bytes(b"half")
        path.unlink()
    embed_catalogue(models, shards_dir=shards, out=out)
    embed_catalogue(models, shards_dir=shards, out=tmp_path / "calm")
    assert _contents(out) == _contents(tmp_path / "calm")


def test_a_damaged_vector_file_is_written_again(
    models: Models, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    embed_catalogue(models, shards_dir=shards, out=out)
    before = _contents(out)
    victim = next(out.rglob("val-*.parquet"))
    victim.write_bytes(victim.read_bytes()[:100])
    assert embed_catalogue(models, shards_dir=shards, out=out).files == 1
    assert _contents(out) == before


def test_images_are_decoded_once_for_both_models(
    models: Models, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    original = ShardReader.jpg

    def counted(self: ShardReader, index: int) -> bytes:
        reads.append(index)
        return original(self, index)

    monkeypatch.setattr(ShardReader, "jpg", counted)
    embed_catalogue(models, shards_dir=shards, out=tmp_path / "out")
    assert len(reads) == 26


def test_mini_train_is_not_embedded_twice(models: Models, shards: Path, tmp_path: Path) -> None:
    (shards / "mini_train").mkdir()
    write_shard(shards / "mini_train" / "mini_train-000000.tar", [product(0)])
    assert embed_catalogue(models, shards_dir=shards, out=tmp_path / "out").rows == 26


def test_a_folder_of_bare_tars_is_one_split(models: Models, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    write_shard(tmp_path / "tars" / "00000.tar", [product(0), product(1)])
    result = embed_catalogue(models, shards_dir=tmp_path / "tars", out=tmp_path / "out")
    assert result.master is not None
    assert read_master(result.master).column("split") == ["all", "all"]


def test_no_shards_names_the_command_that_makes_them(models: Models, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        embed_catalogue(models, shards_dir=tmp_path / "none", out=tmp_path / "out")
    assert "furnclip shard" in str(caught.value.hint)


def test_the_files_are_small(models: Models, shards: Path, tmp_path: Path) -> None:
    embed_catalogue(models, shards_dir=shards, out=tmp_path / "out")
    path = next((tmp_path / "out").rglob("train-000000.parquet"))
    assert (
        str(pq.read_schema(path).field("image").type)
        == "fixed_size_list<element: halffloat not null>[16]"
    )


def test_products_can_be_moved_with_their_shards(
    models: Models, tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    shards.rename(project / "shards")
    embed_catalogue(models, shards_dir=project / "shards", out=project / "out")
    project.rename(tmp_path / "moved")
    monkeypatch.chdir("/")
    master = read_master(tmp_path / "moved" / "out" / "master.parquet")
    assert master.thumbnail(0).startswith(b"\xff\xd8")
