"""From trained parameters to what people use: an adapter, and a plain ``CLIPModel`` folder.

Before merging, the trained weights are interpolated with the base's (WiSE-FT, Wortsman et al.
2021, arXiv:2109.01903): the best point between them, judged on validation, is published.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from furnclip.encoder import library_output_hidden, load_model
from furnclip.files import write_text_atomic
from furnclip.progress import Task
from furnclip.training.augment import ImageTransform
from furnclip.training.card import model_card
from furnclip.training.checkpoint import contiguous
from furnclip.training.distributed import World
from furnclip.training.model import clip_of, is_lora, merged_state, trainable
from furnclip.training.run import RunPlan
from furnclip.training.run_data import RunData
from furnclip.training.towers import Towers
from furnclip.training.validation import (
    SELECTED_BY,
    Measured,
    Split,
    compared,
    intervals,
    measure,
)

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import CLIPProcessor

ALPHAS = tuple(step / 10 for step in range(11))


def interpolated(
    base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """Return ``base + alpha * (tuned - base)`` by name, ``logit_scale`` included.

    0 and 1 give the ends exactly. For LoRA this is the adapter scaled by alpha.
    """
    import torch

    if alpha in (0.0, 1.0):
        return dict(tuned if alpha else base)
    return {
        name: torch.lerp(base[name], value, alpha) if value.is_floating_point() else value
        for name, value in tuned.items()
    }


def sweep_alpha(score: Callable[[float], float]) -> tuple[float, dict[float, float]]:
    """Return the best alpha and all scores; of equal ones the one that keeps more training."""
    scores = {alpha: score(alpha) for alpha in ALPHAS}
    return max(scores, key=lambda alpha: (scores[alpha], alpha)), scores


def save_adapter(
    model: nn.Module, folder: Path, *, base: str, published: Mapping[str, Tensor], alpha: float
) -> None:
    """Save LoRA, the projections and ``logit_scale``, which peft leaves out, without merging.

    Changes ``model`` to ``alpha`` first, so that base and adapter give the ``published`` weights:
    LoRA's product is scaled by one of its factors, the rest is copied.
    """
    import torch
    from safetensors.torch import save_file

    with torch.no_grad():
        for name, parameter in trainable(model).items():
            if ".lora_B." in name:
                parameter.mul_(alpha)
            elif ".lora_A." not in name:
                plain = name.removeprefix("base_model.model.")
                parameter.copy_(published[plain.replace(".modules_to_save.default.", ".")])
    peft: Any = model
    # peft would name the folder the weights were read from, which for a hub id is a cache.
    peft.peft_config["default"].base_model_name_or_path = base
    peft.save_pretrained(folder)
    scale = contiguous({"logit_scale": clip_of(model).logit_scale})
    save_file(scale, folder / "logit_scale.safetensors")


def write_model(
    folder: Path,
    clip: nn.Module,
    processor: CLIPProcessor,
    *,
    facts: Mapping[str, Any],
    card: str,
) -> None:
    """Write a ``CLIPModel`` folder with processor, ``furnclip.json`` and a model card.

    The folder gets its name when it is whole; one that was there is replaced.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    plain: Any = clip.float()
    with library_output_hidden():
        plain.save_pretrained(temporary)
    saver: Any = processor
    saver.save_pretrained(temporary)
    write_text_atomic(temporary / "furnclip.json", json.dumps(dict(facts), indent=1, default=str))
    write_text_atomic(temporary / "README.md", card)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


@dataclass(frozen=True)
class Published:
    """The folder, how far it is from the base, and what it scores; see ``TrainingResult``."""

    model_path: Path | None
    alpha: float | None
    metrics: dict[str, Any]


def publish(
    plan: RunPlan,
    towers: Towers,
    processor: CLIPProcessor,
    data: RunData,
    world: World,
    *,
    task: Task,
) -> Published:
    """Merge the trained weights into a ``CLIPModel`` folder and measure it once on test.

    All ranks compute; the leader writes. Without a validation split alpha is 1; without a test
    split the metrics are those of validation, and say so.
    """
    plain, _ = load_model(plan.base)
    plain.requires_grad_(requires_grad=False)
    if towers.precision == "fp64":
        plain.double()
    base, tuned = contiguous(merged_state(plain)), contiguous(merged_state(towers.model))
    judge = Towers(
        plain.to(world.device),  # type: ignore[arg-type]
        ImageTransform.of(processor, "none"),
        device=world.device,
        precision=towers.precision,
    )
    size = plan.settings.val_batch_size

    def measured(alpha: float, split: Split) -> Measured:
        plain.load_state_dict(interpolated(base, tuned, alpha))
        found = measure(split, judge, batch_size=size)
        task.advance()
        return found

    task.total(2 if data.val is None else 2 + len(ALPHAS))

    measured_on = "test" if data.test is not None else "val"
    final = data.test or data.val
    if plan.settings.scenario == "zero_shot":
        scores = {} if final is None else measured(0.0, final).metrics
        return Published(None, None, {"split": measured_on, "base": scores, "tuned": scores})
    alpha = 1.0
    sweep: dict[float, float] = {}
    if data.val is not None:
        val = data.val
        alpha, sweep = sweep_alpha(lambda a: measured(a, val).metrics[SELECTED_BY])
        alpha = world.of_leader(alpha)
    metrics: dict[str, Any] = {"split": measured_on, "base": {}, "tuned": {}}
    if final is not None:
        before, after = (measured(a, final) for a in (0.0, alpha))
        metrics |= {
            "base": before.metrics,
            "tuned": after.metrics,
            "intervals": {"base": intervals(before), "tuned": intervals(after)},
            "compared": compared(before, after),
        }
    metrics["validation"] = {f"{a:.1f}": score for a, score in sweep.items()}
    if world.leader:
        plain.load_state_dict(interpolated(base, tuned, alpha))
        _write(plan, towers.model, plain, processor, alpha=alpha, metrics=metrics)
    return Published(plan.model_path, alpha, metrics)


def _write(
    plan: RunPlan,
    model: nn.Module,
    plain: nn.Module,
    processor: CLIPProcessor,
    *,
    alpha: float,
    metrics: Mapping[str, Any],
) -> None:
    if is_lora(model):
        base = str(Path(plan.base).resolve()) if Path(plan.base).is_dir() else plan.base
        folder = plan.folder / "adapter"
        save_adapter(model, folder, base=base, published=plain.state_dict(), alpha=alpha)
    facts = {
        "base": plan.base,
        "run": plan.run_id,
        "scenario": plan.settings.scenario,
        "alpha": alpha,
        "data": str(plan.data),
        "settings": plan.described,
        "metrics": metrics,
    }
    card = model_card(
        name=plan.run_id,
        base=plan.base,
        scenario=plan.settings.scenario,
        alpha=alpha,
        split=str(metrics["split"]),
        settings=plan.described,
        base_metrics=metrics["base"],
        tuned_metrics=metrics["tuned"],
    )
    write_model(plan.model_path, plain.cpu(), processor, facts=facts, card=card)
