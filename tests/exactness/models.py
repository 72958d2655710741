"""What is trained, what is frozen, what is saved and published, what is learned."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from furnclip.training import model as model_module
from furnclip.training import publish
from furnclip.training.augment import ImageTransform
from furnclip.training.distributed import World
from furnclip.training.model import get_model, merged_state, trainable
from furnclip.training.towers import Inputs, Towers
from furnclip.training.trainer import Objective, Trainer
from tests.exactness.check import Check
from tests.tiny import build_tiny_clip
from tests.training import test_trainer as learning
from tests.training.test_model import HEAD, lora_names

SCENARIOS: Mapping[str, set[str]] = {
    "zero_shot": set(),
    "linear_probe": HEAD,
    "vision_lora": lora_names("vision_model"),
    "text_lora": lora_names("text_model"),
    "dual_lora": lora_names("vision_model", "text_model"),
}
BATCH = {
    "input_ids": torch.tensor([[0, 5, 9, 1], [0, 7, 8, 1]]),
    "pixel_values": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
}


def base() -> Path:
    return build_tiny_clip(Path("base"))


def wrong_names() -> float:
    """Parameters that are trained and should not be, or the other way round."""
    folder = base()
    return float(
        sum(
            len(set(trainable(get_model(scenario, base=folder)[0])) ^ names)
            for scenario, names in SCENARIOS.items()
        )
    )


def names_of_both_towers() -> float:
    towers = dict.fromkeys(model_module.LORA_TOWERS, ("vision_model", "text_model"))
    with patch.object(model_module, "LORA_TOWERS", towers):
        return wrong_names()


def trained(scenario: str, *, lr: float = 5e-3, thaw: str = "-") -> tuple[Any, dict[str, Tensor]]:
    """Train a few steps; return the model and what its merged state was before."""
    torch.manual_seed(0)
    model, processor = get_model(scenario, base=base())
    for name, parameter in model.named_parameters():
        if thaw in name:
            parameter.requires_grad = True
    before = merged_state(model)
    towers = Towers(model, ImageTransform.of(processor, "none"), device="cpu")
    world = World(sizes=[learning.PAIRS])
    trainer = Trainer(towers, Objective(towers, "clip"), world, learning.SETTINGS)
    inputs = learning.noise(Path("base"))
    for _ in range(5):
        trainer.step(inputs, None, lr=lr)
    model.eval()
    return model, before


def frozen_change(thaw: str = "-") -> float:
    """The largest change of a weight outside of the vision tower's LoRA and the projections."""
    model, before = trained("vision_lora", thaw=thaw)
    after = merged_state(model)
    targets = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    free = {
        name
        for name in before
        if name in HEAD
        or (
            name.startswith("vision_model") and name.endswith(tuple(f"{t}.weight" for t in targets))
        )
    }
    assert all(not torch.equal(before[name], after[name]) for name in free)
    return max(float((after[name] - before[name]).abs().max()) for name in before.keys() - free)


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.eval()(**BATCH).logits_per_image
    return found


def published(alpha: float, *, keep_scale: bool = True) -> tuple[Any, Any, Any]:
    """Return base, tuned and the plain model between them."""
    tuned, _ = trained("dual_lora")
    start, _ = get_model("zero_shot", base=Path("base"))
    between, _ = get_model("zero_shot", base=Path("base"))
    ends = merged_state(start), merged_state(tuned)
    state = publish.interpolated(*ends, alpha)
    if not keep_scale:
        state["logit_scale"] = ends[0]["logit_scale"]
    between.load_state_dict(state)
    return start, tuned, between


def merge_error(*, keep_scale: bool = True) -> float:
    """alpha 0 against the base and alpha 1 against the tuned model, whose LoRA is not merged."""
    start, _, none = published(0.0)
    _, tuned, whole = published(1.0, keep_scale=keep_scale)
    return max(
        float((logits(none) - logits(start)).abs().max()),
        float((logits(whole) - logits(tuned)).abs().max()),
    )


def adapter_error(*, keep_scale: bool = True) -> float:
    """The adapter, saved and loaded again, against the merged model."""
    from furnclip.encoder import load_model

    _, tuned, whole = published(1.0)
    publish.save_adapter(
        tuned, Path("adapter"), base="base", published=whole.state_dict(), alpha=1.0
    )
    if not keep_scale:
        Path("adapter/logit_scale.safetensors").unlink()
    return float((logits(load_model(Path("adapter"))[0]) - logits(whole)).abs().max())


def misses(*, shuffled: bool) -> float:
    """Learn 64 pairs by heart; the share whose own picture is then not found first."""
    inputs = learning.noise(base())
    order = torch.randperm(learning.PAIRS, generator=torch.Generator().manual_seed(1))
    shown = Inputs(inputs.image, inputs.text[order]) if shuffled else inputs
    trainer = learning.make(Path("base"))
    for _ in range(150):
        trainer.step(shown, None, lr=2e-3)
    return 1 - learning.hit_at_1(trainer, inputs)


def checks() -> Iterator[Check]:
    yield Check(
        "each scenario trains exactly its parameters",
        "wrong names",
        0,
        wrong_names,
        "LoRA not kept to its tower",
        names_of_both_towers,
    )
    yield Check(
        "frozen parameters stay bit-identical",
        "largest change",
        0,
        frozen_change,
        "a layer norm left free",
        lambda: frozen_change("layer_norm1"),
    )
    yield Check(
        "alpha 0 is the base, alpha 1 the tuned model, merged",
        "logits",
        1e-5,
        merge_error,
        "logit_scale not written back",
        lambda: merge_error(keep_scale=False),
    )
    yield Check(
        "adapter saved and loaded gives the merged model",
        "logits",
        1e-5,
        adapter_error,
        "logit_scale not saved beside it",
        lambda: adapter_error(keep_scale=False),
    )
    yield Check(
        "64 pairs are learned by heart (hit@1 = 1)",
        "1 - hit@1",
        0,
        lambda: misses(shuffled=False),
        "trained on shuffled pairs",
        lambda: misses(shuffled=True),
    )
