import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from furnclip.config import TrainingSettings
from furnclip.training.augment import ImageTransform
from furnclip.training.distributed import World
from furnclip.training.loss import MAX_LOGIT_SCALE
from furnclip.training.memory import fitting_micro_batch, saved_bytes
from furnclip.training.model import get_model
from furnclip.training.towers import Inputs, Towers
from furnclip.training.trainer import Objective, Trainer
from tests.tiny import build_tiny_clip

PAIRS = 64
SETTINGS = TrainingSettings(micro_batch_size=PAIRS, weight_decay=0.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_clip(tmp_path_factory.mktemp("base"))


def make(base: Path, scenario: str = "unfrozen_targets") -> Trainer:
    torch.manual_seed(0)
    model, processor = get_model(scenario, base=base, unfrozen_targets=(".*",))
    towers = Towers(model, ImageTransform.of(processor, "none"), device="cpu")
    return Trainer(towers, Objective(towers, "clip"), World(sizes=[PAIRS]), SETTINGS)


def noise(base: Path) -> Inputs:
    text = json.loads((base / "config.json").read_text())["text_config"]
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (PAIRS, 3, 4, 4), dtype=torch.uint8, generator=generator)
    ids = torch.randint(0, 300, (PAIRS, 8), generator=generator)
    ids[:, 0], ids[:, -1] = text["bos_token_id"], text["eos_token_id"]
    return Inputs(pixels.repeat_interleave(8, 2).repeat_interleave(8, 3), ids)


def hit_at_1(trainer: Trainer, inputs: Inputs) -> float:
    trainer.towers.eval()
    with torch.no_grad():
        image, text = (functional.normalize(f) for f in trainer.towers.encode(inputs))
    return float(((text @ image.T).argmax(dim=1) == torch.arange(PAIRS)).float().mean())


def test_64_pairs_are_learned_by_heart_and_shuffled_ones_teach_nothing(base: Path) -> None:
    inputs = noise(base)
    order = torch.randperm(PAIRS, generator=torch.Generator().manual_seed(1))
    shuffled = Inputs(inputs.image, inputs.text[order])
    right, wrong = make(base), make(base)
    for _ in range(150):
        right.step(inputs, None, lr=2e-3)
        wrong.step(shuffled, None, lr=2e-3)
    assert hit_at_1(right, inputs) == 1.0
    assert hit_at_1(wrong, shuffled) > 0.9, "it did learn what it was shown"
    assert hit_at_1(wrong, inputs) < 0.1


def test_logit_scale_is_learned_and_clamped(base: Path) -> None:
    trainer = make(base)
    with torch.no_grad():
        trainer.objective.scale.fill_(MAX_LOGIT_SCALE + 1)
    assert trainer.step(noise(base), None, lr=1e-3).logit_scale == pytest.approx(100.0, rel=1e-5)
    with torch.no_grad():
        trainer.objective.scale.fill_(2.0)
    before = float(trainer.objective.scale.detach())
    trainer.step(noise(base), None, lr=1e-3)
    assert float(trainer.objective.scale.detach()) != before


def test_vectors_and_scalars_are_not_decayed(base: Path) -> None:
    decayed, kept = make(base).optimizer.param_groups
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert all(p.ndim < 2 for p in kept["params"])
    assert kept["weight_decay"] == 0.0
    assert TrainingSettings().weight_decay == 0.1


def test_probe_counts_what_the_backward_pass_keeps(base: Path) -> None:
    trainer, inputs = make(base), noise(base)
    one, two = (saved_bytes(trainer.towers, inputs.chunks(n)[0]) for n in (8, 16))
    assert 1.9 < two / one < 2.1
    frozen = make(base, "linear_probe")
    assert saved_bytes(frozen.towers, inputs) < 0.05 * saved_bytes(trainer.towers, inputs)


def test_probe_leaves_random_state_and_gradients_alone(base: Path) -> None:
    trainer = make(base, "dual_lora")
    before = torch.get_rng_state()
    assert fitting_micro_batch(trainer.towers, noise(base)) == PAIRS
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in trainer.parameters.values())


def test_probe_finds_a_power_of_two_when_memory_is_short(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from furnclip.training import memory

    trainer, inputs = make(base), noise(base)
    a_pair = saved_bytes(trainer.towers, inputs.chunks(8)[0]) / 8
    monkeypatch.setattr(memory, "free_bytes", lambda _: int(a_pair * 2 * 21))
    assert fitting_micro_batch(trainer.towers, inputs) == 16
    monkeypatch.setattr(memory, "free_bytes", lambda _: 0)
    assert fitting_micro_batch(trainer.towers, inputs) == 1
