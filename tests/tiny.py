"""A random-init CLIP of ~60k parameters with a tokenizer trained on the spot, as a folder.

Real ``transformers`` and ``tokenizers`` components, small enough for every test: built in well
under a second after the imports, the same bytes for the same seed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from furnclip.demo.tiny_clip import train_tokenizer

TEXTS = (
    "a red sofa",
    "a blue oak chair",
    "a green table",
    "a white bed",
    "a black steel lamp",
    "a yellow velvet armchair",
    "a modern grey wooden shelf",
    "a rustic brown leather bench",
)


def build_tiny_clip(
    folder: Path,
    *,
    seed: int = 0,
    texts: Sequence[str] = TEXTS,
    image_size: int = 32,
    hidden: int = 32,
    layers: int = 2,
    projection: int = 16,
    attention_dropout: float = 0.0,
) -> Path:
    """Write a tiny ``CLIPModel`` and ``CLIPProcessor`` to ``folder`` and return it.

    ``transformers.CLIPModel.from_pretrained(folder)`` loads it as any other. Torch's global
    random state is left as it was.
    """
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    tokenizer = train_tokenizer(texts, merges=64, context=32)
    tower = {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "attention_dropout": attention_dropout,
        "projection_dim": projection,
    }
    text = {
        **tower,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 32,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {**tower, "image_size": image_size, "patch_size": image_size // 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(
            CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)
        )
    model.save_pretrained(folder)
    images = CLIPImageProcessor(
        size={"shortest_edge": image_size},
        crop_size={"height": image_size, "width": image_size},
    )
    processor: Any = CLIPProcessor
    processor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return folder
