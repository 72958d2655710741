from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from furnclip.demo.tiny_clip import IMAGE_SIZE, build_clip
from furnclip.encoder import Encoder

TEXTS = ["a green velvet armchair", "Rustic Pine Wardrobe", "a walnut desk"]


def test_folder_loads_with_transformers_alone(tmp_path: Path) -> None:
    import transformers
    from transformers import CLIPModel, CLIPProcessor

    build_clip(tmp_path / "clip", TEXTS, seed=0)
    model = CLIPModel.from_pretrained(tmp_path / "clip")
    library: Any = transformers
    tokenizer = library.CLIPTokenizerFast.from_pretrained(tmp_path / "clip")
    processor = CLIPProcessor.from_pretrained(tmp_path / "clip")

    config: Any = model.config
    assert config.vision_config.image_size == IMAGE_SIZE
    ids = tokenizer("Green velvet ARMCHAIR")["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert tokenizer.decode(ids[1:-1]).strip() == "green velvet armchair"
    assert (
        tokenizer.decode(tokenizer("überraschend 家具")["input_ids"][1:-1]).strip()
        == "überraschend 家具"
    )
    assert type(processor.tokenizer) is type(tokenizer)


def test_same_texts_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two, other = (
        build_clip(tmp_path / name, TEXTS, seed=seed)
        for name, seed in (("one", 0), ("two", 0), ("other", 1))
    )

    assert torch.equal(torch.rand(1), expected)
    files = sorted(path.name for path in one.iterdir())
    assert files == sorted(path.name for path in two.iterdir())
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)
    weights = "model.safetensors"
    assert (one / weights).read_bytes() != (other / weights).read_bytes()


def test_encoder_reads_it_as_any_other_model(tmp_path: Path) -> None:
    encoder = Encoder.load(build_clip(tmp_path / "clip", TEXTS, seed=0), device="cpu")

    images = encoder.images([Image.new("RGB", (80, 60), "red"), Image.new("RGB", (64, 64))])
    assert images.shape == (2, 64)
    assert np.allclose(np.linalg.norm(encoder.texts(TEXTS), axis=1), 1)
