"""EmbeddingGenerator as the API document describes it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from furnclip.embeddings.embedder import EmbeddingGenerator
from furnclip.encoder import load_model
from furnclip.errors import ImageError
from furnclip.vectors import read_master


def test_images_and_texts_with_a_model_at_hand(
    models: dict[str, str | Path], tmp_path: Path
) -> None:
    model, processor = load_model(models["base"])
    paths = []
    for index, color in enumerate([(255, 0, 0), (0, 0, 255), (10, 90, 10)]):
        paths.append(tmp_path / f"{index}.png")
        Image.new("RGB", (60, 30), color).save(paths[-1])
    generator = EmbeddingGenerator(batch_size=2)
    images = generator.generate_image_embeddings(
        model=model,
        processor=processor,
        image_paths=paths,
        embedding_save_path=tmp_path / "embeddings.parquet",
    )
    texts = generator.generate_text_embeddings(
        model=model, processor=processor, texts=["red sofa", "blue chair"]
    )
    assert images.shape == (3, 16)
    assert texts.shape == (2, 16)
    assert np.allclose(np.linalg.norm(images, axis=1), 1, atol=1e-6)
    saved = pq.read_table(tmp_path / "embeddings.parquet")
    assert saved.column("path").to_pylist() == [str(path) for path in paths]
    assert np.allclose(np.array(saved.column("embedding").to_pylist()), images, atol=1e-3)
    assert len(pq.read_table(tmp_path / "embeddings.parquet").to_pandas()) == 3


def test_a_missing_image_is_named(models: dict[str, str | Path], tmp_path: Path) -> None:
    model, processor = load_model(models["base"])
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        EmbeddingGenerator().generate_image_embeddings(
            model=model, processor=processor, image_paths=[str(tmp_path / "gone.jpg")]
        )


def test_a_whole_catalogue(models: dict[str, str | Path], shards: Path, tmp_path: Path) -> None:
    result = EmbeddingGenerator().generate_all_embeddings(
        models=models, shards_dir=shards, embeddings_dir=tmp_path / "out"
    )
    assert result.master is not None
    assert len(read_master(result.master)) == 26
