"""A CLIP of 0.9 million parameters with random weights and a tokenizer of the catalogue's words.

Sixteen patches of 16 pixels and three layers make a step cheap, so that many fit in the time.
One trial of each: 64 patches in four layers, 14 + 14 epochs of batch 128, gave a tuned hit@1 of
0.10 on 128 products; 16 patches in three layers, 30 + 30 epochs of batch 64, gave 0.26 in less
than half the CPU time. Size, epochs and batch changed together. The folder is ordinary:
``CLIPModel`` and ``CLIPProcessor`` load it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import CLIPConfig

IMAGE_SIZE = 64
_PATCH = 16
_WIDTH = 128
_VISION_LAYERS = 3
_TEXT_LAYERS = 2
_PROJECTION = 64
_CONTEXT = 77
_MERGES = 400


def build_clip(folder: Path, texts: Iterable[str], *, seed: int) -> Path:
    """Write a random ``CLIPModel`` and a ``CLIPProcessor`` trained on ``texts`` to ``folder``.

    The same texts and seed give the same bytes; torch's random state is left as it was. An
    interrupted call leaves no ``config.json``, which is written last.
    """
    import torch
    from transformers import CLIPModel, CLIPProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.utils import logging as transformers_logging

    tokenizer = train_tokenizer(texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(_config(tokenizer))
    pillow: Any = CLIPImageProcessorPil  # the other one needs torchvision
    images = pillow(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    )
    processor: Any = CLIPProcessor
    processor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    logging: Any = transformers_logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # stderr is ours
    model.save_pretrained(folder)
    if shown:
        logging.enable_progress_bar()
    return folder


def train_tokenizer(texts: Iterable[str], *, merges: int = _MERGES, context: int = _CONTEXT) -> Any:
    """Train CLIP's own kind of tokenizer: lower-cased byte-level BPE, ``</w>`` ending words.

    The vocabulary is laid out as CLIP's: every byte, every byte that ends a word, the merges, the
    special tokens. So every text has tokens; an unknown one would read as the end of the text.
    """
    from tokenizers import pre_tokenizers
    from tokenizers.trainers import BpeTrainer
    from transformers import CLIPTokenizer

    specials = ["<|startoftext|>", "<|endoftext|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    blank = CLIPTokenizer(vocab={token: i for i, token in enumerate(specials)}, merges=[])
    trainer = BpeTrainer(
        vocab_size=2 * len(letters) + len(specials) + merges,
        special_tokens=specials,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    backend = blank.backend_tokenizer
    backend.train_from_iterator(texts, trainer)
    learned: Any = [tuple(pair) for pair in json.loads(backend.to_str())["model"]["merges"]]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += dict.fromkeys("".join(pair) for pair in learned)
    vocab = {token: i for i, token in enumerate([*tokens, *specials])}
    return CLIPTokenizer(vocab=vocab, merges=learned, model_max_length=context)


def _config(tokenizer: Any) -> CLIPConfig:
    from transformers import CLIPConfig

    tower = {
        "hidden_size": _WIDTH,
        "intermediate_size": 2 * _WIDTH,
        "num_attention_heads": 4,
        "projection_dim": _PROJECTION,
    }
    text = {
        **tower,
        "num_hidden_layers": _TEXT_LAYERS,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": _CONTEXT,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        **tower,
        "num_hidden_layers": _VISION_LAYERS,
        "image_size": IMAGE_SIZE,
        "patch_size": _PATCH,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=_PROJECTION)
