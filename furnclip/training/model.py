"""Scenarios: which parameters of a CLIP model are trained, and how.

============================  ==============  ==============  ==============================
scenario                      vision tower    text tower      projections and ``logit_scale``
============================  ==============  ==============  ==============================
``zero_shot``                 frozen          frozen          frozen
``linear_probe``              frozen          frozen          trained
``vision_lora``               LoRA            frozen          trained
``text_lora``                 frozen          LoRA            trained
``dual_lora``                 LoRA            LoRA            trained
``unfrozen_targets``          matching parameters in full     trained
============================  ==============  ==============  ==============================

LoRA: Hu et al. 2021, arXiv:2106.09685, through peft.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from furnclip.config import Scenario
from furnclip.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import CLIPModel, CLIPProcessor

LORA_TOWERS: dict[str, tuple[str, ...]] = {
    "vision_lora": ("vision_model",),
    "text_lora": ("text_model",),
    "dual_lora": ("vision_model", "text_model"),
}
PROJECTIONS = ("visual_projection", "text_projection")


def get_model(
    scenario: str = "dual_lora",
    *,
    base: str | Path | None = None,
    lora_r: int = 16,
    lora_alpha: int = 32,
    lora_dropout: float = 0.05,
    lora_targets: Sequence[str] = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
    unfrozen_targets: Sequence[str] = (r"encoder\.layers\.(10|11)\.",),
) -> tuple[nn.Module, CLIPProcessor]:
    """Load ``base`` (hub id or folder; default: the settings') and free what ``scenario`` trains.

    The model is a ``CLIPModel``, wrapped by peft in the LoRA scenarios; both are called with
    ``model(**batch, return_loss=True)``. Weights are float32: half precision is for autocast, as
    peft's copies of the projections would otherwise be trained in half precision too.
    Raises ``UsageError`` for an unknown scenario, ``ConfigError`` when a target matches nothing.
    """
    from furnclip.encoder import load_model

    if scenario not in get_args(Scenario):
        raise UsageError(
            f"unknown scenario {scenario!r}", hint=f"one of {', '.join(get_args(Scenario))}"
        )
    if base is None:
        from furnclip.config import ModelConfig

        base = str(ModelConfig.MODEL_NAME)
    clip, processor = load_model(base)
    clip.requires_grad_(requires_grad=False)
    if scenario in LORA_TOWERS:
        towers = LORA_TOWERS[scenario]
        model: nn.Module = _with_lora(
            clip, towers, lora_targets, r=lora_r, alpha=lora_alpha, dropout=lora_dropout
        )
        return model, processor
    if scenario == "unfrozen_targets":
        _unfreeze(clip, unfrozen_targets)
    if scenario != "zero_shot":
        for name in PROJECTIONS:
            getattr(clip, name).requires_grad_(requires_grad=True)
        clip.logit_scale.requires_grad = True
    return clip, processor


def clip_of(model: nn.Module) -> CLIPModel:
    """Return the ``CLIPModel`` itself, with or without peft's layers inside."""
    inner: Any = model.get_base_model() if is_lora(model) else model  # type: ignore[operator]
    clip: CLIPModel = inner
    return clip


def is_lora(model: nn.Module) -> bool:
    """Tell whether peft wraps the model."""
    return hasattr(model, "peft_config")


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained parameters by name, in the model's own order."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a plain ``CLIPModel`` state dict with LoRA and trained projections merged in.

    The model itself is left as it is: the deltas are computed beside it.
    """
    import torch

    if not is_lora(model):
        return {name: value.detach().clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        merged: dict[str, Tensor] = {}
        deltas = {
            f"{name}.weight": module.get_delta_weight("default")
            for name, module in clip_of(model).named_modules()
            if hasattr(module, "get_delta_weight") and "default" in module.lora_A
        }
        for name, value in clip_of(model).state_dict().items():
            if "lora_" in name or "original_module" in name:
                continue
            plain = name.replace(".base_layer.", ".").replace(".modules_to_save.default.", ".")
            delta = deltas.get(plain)
            merged[plain] = value.detach().clone() if delta is None else value + delta
    return merged


def _with_lora(
    clip: CLIPModel,
    towers: Sequence[str],
    targets: Sequence[str],
    *,
    r: int,
    alpha: int,
    dropout: float,
) -> Any:
    """Wrap ``clip`` so that exactly ``targets`` in every layer of ``towers`` carry LoRA.

    A bare list of target names would hit both towers, hence the regular expression and the count.
    """
    from peft import LoraConfig, get_peft_model

    pattern = rf"({'|'.join(towers)})\..*\.({'|'.join(map(re.escape, targets))})"
    _check_lora_targets(clip, towers, targets, pattern)
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=pattern,
        modules_to_save=list(PROJECTIONS),
    )
    with warnings.catch_warnings():
        # peft 0.21 asks for an attribute that transformers 5.23 renamed.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        model = get_peft_model(clip, config)
    # modules_to_save ignores bare parameters without a word, so logit_scale is freed by hand
    # (and saved by hand, in publish.save_adapter).
    clip_of(model).logit_scale.requires_grad = True
    return model


def _check_lora_targets(
    clip: CLIPModel, towers: Sequence[str], targets: Sequence[str], pattern: str
) -> None:
    names = [name for name, _ in clip.named_modules()]
    for tower in towers:
        layers = len(getattr(clip, tower).encoder.layers)
        for target in targets:
            found = sum(
                bool(re.fullmatch(pattern, name)) and name.endswith(f".{target}")
                for name in names
                if name.startswith(tower)
            )
            if found != layers:
                raise ConfigError(
                    f"training.lora_targets: {target!r} names {found} modules of {tower}, "
                    f"which has {layers} layers",
                    hint="names such as q_proj, k_proj, v_proj, out_proj, fc1, fc2",
                )


def _unfreeze(clip: CLIPModel, patterns: Sequence[str]) -> None:
    parameters = dict(clip.named_parameters())
    for pattern in patterns:
        try:
            hits = [name for name in parameters if re.search(pattern, name)]
        except re.error as error:
            raise ConfigError(
                f"training.unfrozen_targets: {pattern!r} is not a regular expression: {error}"
            ) from error
        if not hits:
            vision, text = (len(t.encoder.layers) for t in (clip.vision_model, clip.text_model))
            raise ConfigError(
                f"training.unfrozen_targets: {pattern!r} matches no parameter",
                hint=f"this model has {vision} vision and {text} text layers, counted from 0; "
                f"names look like {next(reversed(parameters))}",
            )
        for name in hits:
            parameters[name].requires_grad = True
