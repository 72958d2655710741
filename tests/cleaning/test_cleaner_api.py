"""The documented Python API, against a real server on loopback."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from furnclip.cleaning.api_client import BatchAPIClient
from furnclip.cleaning.cleaner import (
    CleanedProduct,
    check_status,
    finalize_results,
    prepare_batch_jsonl,
    upload_batch,
    wait_for_completion,
)
from furnclip.errors import ConfigError, DataError
from tests.cleaning.batch_server import KEY, BatchServer


@pytest.fixture
def _environment(server: BatchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)


@pytest.mark.usefixtures("_environment")
def test_documented_workflow(server: BatchServer, catalogue: Path, tmp_path: Path) -> None:
    count = prepare_batch_jsonl(
        csv_path=catalogue,
        image_dir=catalogue.parent,
        output_dir=Path("batch_input"),
        incremental=True,
    )
    assert count == 6
    batch_id = upload_batch(Path("batch_input/batch_input_001.jsonl"))
    assert upload_batch(Path("batch_input/batch_input_001.jsonl")) == batch_id
    assert check_status(batch_id)["status"] == "completed"
    assert wait_for_completion(batch_id, max_wait_hours=24)
    df = finalize_results(Path("batch_output_001.jsonl"), catalogue, Path("out/cleaned.csv"))
    assert list(df["clean_status"]) == ["ok"] * 6
    assert list(df["product_id"]) == [f"P{n}" for n in range(1, 7)]
    assert len(server.batches) == 1
    assert prepare_batch_jsonl(catalogue, catalogue.parent, Path("batch_input")) == 0


@pytest.mark.usefixtures("_environment")
def test_output_file_made_elsewhere_is_merged(server: BatchServer, catalogue: Path) -> None:
    prepare_batch_jsonl(catalogue, catalogue.parent, Path("batch_input"))
    client = BatchAPIClient()
    batch_id = client.create_batch(client.upload_file(Path("batch_input/batch_input_001.jsonl")))
    output = client.get_batch_status(batch_id)["output_file_id"]
    Path("batch_output_001.jsonl").write_bytes(client.download_results(output))
    df = finalize_results(Path("batch_output_001.jsonl"), catalogue, Path("cleaned.csv"))
    assert list(df["clean_status"]) == ["ok"] * 6
    assert df["note"][0] == "note, 1"


def test_documented_product() -> None:
    product = CleanedProduct(
        clean_title="Modern Sofa",
        style="Contemporary",
        material="Leather",
        color="Black",
        object_type="Sofa",
    )
    assert product.style == "Contemporary"
    assert CleanedProduct(clean_title=" Sofa ", color="unknown").color is None


def test_missing_csv_is_file_not_found() -> None:
    with pytest.raises(FileNotFoundError, match="no such CSV"):
        prepare_batch_jsonl(Path("no.csv"), Path(), Path("out"))


def test_csv_that_was_not_prepared_is_named(catalogue: Path) -> None:
    with pytest.raises(DataError, match="was not prepared"):
        finalize_results(Path("none.jsonl"), catalogue, Path("cleaned.csv"))


def test_client_without_key_names_the_variable() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        BatchAPIClient()


def test_client_is_shared_by_threads(server: BatchServer, catalogue: Path) -> None:
    client = BatchAPIClient(KEY, server.url)
    source = catalogue.parent / "in.jsonl"
    source.write_bytes(b"")
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: client.upload_file(source), range(24)))
    assert len(set(ids)) == 24
