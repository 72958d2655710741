from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from furnclip.errors import ConfigError, DataError, UsageError
from furnclip.training.model import _with_lora, clip_of, get_model, merged_state, trainable
from tests.tiny import build_tiny_clip

LORA_LAYERS = ("k_proj", "v_proj", "q_proj", "out_proj")
HEAD = {"visual_projection.weight", "text_projection.weight", "logit_scale"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_clip(tmp_path_factory.mktemp("base"))


def lora_names(*towers: str) -> set[str]:
    prefix = "base_model.model."
    names = {f"{prefix}logit_scale"} | {
        f"{prefix}{projection}.modules_to_save.default.weight"
        for projection in ("visual_projection", "text_projection")
    }
    for tower in towers:
        for layer in range(2):
            modules = [f"self_attn.{name}" for name in LORA_LAYERS] + ["mlp.fc1", "mlp.fc2"]
            names |= {
                f"{prefix}{tower}.encoder.layers.{layer}.{module}.lora_{half}.default.weight"
                for module in modules
                for half in "AB"
            }
    return names


@pytest.mark.parametrize(
    ("scenario", "names"),
    [
        ("zero_shot", set()),
        ("linear_probe", HEAD),
        ("vision_lora", lora_names("vision_model")),
        ("text_lora", lora_names("text_model")),
        ("dual_lora", lora_names("vision_model", "text_model")),
    ],
)
def test_scenario_trains_exactly_its_parameters(base: Path, scenario: str, names: set[str]) -> None:
    model, _ = get_model(scenario, base=base)
    assert set(trainable(model)) == names


def test_unfrozen_targets_train_matching_parameters_and_the_head(base: Path) -> None:
    model, _ = get_model("unfrozen_targets", base=base, unfrozen_targets=[r"vision.*layers\.1\."])
    names = set(trainable(model))
    assert names >= HEAD
    assert {name.split(".layers.")[0] for name in names - HEAD} == {"vision_model.encoder"}
    assert all(".layers.1." in name for name in names - HEAD)
    assert len(names - HEAD) == 16


def test_unfrozen_targets_can_train_everything(base: Path) -> None:
    model, _ = get_model("unfrozen_targets", base=base, unfrozen_targets=[".*"])
    assert set(trainable(model)) == {name for name, _ in model.named_parameters()}


def test_dual_lora_on_vit_b_32_has_the_published_size() -> None:
    with torch.device("meta"):
        clip = CLIPModel(CLIPConfig())
        clip.requires_grad_(requires_grad=False)
        targets = (*LORA_LAYERS, "fc1", "fc2")
        model = _with_lora(
            clip, ("vision_model", "text_model"), targets, r=16, alpha=32, dropout=0.05
        )
    # 4,423,680 of LoRA, 655,360 of projections, and logit_scale.
    assert sum(p.numel() for p in trainable(model).values()) == 5_079_040 + 1


def test_target_that_matches_no_parameter_is_named(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"layers.*matches no parameter") as caught:
        get_model("unfrozen_targets", base=base)
    assert "2 vision and 2 text layers" in str(caught.value.hint)


def test_lora_target_that_is_not_in_every_layer_is_named(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"'qkv' names 0 modules of vision_model"):
        get_model("dual_lora", base=base, lora_targets=["qkv"])


def test_unknown_scenario_is_refused(base: Path) -> None:
    with pytest.raises(UsageError, match="unknown scenario 'lora'"):
        get_model("lora", base=base)


def test_missing_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        get_model("dual_lora", base=tmp_path / "nowhere")


@pytest.mark.parametrize("scenario", ["linear_probe", "dual_lora"])
def test_merged_weights_give_the_same_logits(base: Path, scenario: str) -> None:
    torch.manual_seed(0)
    model, processor = get_model(scenario, base=base)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.add_(0.02 * torch.randn_like(parameter))
    batch = {
        "input_ids": torch.tensor(processor.tokenizer(["a red sofa"] * 3)["input_ids"]),
        "pixel_values": torch.randn(3, 3, 32, 32),
    }
    plain = CLIPModel.from_pretrained(base)
    before = plain(**batch).logits_per_image
    plain.load_state_dict(merged_state(model))
    model.eval()
    expected = model(**batch).logits_per_image
    torch.testing.assert_close(plain(**batch).logits_per_image, expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(before, expected, atol=1e-3)
    assert plain.logit_scale == clip_of(model).logit_scale
