"""Remote shards from a real S3 server on loopback."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from moto import server as moto
from safetensors.torch import load_file
from typer.testing import CliRunner

from furnclip.cli import app
from furnclip.encoder import load_model
from furnclip.errors import ConfigError, DataError
from furnclip.progress import SILENT
from furnclip.shards import ShardReader
from furnclip.state import StateStore
from furnclip.state.training import list_runs
from furnclip.training.data import get_wds_pipeline
from furnclip.training.remote import RemoteShards
from tests.tiny import build_tiny_clip
from tests.training.shards import TEXTS, write_catalogue, write_split


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A file system of an S3 server that lives as long as the test."""
    import s3fs

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}"),
        ):
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # one of another test's server
        yield s3fs.S3FileSystem(skip_instance_cache=True)
    finally:
        server.stop()


@pytest.mark.filterwarnings("ignore")  # of botocore and the S3 server
@pytest.mark.parametrize("workers", [0, 1])
def test_shards_are_streamed_from_s3(bucket: Any, workers: int) -> None:
    _, processor = load_model(build_tiny_clip(Path("base")))
    split = write_split(Path("shards/val"), products=12)
    bucket.mkdir(f"catalogue-{workers}")
    for shard in split.glob("*.tar"):
        bucket.put(str(shard), f"catalogue-{workers}/val/{shard.name}")
    batches = get_wds_pipeline(
        f"s3://catalogue-{workers}/val/val-000000.tar",
        processor,
        is_train=False,
        batch_size=5,
        workers=workers,
    )
    assert [len(batch["input_ids"]) for batch in batches] == [5, 5, 2]


def test_workers_are_not_forks_of_a_process_with_threads() -> None:
    _, processor = load_model(build_tiny_clip(Path("base")))
    shard = write_split(Path("shards/val"), products=3) / "val-000000.tar"
    told = Path("worker.txt").resolve()
    url = f"pipe:tr '\\0' ' ' < /proc/$PPID/cmdline > {told}; cat {shard.resolve()}"
    (batch,) = get_wds_pipeline(url, processor, is_train=False, workers=1)
    assert len(batch["input_ids"]) == 3
    assert "multiprocessing.forkserver" in told.read_text()


def test_without_the_extra_the_error_names_it() -> None:
    code = (
        "import sys; sys.modules['fsspec'] = None\n"
        "from furnclip.training.remote import open_remote\n"
        "from furnclip.errors import ConfigError\n"
        "try: open_remote('s3://bucket/val.tar')\n"
        "except ConfigError as error: print(error.message, '|', error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "cannot read s3://bucket/val.tar: fsspec is not installed | pip install 'furnclip[s3]'"
    )


def upload(bucket: Any, folder: Path, place: str) -> None:
    """Put a folder of shards on the server, with the manifest that `furnclip shard` writes."""
    shards = []
    for path in sorted(folder.glob("*/*.tar")):
        name = path.relative_to(folder).as_posix()
        samples = len(ShardReader([path]))
        content = path.read_bytes()
        shards.append(
            {
                "name": name,
                "split": path.parent.name,
                "samples": samples,
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )
        bucket.pipe(f"{place}/{name}", content)
    bucket.pipe(f"{place}/manifest.json", json.dumps({"shards": shards}).encode())


@pytest.mark.filterwarnings("ignore")
def test_train_streams_from_s3_and_measures_on_copies(bucket: Any) -> None:
    base = build_tiny_clip(Path("base"), texts=TEXTS)
    bucket.mkdir("catalogue")
    upload(bucket, write_catalogue(Path("local"), train=50, held_out=12), "catalogue/shards")
    options = "--epochs 2 --effective-batch-size 16 --lr 1e-3 --workers 0 --name far --json"
    arguments = ["train", "--data", "s3://catalogue/shards", "--base", str(base), *options.split()]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    found = json.loads(done.stdout)
    assert found["steps"] == 2 * 4  # 50 pairs in batches of 16
    assert found["metrics"]["split"] == "test"
    assert Path("models/far/config.json").is_file()
    copies = sorted(path.name for path in Path("runs/far/held-out").glob("*/*.tar"))
    assert copies == ["test-000000.tar", "val-000000.tar"]
    (run,) = list_runs(StateStore(Path(".furnclip/state.duckdb")))
    assert run.data == "s3://catalogue/shards"
    # Checkpoints, since the model may be the base again: a sweep decides how much of it is good.
    early, late = (
        load_file(f"runs/far/checkpoints/step-0000000{step}/trained.safetensors") for step in (4, 8)
    )
    assert any(not value.equal(early[name]) for name, value in late.items())


@pytest.mark.filterwarnings("ignore")
def test_copy_that_is_not_what_the_manifest_says_is_refused(bucket: Any) -> None:
    bucket.mkdir("torn")
    folder = write_catalogue(Path("local"), train=8, held_out=8)
    upload(bucket, folder, "torn")
    content = (folder / "val/val-000000.tar").read_bytes()
    bucket.pipe("torn/val/val-000000.tar", content[:-1] + b"x")
    with pytest.raises(DataError, match="is not what its manifest says"):
        RemoteShards.at("s3://torn").copy("val", Path("copies"), progress=SILENT)
    assert not list(Path("copies").rglob("*.tar"))


@pytest.mark.filterwarnings("ignore")
def test_place_without_a_manifest_is_named(bucket: Any) -> None:
    bucket.mkdir("empty")
    with pytest.raises(DataError, match=r"s3://empty/manifest\.json"):
        RemoteShards.at("s3://empty/")


def test_other_schemes_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"cannot train from gs://x/manifest\.json"):
        RemoteShards.at("gs://x")
