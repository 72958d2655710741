"""Two tiny models and a small catalogue, made once."""

from pathlib import Path

import pytest

from tests.embeddings.shop import COLORS, TYPES, write_shop
from tests.tiny import build_tiny_clip


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | Path]:
    folder = tmp_path_factory.mktemp("models")
    texts = [f"{color} {kind}" for color in COLORS for kind in TYPES]
    return {
        label: build_tiny_clip(folder / label, seed=seed, texts=texts)
        for seed, label in enumerate(("base", "tuned"))
    }


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_shop(tmp_path / "shards")
