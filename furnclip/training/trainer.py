"""One optimiser step, exactly, whatever fits in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from furnclip.config import TrainingSettings
from furnclip.errors import FurnclipError
from furnclip.training.cache import RandomState, contrastive_backward
from furnclip.training.distributed import World
from furnclip.training.loss import (
    MAX_LOGIT_SCALE,
    SIGLIP_BIAS,
    SIGLIP_LOGIT_SCALE,
    clip_loss,
    siglip_loss,
)
from furnclip.training.model import trainable
from furnclip.training.towers import Inputs, Towers

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class StepOutcome:
    """``grad_norm`` is taken before clipping."""

    loss: float
    grad_norm: float
    logit_scale: float


class Objective:
    """The loss over a batch's features, with the scale (and SigLIP's bias) it learns."""

    def __init__(self, towers: Towers, kind: str) -> None:
        import torch

        self.scale: nn.Parameter = towers.clip.logit_scale
        self.bias: nn.Parameter | None = None
        if kind == "siglip":
            # CLIPModel has no bias; the published start values suit any normalised features.
            self.bias = torch.nn.Parameter(torch.tensor(SIGLIP_BIAS, device=towers.device))
            with torch.no_grad():
                self.scale.fill_(SIGLIP_LOGIT_SCALE)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Return what is not the model's own."""
        return {} if self.bias is None else {"logit_bias": self.bias}

    @property
    def replicated(self) -> list[nn.Parameter]:
        """Return the parameters that act on all ranks' features."""
        return [self.scale, *self.parameters.values()]

    def __call__(self, image: Tensor, text: Tensor, positives: Tensor | None) -> Tensor:
        """Return the loss of (n, d) features."""
        if self.bias is None:
            return clip_loss(image, text, self.scale, positives=positives)
        return siglip_loss(image, text, self.scale, self.bias, positives=positives)

    def clamp(self) -> None:
        """Keep the learned scale within CLIP's bounds, after each step."""
        import torch

        with torch.no_grad():
            self.scale.clamp_(0.0, MAX_LOGIT_SCALE)


class Trainer:
    """The trained parameters, their optimiser, and what one step does to them.

    Make it once the model is on its device. ``micro_batch_size`` 0 must be set before a step.
    """

    def __init__(
        self, towers: Towers, objective: Objective, world: World, settings: TrainingSettings
    ) -> None:
        import torch

        self.towers, self.objective, self.world = towers, objective, world
        self.micro_batch_size = settings.micro_batch_size
        self.parameters = trainable(towers.model) | objective.parameters
        self.optimizer = adamw(self.parameters, settings, towers.device)
        self.scaler = torch.amp.GradScaler(towers.device.type, enabled=towers.precision == "fp16")
        self.scaler.scale(torch.ones((), device=towers.device))  # it is lazy about its scale
        self._grad_clip = settings.grad_clip

    def step(self, inputs: Inputs, positives: Tensor | None, *, lr: float) -> StepOutcome:
        """Take one step on the pairs of all ranks; ``inputs`` are this rank's.

        When memory runs out the micro-batch is halved and the step begun again, from the same
        random state: the objective stays what it was. Raises ``FurnclipError`` when one pair
        does not fit, or when the loss is no longer a number.
        """
        import torch

        start = RandomState.capture(self.towers.device)
        self.towers.train()
        loss: Tensor | None = None
        while loss is None:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                loss = self._backward(inputs, positives)
            except torch.OutOfMemoryError:
                loss = None
            if loss is None:  # outside of the handler, which keeps the failed graph alive
                self._halve(len(inputs))
                start.restore(self.towers.device)
        return self._update(float(loss), lr)

    def _backward(self, inputs: Inputs, positives: Tensor | None) -> Tensor:
        pooled = inputs
        with self.world.out_of_memory_together():
            pooled = self.towers.pool_frozen(inputs, micro_batch_size=self.micro_batch_size)
        return contrastive_backward(
            pooled.chunks(self.micro_batch_size),
            (self.towers.encode_image, self.towers.encode_text),
            lambda image, text: self.objective(image, text, positives),
            device=self.towers.device,
            world=self.world,
            scale=float(self.scaler.get_scale()),
        )

    def _halve(self, rows: int) -> None:
        import torch

        smaller = self.world.smallest(min(self.micro_batch_size, rows) // 2)
        if smaller < 1:
            raise FurnclipError(
                "one pair does not fit in memory",
                hint="use a smaller model, --precision bf16, or gradient_checkpointing = true",
            )
        self.micro_batch_size = smaller
        if self.towers.device.type == "cuda":
            torch.cuda.empty_cache()

    def _update(self, loss: float, lr: float) -> StepOutcome:
        import torch

        if not math.isfinite(loss):
            raise FurnclipError(
                f"the loss became {loss}", hint="lower --lr, or use --precision fp32 or bf16"
            )
        self.world.reduce_gradients(
            list(self.parameters.values()), replicated=self.objective.replicated
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self._grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.objective.clamp()
        return StepOutcome(loss, float(norm), float(self.objective.scale.detach().exp()))


def adamw(
    parameters: Mapping[str, nn.Parameter], settings: TrainingSettings, device: torch.device
) -> torch.optim.Optimizer:
    """Return AdamW with CLIP's betas; vectors and scalars are not decayed.

    Loshchilov and Hutter 2017, arXiv:1711.05101; betas and eps of Radford et al. 2021, table 18.
    """
    import torch

    matrices = [p for p in parameters.values() if p.ndim >= 2]
    vectors = [p for p in parameters.values() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        betas=(0.9, 0.98),
        eps=1e-6,
        fused=device.type in {"cuda", "cpu"},
    )
