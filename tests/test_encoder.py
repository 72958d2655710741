"""The encoder against transformers itself, and the identity of models."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from furnclip.encoder import Encoder, image_tensor, load_model, model_sha, pick_device
from furnclip.errors import DataError, UsageError
from tests.tiny import TEXTS, build_tiny_clip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_clip(tmp_path_factory.mktemp("models") / "tiny")


def _images(count: int, size: tuple[int, int] = (32, 32), seed: int = 0) -> list[Image.Image]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, size[1], size[0], 3))
    return [Image.fromarray(p.astype(np.uint8)) for p in pixels]


def test_preprocessing_equals_the_processor(tiny: Path) -> None:
    _, processor = load_model(tiny)
    images = _images(5)
    theirs = processor(images=images, return_tensors="pt")["pixel_values"]
    settings = processor.image_processor
    ours = image_tensor(images, size=32, mean=settings.image_mean, std=settings.image_std)
    assert float((ours - theirs).abs().max()) <= 1e-6


def test_images_that_are_not_square_are_letterboxed_not_cropped(tiny: Path) -> None:
    wide = Image.new("RGB", (64, 32), (255, 255, 255))
    wide.paste((255, 0, 0), (0, 0, 8, 32))  # what a centre crop would lose
    pixels = image_tensor([wide], size=32, mean=(0, 0, 0), std=(1, 1, 1))
    assert pixels.shape == (1, 3, 32, 32)
    assert float(pixels[0, 1].min()) < 0.2


def test_vectors_equal_transformers_and_have_unit_length(tiny: Path) -> None:
    import torch

    encoder = Encoder.load(tiny, device="cpu", precision="fp32")
    model: Any
    model, processor = load_model(tiny)
    images = _images(5)
    inputs = processor(text=list(TEXTS), images=images, return_tensors="pt", padding=True)
    with torch.no_grad():
        output = model.eval()(**inputs)
    assert np.allclose(encoder.images(images, batch_size=2), output.image_embeds, atol=2e-6)
    assert np.allclose(encoder.texts(TEXTS, batch_size=3), output.text_embeds, atol=2e-6)
    lengths = np.linalg.norm(encoder.texts(TEXTS), axis=1)
    assert np.allclose(lengths, 1, atol=1e-6)
    assert (encoder.dim, encoder.image_size, encoder.device) == (16, 32, "cpu")


def test_texts_keep_their_order_and_long_ones_are_cut(tiny: Path) -> None:
    encoder = Encoder.load(tiny, device="cpu", precision="fp32")
    texts = ["a red sofa " * 40, "a", "a green table", ""]
    together = encoder.texts(texts, batch_size=2)
    alone = np.concatenate([encoder.texts([text]) for text in texts])
    assert np.allclose(together, alone, atol=2e-6)


def test_encoded_bytes_give_the_same_vector_as_the_image(tiny: Path) -> None:
    encoder = Encoder.load(tiny, device="cpu", precision="fp32")
    image = _images(1)[0]
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    assert np.array_equal(encoder.images([buffer.getvalue()]), encoder.images([image]))


def test_nothing_in_gives_nothing_out(tiny: Path) -> None:
    encoder = Encoder.load(tiny, device="cpu", precision="fp32")
    assert encoder.images([]).shape == encoder.texts([]).shape == (0, 16)


def test_half_precision_points_the_same_way(tiny: Path) -> None:
    full = Encoder.load(tiny, device="cpu", precision="fp32").images(_images(8))
    half = Encoder.load(tiny, device="cpu", precision="bf16").images(_images(8))
    assert half.dtype == np.float32
    assert float((full * half).sum(axis=1).min()) > 0.999
    assert not np.array_equal(full, half)


def test_a_borrowed_model_is_left_as_it_was(tiny: Path) -> None:
    model, processor = load_model(tiny)
    model.train()
    frozen = model.text_model.eval()
    encoder = Encoder.from_modules(model, processor, precision="fp32")
    first = encoder.texts(TEXTS)
    assert np.array_equal(first, encoder.texts(TEXTS))  # no dropout while embedding
    assert model.training
    assert model.vision_model.training
    assert not frozen.training
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_adapter_folder_loads_base_and_adapter(tiny: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import save_file

    model, _ = load_model(tiny)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.5)
    adapted.save_pretrained(tmp_path)
    save_file({"logit_scale": torch.tensor(1.25)}, tmp_path / "logit_scale.safetensors")
    live = Encoder.from_modules(adapted.base_model.model, load_model(tiny)[1], precision="fp32")
    loaded = Encoder.load(tmp_path, device="cpu", precision="fp32")
    assert np.allclose(loaded.texts(TEXTS), live.texts(TEXTS), atol=1e-6)
    assert float(loaded.model.logit_scale) == 1.25
    beside = Encoder.load(tiny, adapter=tmp_path, device="cpu", precision="fp32")
    assert beside.sha == loaded.sha != model_sha(tiny)


def test_identity_follows_content_not_the_folders_name(tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny, copy)
    assert model_sha(copy) == model_sha(tiny)
    model, processor = load_model(tiny)
    again = tmp_path / "again"
    model.save_pretrained(again)
    processor.save_pretrained(again)
    assert model_sha(again) == model_sha(tiny)
    assert len(model_sha(tiny)) == 16


@pytest.mark.parametrize("what", ["weights", "mean", "tokenizer", "activation"])
def test_identity_sees_every_change(tiny: Path, tmp_path: Path, what: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    before = model_sha(copy)
    if what == "weights":
        content = bytearray((copy / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (copy / "model.safetensors").write_bytes(content)
    elif what == "tokenizer":
        path = copy / "tokenizer.json"
        path.write_text(path.read_text("utf-8").replace("sofa", "safo"), "utf-8")
    else:
        name = "processor_config.json" if what == "mean" else "config.json"
        old, new = ("0.4814", "0.4815") if what == "mean" else ("quick_gelu", "gelu")
        path = copy / name
        assert old in path.read_text("utf-8")
        path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    assert model_sha(copy) != before


def test_large_weights_are_hashed_again_only_when_they_changed(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("furnclip.model_files._LARGE", 1000)
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    weights = copy / "model.safetensors"
    assert model_sha(copy) == model_sha(tiny)
    os.utime(weights, ns=(1, 1))  # a touched file is hashed, and found equal
    assert model_sha(copy) == model_sha(tiny)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(1, 1))  # a changed file that keeps size and time is taken as noted
    assert model_sha(copy) == model_sha(tiny)
    os.utime(weights)
    assert model_sha(copy) != model_sha(tiny)


def test_identity_imports_no_torch(tiny: Path) -> None:
    code = (
        f"import sys; from furnclip.encoder import model_sha; model_sha({str(tiny)!r});"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_wrong_path_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no model folder at"):
        load_model(tmp_path / "nothing" / "here")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_names_the_missing_file(tiny: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    (copy / name).unlink()
    with pytest.raises(DataError, match=name):
        load_model(copy)


def test_another_kind_of_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    config = json.loads((copy / "config.json").read_text("utf-8"))
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "bert"}), "utf-8")
    with pytest.raises(DataError, match="bert"):
        load_model(copy)


def test_broken_weights_are_a_data_error(tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    (copy / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="cannot load"):
        load_model(copy)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"{}", b"[]", b'{"a": 1}'])
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "processor_config.json"]
)
def test_a_damaged_file_is_a_data_error(
    tiny: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    (copy / name).write_bytes(content)
    with pytest.raises(DataError):
        Encoder.load(copy, device="cpu")


def test_missing_weights_are_not_drawn_at_random(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    weights = load_file(tiny / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"lack text_projection\.weight"):
        load_model(copy)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:99", "cpu:1"])
def test_an_impossible_device_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="device"):
        pick_device(name)
