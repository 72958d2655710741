"""CLIP in numpy against transformers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from furnclip.encoder import Encoder
from furnclip.model_files import ModelFiles, locate
from furnclip.query_encoder import QueryEncoder
from tests.tiny import TEXTS, build_tiny_clip

QUERIES = [*TEXTS, "", "a red sofa " * 30, "Ünïcode 90 x 60 cm, 2-seat & more", "  A   RED Sofa "]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_clip(tmp_path_factory.mktemp("models") / "tiny", layers=3)


def _edit(folder: Path, change: dict[str, Any]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    for tower in ("text_config", "vision_config"):
        config[tower] |= change
    path.write_text(json.dumps(config), "utf-8")


def _opened(folder: Path) -> QueryEncoder:
    encoder = QueryEncoder.open(locate(folder))
    assert encoder is not None
    return encoder


def _images() -> list[Image.Image]:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3))
    return [Image.fromarray(p.astype(np.uint8)) for p in pixels]


def test_texts_equal_transformers(tiny: Path) -> None:
    theirs = Encoder.load(tiny, device="cpu", precision="fp32").texts(QUERIES)
    assert np.abs(_opened(tiny).texts(QUERIES) - theirs).max() < 1e-5


def test_images_equal_transformers(tiny: Path) -> None:
    theirs = Encoder.load(tiny, device="cpu", precision="fp32").images(_images())
    assert np.abs(_opened(tiny).images(_images()) - theirs).max() < 1e-5


def test_the_other_activation_equals_transformers(tmp_path: Path) -> None:
    folder = build_tiny_clip(tmp_path / "gelu", seed=3)
    quick = _opened(folder).texts(QUERIES)
    _edit(folder, {"hidden_act": "gelu"})
    theirs = Encoder.load(folder, device="cpu", precision="fp32")
    ours = _opened(folder)
    assert np.abs(ours.texts(QUERIES) - theirs.texts(QUERIES)).max() < 1e-5
    assert np.abs(ours.images(_images()) - theirs.images(_images())).max() < 1e-5
    assert np.abs(ours.texts(QUERIES) - quick).max() > 1e-5


def test_the_end_token_of_early_configs_equals_transformers(tmp_path: Path) -> None:
    folder = build_tiny_clip(tmp_path / "early", seed=4)
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["text_config"]["eos_token_id"] = 2
    path.write_text(json.dumps(config), "utf-8")
    theirs = Encoder.load(folder, device="cpu", precision="fp32").texts(["a sofa"])
    assert np.abs(_opened(folder).texts(["a sofa"]) - theirs).max() < 1e-5


def test_weights_in_several_files_are_read(tiny: Path, tmp_path: Path) -> None:
    from furnclip.encoder import load_model

    model, processor = load_model(tiny)
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    processor.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert np.array_equal(_opened(tmp_path).texts(QUERIES), _opened(tiny).texts(QUERIES))


@pytest.mark.parametrize("what", ["adapter", "half", "tokenizer", "activation", "legacy"])
def test_what_numpy_cannot_run_is_left_to_transformers(tmp_path: Path, what: str) -> None:
    from furnclip.encoder import load_model

    folder = build_tiny_clip(tmp_path / "model")
    files = ModelFiles(folder, tmp_path if what == "adapter" else None)
    if what == "half":
        model: Any = load_model(folder)[0]
        model.half().save_pretrained(folder)
    elif what == "tokenizer":
        (folder / "tokenizer.json").unlink()
    elif what == "activation":
        _edit(folder, {"hidden_act": "relu"})
    elif what == "legacy":
        path = folder / "config.json"
        config = json.loads(path.read_text("utf-8")) | {"text_config_dict": {"hidden_size": 9}}
        path.write_text(json.dumps(config), "utf-8")
    assert QueryEncoder.open(files) is None


def test_it_imports_neither_torch_nor_transformers(tiny: Path) -> None:
    code = (
        "import sys; from furnclip.model_files import locate\n"
        "from furnclip.query_encoder import QueryEncoder\n"
        f"QueryEncoder.open(locate({str(tiny)!r})).texts(['a red sofa'])\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
