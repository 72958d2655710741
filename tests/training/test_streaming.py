"""Remote shards from a real S3 server on loopback."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from moto import server as moto

from furnclip.encoder import load_model
from furnclip.training.data import get_wds_pipeline
from tests.tiny import build_tiny_clip
from tests.training.shards import write_split


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


def test_without_the_extra_the_error_names_it() -> None:
    code = (
        "import sys; sys.modules['fsspec'] = None\n"
        "from furnclip.training.streaming import _read_s3\n"
        "from furnclip.errors import ConfigError\n"
        "try: _read_s3('s3://bucket/val.tar')\n"
        "except ConfigError as error: print(error.message, '|', error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "cannot read s3://bucket/val.tar: fsspec is not installed | pip install 'furnclip[s3]'"
    )
