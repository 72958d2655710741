"""The quickened model against ``transformers``' and peft's own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from transformers.activations import QuickGELUActivation

from furnclip.training.model import clip_of, get_model, trainable
from furnclip.training.quick import quicken
from tests.tiny import build_tiny_clip

WORDS = torch.tensor([[0, 5, 9, 1], [0, 7, 8, 1]])
PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_clip(tmp_path_factory.mktemp("base"))


def model(base: Path, scenario: str = "dual_lora", *, spread: float = 0.1) -> nn.Module:
    torch.manual_seed(0)
    found, _ = get_model(
        scenario, base=base, lora_dropout=0.0, unfrozen_targets=(r"encoder\.layers\.",)
    )
    for name, parameter in found.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(parameter, std=spread)
    return found


def gradients(model: nn.Module, *, autocast: bool = False) -> dict[str, Tensor]:
    pixels = PIXELS.to(clip_of(model).dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model(input_ids=WORDS, pixel_values=pixels, return_loss=True).loss
    torch.autograd.backward(loss)
    return {n: p.grad for n, p in trainable(model).items() if p.grad is not None}


@pytest.mark.parametrize("scenario", ["dual_lora", "unfrozen_targets"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_plain_model(
    base: Path, scenario: str, *, checkpointing: bool
) -> None:
    expected = gradients(model(base, scenario).double())
    quick = model(base, scenario).double()
    quicken(quick)
    if checkpointing:
        clip_of(quick).train()
        clip_of(quick).activation_checkpointing_enable()
    found = gradients(quick)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)


def test_at_its_start_the_model_gives_the_plain_gradients_in_half_precision(base: Path) -> None:
    expected = gradients(model(base, spread=0.0), autocast=True)
    quick = model(base, spread=0.0)
    quicken(quick)
    found = gradients(quick, autocast=True)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert value.dtype == found[name].dtype
        error = float((found[name] - value).norm() / value.norm().clamp_min(1e-6))
        assert error < 0.05, name


def test_every_lora_layer_and_activation_is_exchanged(base: Path) -> None:
    quick = model(base)
    quicken(quick)
    for kind, count in ((Linear, 2 * 2 * 6), (QuickGELUActivation, 2 * 2)):
        found = [module for module in quick.modules() if isinstance(module, kind)]
        assert ["forward" in vars(module) for module in found] == [True] * count


def test_the_last_mlp_of_the_vision_tower_sees_class_tokens_alone(base: Path) -> None:
    quick = model(base)
    quicken(quick)
    clip: Any = clip_of(quick)
    seen: list[tuple[str, int]] = []
    for name in ("vision_model", "text_model"):
        for layer in getattr(clip, name).encoder.layers:
            layer.mlp.register_forward_hook(
                lambda _, given, __, name=name: seen.append((name, given[0].shape[1]))
            )
    clip(input_ids=WORDS, pixel_values=PIXELS)
    tokens = clip.config.vision_config.image_size // clip.config.vision_config.patch_size
    vision = [count for name, count in seen if name == "vision_model"]
    assert vision == [tokens**2 + 1, 1]
    assert [count for name, count in seen if name == "text_model"] == [4, 4]


def test_the_activation_keeps_one_tensor_of_its_inputs_size(base: Path) -> None:
    quick = model(base)
    quicken(quick)
    activation: Any = clip_of(quick).vision_model.encoder.layers[0].mlp.activation_fn
    kept: list[Tensor] = []
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = activation(x)
    assert [tensor.shape for tensor in kept] == [x.shape]
    torch.testing.assert_close(out, x * torch.sigmoid(1.702 * x))
    assert torch.autograd.gradcheck(activation, (x,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_activation_is_as_exact_as_the_plain_one_in_half_precision(
    base: Path, dtype: torch.dtype
) -> None:
    plain, quick = QuickGELUActivation(), model(base)
    quicken(quick)
    activation: Any = clip_of(quick).vision_model.encoder.layers[0].mlp.activation_fn
    x = torch.linspace(-60_000, 60_000, 999).to(dtype)
    x = torch.cat([x, torch.randn(999, generator=torch.Generator().manual_seed(2)).to(dtype)])
    assert torch.equal(activation(x), plain(x))


def test_weights_are_saved_under_the_same_names(base: Path) -> None:
    plain, quick = model(base), model(base)
    quicken(quick)
    assert plain.state_dict().keys() == quick.state_dict().keys()
