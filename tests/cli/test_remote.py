"""Catalogue, shards and vectors in a bucket of a real S3 server on loopback."""

import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from moto import server as moto
from typer.testing import CliRunner

from furnclip.cli import app
from furnclip.errors import DataError
from furnclip.preparing.verify import verify_shards
from furnclip.remote import address, bring
from furnclip.vectors import read_master
from tests.preparing.catalogues import Project, write_csv
from tests.tiny import build_tiny_clip

pytestmark = pytest.mark.filterwarnings("ignore")  # of botocore and the S3 server


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The file system of an empty server with a bucket called shop."""
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
        reset = urllib.request.Request(f"http://127.0.0.1:{port}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset).close()
        s3fs.S3FileSystem.clear_instance_cache()
        found = s3fs.S3FileSystem(use_listings_cache=False)
        found.mkdir("shop")
        yield found
    finally:
        server.stop()


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def names(bucket: Any, folder: str) -> set[str]:
    return {path.removeprefix(f"shop/{folder}/") for path in bucket.find(f"shop/{folder}")}


def tags(bucket: Any) -> dict[str, str]:
    return {path: info["ETag"] for path, info in bucket.find("shop", detail=True).items()}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_catalogue_in_a_bucket_is_sharded_embedded_and_kept_there(
    bucket: Any, tmp_path: Path
) -> None:
    project = Project(tmp_path / "source", 30)
    write_csv(project.csv, project.rows)
    bucket.put(str(project.csv), "shop/products.csv")
    bucket.put(str(project.folder / "images"), "shop/photos/images", recursive=True)
    shard = ("shard", "s3://shop/products.csv", "--images", "s3://shop/photos")
    run(*shard, "--out", "s3://shop/shards")
    run("shard", "verify", "--out", "s3://shop/shards")
    assert {"manifest.json", "train/train-000000.tar", "train/sizes.json"} <= names(
        bucket, "shards"
    )
    assert not [name for name in names(bucket, "shards") if name.startswith(".")]
    bucket.get("shop/shards", str(tmp_path / "fetched"), recursive=True)
    assert verify_shards(tmp_path / "fetched", csv_path=project.csv).problems == []

    before = tags(bucket)
    assert "nothing changed" in run(*shard, "--out", "s3://shop/shards")
    assert tags(bucket) == before

    models = [str(build_tiny_clip(tmp_path / label)) for label in ("base", "tuned")]
    where = ("--shards", "s3://shop/shards", "--out", "s3://shop/vectors")
    embed = ("embed", *where, "--base", models[0], "--model", models[1])
    run(*embed)
    shutil.rmtree(tmp_path / ".furnclip")  # as on another machine
    assert "nothing to embed" in run(*embed)
    bucket.get("shop/vectors", str(tmp_path / "vectors"), recursive=True)
    assert len(read_master(tmp_path / "vectors" / "master.parquet")) == 30


def test_what_changed_in_the_bucket_is_fetched_and_what_is_gone_is_dropped(
    bucket: Any, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        bucket.pipe(f"shop/f/{name}", name.encode())
    local = bring(Path("s3://shop/f"), tmp_path)
    time = (local / "a").stat().st_mtime_ns
    bucket.pipe("shop/f/b", b"changed")
    bucket.rm("shop/f/c")
    (local / "mine").write_text("not from there")
    assert bring(Path("s3://shop/f"), tmp_path) == local
    assert (local / "b").read_bytes() == b"changed"
    assert sorted(path.name for path in local.iterdir()) == ["a", "b", "mine"]
    assert (local / "a").stat().st_mtime_ns == time


def test_a_bucket_that_is_not_there_is_one_message(bucket: Any, tmp_path: Path) -> None:
    del bucket
    with pytest.raises(DataError, match="s3://nobody/x"):
        bring(Path("s3://nobody/x"), tmp_path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://b/x", "s3://b/x"), ("s3:/b/x", "s3://b/x"), ("/project/s3:/b/x", "s3://b/x"),
        ("data/shards", None), ("/s3/b", None), ("gs://b", "gs://b"),
    ],
)  # fmt: skip
def test_addresses_are_told_from_paths(path: str, expected: str | None) -> None:
    assert address(Path(path)) == expected
