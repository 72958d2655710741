"""The chunked gradient against the gradient of the whole batch at once."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from furnclip.training.cache import RandomState, contrastive_backward
from furnclip.training.distributed import World
from furnclip.training.loss import clip_loss, positive_pairs, siglip_loss

CPU = torch.device("cpu")
Pair = tuple[Tensor, Tensor]
CAPTIONS = torch.tensor([0, 1, 2, 3, 4, 4, 6, 7, 8, 1, 10])


class Towers(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image = nn.Sequential(
            nn.Linear(6, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 8)
        )
        self.text = nn.Sequential(
            nn.Linear(5, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 8)
        )
        self.scale = nn.Parameter(torch.tensor(2.6))
        self.bias = nn.Parameter(torch.tensor(-5.0))
        self.double()

    @property
    def encode(self) -> tuple[Callable[[Pair], Tensor], Callable[[Pair], Tensor]]:
        return (lambda chunk: self.image(chunk[0])), (lambda chunk: self.text(chunk[1]))

    def loss(self, kind: str, captions: Tensor = CAPTIONS) -> Callable[[Tensor, Tensor], Tensor]:
        positives = positive_pairs(torch.arange(len(captions)), captions)
        if kind == "siglip":
            return lambda i, t: siglip_loss(i, t, self.scale, self.bias, positives=positives)
        return lambda i, t: clip_loss(i, t, self.scale, positives=positives)

    def gradient(self) -> Tensor:
        return torch.cat([p.grad.flatten() for p in self.parameters() if p.grad is not None])


def pairs() -> Pair:
    generator = torch.Generator().manual_seed(1)
    image, text = (torch.randn(11, width, generator=generator).double() for width in (6, 5))
    return image, text


def chunks(size: int) -> list[Pair]:
    image, text = pairs()
    return list(zip(torch.split(image, size), torch.split(text, size), strict=True))


def whole_batch(model: Towers, kind: str, size: int) -> Tensor:
    """One graph over all chunks, so that dropout draws what the chunked passes draw."""
    torch.manual_seed(7)
    text = torch.cat([model.text(text) for _, text in chunks(size)])
    image = torch.cat([model.image(image) for image, _ in chunks(size)])
    model.zero_grad()
    torch.autograd.backward(model.loss(kind)(image, text))
    return model.gradient()


def cached(model: Towers, kind: str, size: int) -> Tensor:
    torch.manual_seed(7)
    model.zero_grad()
    contrastive_backward(chunks(size), model.encode, model.loss(kind), device=CPU, world=World())
    return model.gradient()


def accumulate_naively(model: Towers, size: int, kind: str = "clip") -> None:
    """Add up the gradients of micro-batches, each with its own positives, as is often done."""
    for (image, text), captions in zip(chunks(size), torch.split(CAPTIONS, size), strict=True):
        loss = model.loss(kind, captions)(model.image(image), model.text(text))
        torch.autograd.backward(loss * len(image) / len(CAPTIONS))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("size", [1, 4, 11, 64])
def test_chunked_gradient_is_the_whole_batch_gradient(kind: str, dropout: float, size: int) -> None:
    model = Towers(dropout)
    expected = whole_batch(model, kind, size)
    assert relative(cached(model, kind, size), expected) < 1e-14


def test_naive_accumulation_is_far_off() -> None:
    """The control: a test that cannot tell right from wrong would pass here too."""
    model = Towers()
    expected = whole_batch(model, "clip", 4)
    model.zero_grad()
    accumulate_naively(model, 4)
    assert relative(model.gradient(), expected) > 0.01


def test_dropout_needs_the_random_state_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Towers(dropout=0.1)
    expected = whole_batch(model, "clip", 4)
    monkeypatch.setattr(RandomState, "restore", lambda *_: None)
    assert relative(cached(model, "clip", 4), expected) > 0.01


def test_loss_is_taken_in_float32_on_half_precision_features() -> None:
    model = Towers().float()
    seen: list[torch.dtype] = []

    def loss(image: Tensor, text: Tensor) -> Tensor:
        seen.append(image.dtype)
        return clip_loss(image, text, model.scale)

    encode = (
        lambda chunk: model.image(chunk[0].float()).bfloat16(),
        lambda chunk: model.text(chunk[1].float()).bfloat16(),
    )
    contrastive_backward(chunks(4), encode, loss, device=CPU, world=World())
    assert seen == [torch.float32]
    assert all(p.grad is not None for p in model.image.parameters())


def test_gradient_scale_multiplies_the_gradient() -> None:
    model = Towers()
    expected = whole_batch(model, "clip", 4)
    model.zero_grad()
    value = contrastive_backward(
        chunks(4), model.encode, model.loss("clip"), device=CPU, world=World(), scale=8.0
    )
    assert relative(model.gradient() / 8, expected) < 1e-14
    image, text = (encode(pairs()) for encode in model.encode)
    torch.testing.assert_close(value, model.loss("clip")(image, text).detach())


def test_fixed_features_need_no_graph() -> None:
    model = Towers()

    encode = (model.encode[0], lambda chunk: functional.pad(chunk[1], (0, 3)))
    contrastive_backward(chunks(4), encode, model.loss("clip"), device=CPU, world=World())
    assert all(p.grad is None for p in model.text.parameters())
    assert all(p.grad is not None for p in model.image.parameters())


def test_random_numbers_go_on_after_a_step_as_if_each_was_drawn_once() -> None:
    """A replay that left the generator behind would give the next step the same dropout."""
    model = Towers(dropout=0.1)
    whole_batch(model, "clip", 4)
    expected = torch.rand(3)
    cached(model, "clip", 4)
    assert torch.equal(torch.rand(3), expected)
