"""Every example of the API document runs with ``src.`` read as ``furnclip.``; paths are adapted."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.cleaning.batch_server import KEY, BatchServer, running
from tests.tiny import build_tiny_clip


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """A project with a tiny base model and 24 products in ``data/raw``."""
    build_tiny_clip(Path("base"))
    monkeypatch.setenv("FURNCLIP_MODEL__NAME", "base")
    images = Path("data/raw/images")
    images.mkdir(parents=True)
    chance = random.Random(0)
    rows = []
    for number in range(24):
        color, kind = ("red", "blue", "green")[number % 3], ("sofa", "chair")[number % 2]
        noise = np.frombuffer(chance.randbytes(40 * 40 * 3), np.uint8).reshape(40, 40, 3)
        picture = Image.blend(Image.new("RGB", (40, 40), color), Image.fromarray(noise), 0.3)
        picture.save(images / f"{number}.jpg")
        rows.append(
            {
                "product_id": str(number),
                "name": f"BRAND {kind}, {color}, NEW!!",
                "local_path": f"images/{number}.jpg",
                "clean_title": f"{color} {kind}",
                "style": "",
                "material": "",
                "color": color,
                "object_type": kind,
            }
        )
    frame = pd.DataFrame(rows)
    frame[["product_id", "name", "local_path"]].to_csv("data/raw/furniture.csv", index=False)
    return frame


def test_config() -> None:
    from furnclip.config import DataPaths, ModelConfig, TrainingConfig

    raw_csv = DataPaths.RAW_CSV_PATH
    image_dir = DataPaths.IMAGE_DIR
    embeddings = DataPaths.EMBEDDINGS_DIR
    DataPaths.ensure_dirs()
    assert embeddings.is_dir()
    assert image_dir.is_dir()
    assert raw_csv.parent == DataPaths.RAW_DIR
    for name in ("PROCESSED_DIR", "CLEANED_CSV_PATH", "EVALUATION_DIR"):
        assert isinstance(getattr(DataPaths, name), Path)
    assert ModelConfig.MODEL_NAME == "openai/clip-vit-base-patch32"
    assert ModelConfig.IMAGE_SIZE == 224
    assert len(ModelConfig.IMAGE_MEAN) == len(ModelConfig.IMAGE_STD) == 3
    assert ModelConfig.MAX_TEXT_LENGTH == 77
    lr = TrainingConfig.INITIAL_LR
    batch_size = TrainingConfig.BATCH_SIZE
    epochs = TrainingConfig.EPOCHS
    assert (lr, batch_size, epochs) == (1e-4, 1024, 10)
    for name in ("VAL_BATCH_SIZE", "EMBEDDING_BATCH_SIZE", "WEIGHT_DECAY", "WARMUP_STEPS"):
        assert getattr(TrainingConfig, name) >= 0
    assert TrainingConfig.DEVICE == "auto"


def test_training_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    from furnclip.training.main import parse_args

    command = "furnclip --scenario vision_lora --lr 3e-4 --epochs 2"
    monkeypatch.setattr("sys.argv", command.split())
    args = parse_args()
    assert (args.scenario, args.lr, args.epochs) == ("vision_lora", 3e-4, 2)


def test_training_main(project: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    from furnclip.config import PrepConfig
    from furnclip.preparing.sharding import write_dataset
    from furnclip.training.main import main

    for split in ("train", "val", "test"):
        write_dataset(
            df=project,
            output_folder=f"data/shards/{split}",
            image_root_dir="data/raw",
            config=PrepConfig,
        )
    command = "furnclip --epochs 1 --workers 0 --effective-batch-size 12"
    monkeypatch.setattr("sys.argv", command.split())
    main()
    assert list(Path("models").glob("*/config.json"))


def test_cleaned_product() -> None:
    from furnclip.cleaning.cleaner import CleanedProduct

    product = CleanedProduct(
        clean_title="Modern Sofa",
        style="Contemporary",
        material="Leather",
        color="Black",
        object_type="Sofa",
    )
    assert product.clean_title == "Modern Sofa"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    """A Batch API server on loopback that the settings point to."""
    with running(BatchServer()) as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("FURNCLIP_CLEANING__BASE_URL", server.url)
        monkeypatch.setenv("FURNCLIP_CLEANING__POLL_SECONDS", "0.01")
        yield server


def test_complete_data_cleaning(project: pd.DataFrame, api: BatchServer) -> None:
    from furnclip.cleaning.cleaner import (
        check_status,
        finalize_results,
        prepare_batch_jsonl,
        upload_batch,
        wait_for_completion,
    )

    count = prepare_batch_jsonl(
        csv_path=Path("data/raw/furniture.csv"),
        image_dir=Path("data/raw/images"),
        output_dir=Path("batch_input"),
        incremental=True,
    )
    assert count == 24
    (part,) = sorted(Path("batch_input").rglob("*.jsonl"))
    batch_id = upload_batch(part)
    assert check_status(batch_id)["status"] in {"validating", "in_progress", "completed"}
    assert wait_for_completion(batch_id, max_wait_hours=24)
    status = check_status(batch_id)
    assert status["status"] == "completed"
    df = finalize_results(
        Path("batch_output_001.jsonl"),
        Path("data/raw/furniture.csv"),
        Path("data/processed/cleaned.csv"),
    )
    assert len(df) == 24
    assert list(df["color"][:3]) == ["Red", "Blue", "Green"]
    assert Path("data/processed/cleaned.csv").is_file()


def test_error_handling() -> None:
    from furnclip.cleaning.cleaner import prepare_batch_jsonl

    with pytest.raises(FileNotFoundError, match=r"furniture\.csv"):
        prepare_batch_jsonl(
            Path("data/raw/furniture.csv"), Path("data/raw/images"), Path("batch_input")
        )


def test_batch_api_client(project: pd.DataFrame, api: BatchServer) -> None:
    from furnclip.cleaning.api_client import BatchAPIClient
    from furnclip.cleaning.cleaner import prepare_batch_jsonl

    prepare_batch_jsonl(
        Path("data/raw/furniture.csv"), Path("data/raw/images"), Path("batch_input")
    )
    client = BatchAPIClient()
    file_id = client.upload_file(next(Path("batch_input").rglob("*.jsonl")))
    batch_id = client.create_batch(file_id)
    while (status := client.get_batch_status(batch_id))["status"] != "completed":
        assert status["status"] in {"validating", "in_progress", "finalizing"}
    results = client.download_results(status["output_file_id"])
    assert len(results.splitlines()) == 24


def test_sharding_and_custom_training_loop(project: pd.DataFrame) -> None:
    import torch

    from furnclip.config import PrepConfig
    from furnclip.preparing.sharding import create_mini_train, write_dataset
    from furnclip.training.data import get_wds_pipeline
    from furnclip.training.model import get_model

    train_df = project
    write_dataset(
        df=train_df,
        output_folder="data/shards/train",
        image_root_dir="data/raw",
        config=PrepConfig,
    )
    create_mini_train(
        train_folder="data/shards/train", mini_folder="data/shards/mini_train", num_shards=5
    )
    assert list(Path("data/shards/mini_train").glob("*.tar"))
    assert json.loads(Path("data/shards/train/sizes.json").read_text())

    model, processor = get_model("dual_lora", lora_r=16)
    model.to("cpu")
    dataset = get_wds_pipeline("data/shards/train", processor, is_train=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    losses = []
    for _epoch in range(2):
        for batch in dataset:
            outputs = model(**batch, return_loss=True)
            loss = outputs.loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    assert len(losses) >= 2
    assert all(np.isfinite(losses))


def test_embedding_generator(project: pd.DataFrame) -> None:
    import pyarrow.parquet as pq

    from furnclip.embeddings.embedder import EmbeddingGenerator
    from furnclip.encoder import load_model

    model, processor = load_model("base")
    image_list = [Path("data/raw") / value for value in project["local_path"]]
    text_list = list(project["clean_title"])
    generator = EmbeddingGenerator()
    image_embeddings = generator.generate_image_embeddings(
        model=model,
        processor=processor,
        image_paths=image_list,
        embedding_save_path="embeddings.parquet",
    )
    text_embeddings = generator.generate_text_embeddings(
        model=model, processor=processor, texts=text_list
    )
    assert image_embeddings.shape == text_embeddings.shape == (24, 16)
    np.testing.assert_allclose(np.linalg.norm(image_embeddings, axis=1), 1, atol=1e-5)
    assert pq.read_table("embeddings.parquet").num_rows == 24
    assert callable(generator.generate_all_embeddings)


def test_arena_grader(capsys: pytest.CaptureFixture[str]) -> None:
    from furnclip.arena.grading import ArenaGrader

    grader = ArenaGrader()
    grader.save_vote(
        query_image="sofa_001.jpg",
        baseline_method="Base CLIP",
        challenger_method="Fine-Tuned CLIP",
        user_choice="B",
        baseline_is_row_a=True,
    )
    stats = grader.compute_statistics()
    assert stats
    grader.print_statistics()
    assert "Fine-Tuned CLIP" in capsys.readouterr().out
