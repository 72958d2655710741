"""The loss and its gradient."""

from collections.abc import Iterator
from unittest.mock import patch

import torch
from torch import Tensor

from furnclip.training.cache import RandomState
from furnclip.training.loss import clip_loss, positive_pairs
from tests.exactness.check import Check
from tests.training.test_cache import Towers, accumulate_naively, cached, relative, whole_batch


def chunked(kind: str, dropout: float) -> float:
    """Eleven pairs in chunks of four: the last chunk is ragged."""
    model = Towers(dropout)
    return relative(cached(model, kind, 4), whole_batch(model, kind, 4))


def naive(kind: str) -> float:
    """Add up micro-batches, each with its own negatives."""
    model = Towers()
    expected = whole_batch(model, kind, 4)
    model.zero_grad()
    accumulate_naively(model, 4, kind)
    return relative(model.gradient(), expected)


def without_replay() -> float:
    with patch.object(RandomState, "restore", lambda *_: None):
        return chunked("clip", 0.1)


def whole_model(*, replay: bool, double: bool) -> float:
    """A CLIP with LoRA and dropout 0.1: 24 pairs in chunks of 7 against one graph."""
    from pathlib import Path

    from furnclip.training.augment import ImageTransform
    from furnclip.training.cache import contrastive_backward
    from furnclip.training.distributed import World
    from furnclip.training.model import get_model, trainable
    from furnclip.training.quick import quicken
    from furnclip.training.towers import Inputs
    from furnclip.training.towers import Towers as Halves
    from tests.tiny import build_tiny_clip

    base = build_tiny_clip(Path("dropout"), attention_dropout=0.1)
    torch.manual_seed(0)
    model, processor = get_model("dual_lora", base=base, lora_dropout=0.1)
    if double:
        model.double()
    quicken(model)
    for name, parameter in trainable(model).items():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    towers = Halves(model, ImageTransform.of(processor, "none"), device="cpu")
    towers.train()
    pixels = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8)
    ids = torch.randint(3, 60, (24, 8))
    ids[:, -1] = towers.clip.config.text_config.eos_token_id
    chunks = Inputs(pixels, ids).chunks(7)
    scale = towers.clip.logit_scale

    def loss(image: Tensor, text: Tensor) -> Tensor:
        return clip_loss(image, text, scale)

    def gradient() -> Tensor:
        found = torch.cat(
            [p.grad.flatten() for p in trainable(model).values() if p.grad is not None]
        )
        model.zero_grad()
        return found

    torch.manual_seed(1)
    text = torch.cat([towers.encode_text(chunk) for chunk in chunks])
    image = torch.cat([towers.encode_image(chunk) for chunk in chunks])
    torch.autograd.backward(loss(image, text))
    expected = gradient()
    torch.manual_seed(1)
    encode = (towers.encode_image, towers.encode_text)
    restore = RandomState.restore if replay else lambda *_: None
    with patch.object(RandomState, "restore", restore):
        contrastive_backward(chunks, encode, loss, device=torch.device("cpu"), world=World())
    return relative(gradient(), expected)


def swapped(*, multi_positive: bool) -> float:
    """How much the loss changes when two equal captions trade places."""
    torch.manual_seed(0)
    image, text = (torch.randn(6, 8, dtype=torch.float64) for _ in range(2))
    positives = positive_pairs(torch.arange(6), torch.tensor([0, 1, 2, 2, 4, 5]))
    scale = torch.tensor(3.0, dtype=torch.float64)
    kept = positives if multi_positive else None
    losses = [
        float(clip_loss(image, text[order], scale, positives=kept))
        for order in ([0, 1, 2, 3, 4, 5], [0, 1, 3, 2, 4, 5])
    ]
    return abs(losses[1] - losses[0]) / losses[0]


def checks() -> Iterator[Check]:
    relative_error = "relative gradient error"
    for kind in ("clip", "siglip"):
        yield Check(
            f"gradient cache = full batch, {kind}, ragged last chunk, fp64",
            relative_error,
            1e-5,
            lambda kind=kind: chunked(kind, 0.0),  # type: ignore[misc]
            "plain accumulation over micro-batches",
            lambda kind=kind: naive(kind),  # type: ignore[misc]
        )
    yield Check(
        "gradient cache = full batch, dropout 0.1, fp64",
        relative_error,
        1e-5,
        lambda: chunked("clip", 0.1),
        "random state not replayed",
        without_replay,
    )
    for double in (True, False):
        yield Check(
            f"the same on a CLIP with LoRA, {'fp64' if double else 'fp32'}",
            relative_error,
            1e-5,
            lambda double=double: whole_model(replay=True, double=double),  # type: ignore[misc]
            "random state not replayed",
            lambda double=double: whole_model(replay=False, double=double),  # type: ignore[misc]
        )
    yield Check(
        "loss does not change when equal captions are swapped",
        "relative change",
        1e-12,
        lambda: swapped(multi_positive=True),
        "only the diagonal is right",
        lambda: swapped(multi_positive=False),
    )
