"""furnclip's forward of a LoRA layer against peft's own."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from furnclip.training.lora import dropped_positions, quicken_lora


def layer(dropout: float, *, dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(0)
    config = LoraConfig(r=3, lora_alpha=6, lora_dropout=dropout, target_modules=["0"])
    model: Any = get_peft_model(nn.Sequential(nn.Linear(7, 5)), config)
    inner = model.base_model.model[0]
    with torch.no_grad():
        inner.lora_B["default"].weight.normal_()
    model.to(dtype)
    return model


def results(model: Any, x: Tensor) -> list[Tensor]:
    """Return the output and every gradient."""
    x = x.clone().requires_grad_()
    found = model(x)
    torch.autograd.backward(found.square().sum())
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert x.grad is not None
    return [found.detach(), x.grad, *gradients]


def test_without_dropout_output_and_gradients_are_pefts() -> None:
    x = torch.randn(2, 4, 7, dtype=torch.float64)
    expected = results(layer(0.0), x)
    model = layer(0.0)
    quicken_lora(model)
    assert "forward" in vars(model.base_model.model[0])
    for found, wanted in zip(results(model, x), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-14)


def test_gradients_with_dropout_are_those_of_the_output_it_gave() -> None:
    model = layer(0.3)
    quicken_lora(model)
    x = torch.randn(6, 7, dtype=torch.float64, requires_grad=True)
    a, b = (p for p in model.parameters() if p.requires_grad)

    def output(*_: Tensor) -> Tensor:
        torch.manual_seed(3)  # the same elements dropped every time
        found: Tensor = model(x)
        return found

    assert torch.autograd.gradcheck(output, (x, a, b))


def test_dropout_changes_the_lora_branch_in_training_alone() -> None:
    model = layer(0.5)
    quicken_lora(model)
    x = torch.ones(400, 7, dtype=torch.float64)
    expected = layer(0.5).eval()(x)
    torch.testing.assert_close(model.eval()(x), expected)
    noisy = model.train()(x)
    assert not torch.allclose(noisy, expected, atol=1e-3)
    torch.testing.assert_close(noisy.mean(0), expected.mean(0), rtol=0.2, atol=0.2)


@pytest.mark.parametrize(("count", "rate"), [(200_000, 0.05), (200_000, 0.9), (3, 0.5), (1, 0.01)])
def test_positions_are_those_of_independent_coins(count: int, rate: float) -> None:
    torch.manual_seed(0)
    dropped = torch.zeros(count)
    positions = dropped_positions(count, rate)
    assert ((positions >= 0) & (positions < count)).all()
    assert (positions.diff() > 0).all()
    dropped[positions] = 1
    spread = (rate * (1 - rate) / count) ** 0.5
    assert abs(float(dropped.mean()) - rate) < 5 * spread + 1.0 * (count < 10)
    if count > 10:  # neighbours do not know of each other
        both = float((dropped[1:] * dropped[:-1]).mean())
        assert (
            abs(both - rate**2) < 5 * (rate**2 * (1 - rate**2) / count) ** 0.5 + 2 * rate * spread
        )


def test_first_and_last_elements_are_dropped_as_often_as_any() -> None:
    torch.manual_seed(0)
    hits = torch.zeros(10)
    for _ in range(4000):
        hits[dropped_positions(10, 0.2)] += 1
    assert ((hits / 4000 - 0.2).abs() < 5 * (0.16 / 4000) ** 0.5).all()
