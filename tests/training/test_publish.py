from pathlib import Path

import pytest
import torch
from peft.helpers import rescale_adapter_scale

from furnclip.training.model import clip_of, get_model, merged_state, trainable
from furnclip.training.publish import ALPHAS, interpolated, sweep_alpha
from tests.tiny import build_tiny_clip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_clip(tmp_path_factory.mktemp("base"))


def test_ends_of_the_interpolation_are_the_models_themselves() -> None:
    base, tuned = ({"w": torch.randn(3, 3), "n": torch.tensor(i)} for i in range(2))
    assert torch.equal(interpolated(base, tuned, 0.0)["w"], base["w"])
    assert torch.equal(interpolated(base, tuned, 1.0)["w"], tuned["w"])
    half = interpolated(base, tuned, 0.5)
    torch.testing.assert_close(half["w"], (base["w"] + tuned["w"]) / 2)
    assert half["n"] == 1  # counters are not interpolated


def test_interpolating_merged_weights_is_scaling_the_adapter(base: Path) -> None:
    """Against peft's own WiSE-FT helper, on the LoRA layers."""
    torch.manual_seed(0)
    start = merged_state(get_model("zero_shot", base=base)[0])
    model, _ = get_model("dual_lora", base=base)
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            if "lora_" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    expected = interpolated(start, merged_state(model), 0.3)
    model.eval()
    plain, _ = get_model("zero_shot", base=base)
    plain.load_state_dict(expected)
    plain.eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), rescale_adapter_scale(model, 0.3):
        scaled = clip_of(model).get_image_features(pixels).pooler_output
        found = clip_of(plain).get_image_features(pixels).pooler_output
    torch.testing.assert_close(found, scaled, rtol=1e-5, atol=1e-6)


def test_sweep_takes_the_best_alpha_and_of_equals_the_largest() -> None:
    assert sweep_alpha(lambda alpha: -((alpha - 0.4) ** 2))[0] == 0.4
    assert sweep_alpha(lambda _: 0.5)[0] == 1.0
    assert list(sweep_alpha(lambda alpha: alpha)[1]) == list(ALPHAS)
