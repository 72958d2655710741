"""The gradient of a contrastive loss over more pairs than fit in memory, exactly.

Accumulating gradients over micro-batches is wrong for a contrastive loss: negatives would stop at
the micro-batch. Gradient caching (Gao et al. 2021, arXiv:2101.06983) embeds every chunk without a
graph, takes the loss on all features, and embeds each chunk once more to carry the features'
gradients into the weights. The second pass replays the random state of the first, so that dropout
draws the same masks. The towers go one after the other, so that one tower's graph of one chunk is
the most that is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from furnclip.training.distributed import World

Chunk = TypeVar("Chunk")
Encode = Callable[[Chunk], "Tensor"]
PairLoss = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class RandomState:
    """Torch's random state on the CPU and on one accelerator; what dropout draws from."""

    cpu: Tensor
    device: Tensor | None

    @classmethod
    def capture(cls, device: torch.device) -> RandomState:
        """Copy the state now."""
        import torch

        on_gpu = device.type == "cuda"
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if on_gpu else None)

    def restore(self, device: torch.device) -> None:
        """Put the state back."""
        import torch

        torch.set_rng_state(self.cpu)
        if self.device is not None:
            torch.cuda.set_rng_state(self.device, device)


def contrastive_backward(
    chunks: Sequence[Chunk],
    encode: tuple[Encode[Chunk], Encode[Chunk]],
    loss: PairLoss,
    *,
    device: torch.device,
    world: World,
    scale: float = 1.0,
) -> Tensor:
    """Add the loss's gradient to ``.grad`` of the parameters, one chunk of one tower at a time.

    ``encode`` turns a chunk into image and into text features, (m, d) each; ``loss`` maps the
    features of all ranks, in rank order, to a scalar. Each rank ends with its own share: sum the
    gradients over ranks with ``World.reduce_gradients``. ``scale`` multiplies the gradient (fp16
    loss scaling). Returns the loss, detached.

    Raises ``torch.OutOfMemoryError`` on every rank when any rank ran out.
    """
    import torch

    units = [_Unit(side, chunk) for side in (_TEXT, _IMAGE) for chunk in chunks]
    with world.out_of_memory_together():
        for place, unit in enumerate(units, 1):
            # The last graph is kept: nothing is embedded between it and the backward pass.
            unit.embed(encode, device, graph=len(chunks) == 1 or place == len(units))
    after = RandomState.capture(device)
    image, text = (
        world.gather_rows(torch.cat([u.features.detach() for u in units if u.side == side]))
        for side in (_IMAGE, _TEXT)
    )
    image.requires_grad_()
    text.requires_grad_()
    value = loss(_at_least_fp32(image), _at_least_fp32(text))
    torch.autograd.backward(value * scale)
    gradients = {_IMAGE: world.own_rows(image.grad), _TEXT: world.own_rows(text.grad)}
    starts = {_IMAGE: len(gradients[_IMAGE]), _TEXT: len(gradients[_TEXT])}
    with world.out_of_memory_together():
        for unit in reversed(units):
            starts[unit.side] -= len(unit.features)
            rows = slice(starts[unit.side], starts[unit.side] + len(unit.features))
            unit.carry(gradients[unit.side][rows], encode, device)
    after.restore(device)
    return torch.as_tensor(value.detach())


_IMAGE, _TEXT = 0, 1


@dataclass
class _Unit(Generic[Chunk]):
    """One chunk in one tower: embedded for the loss, and once more for its gradient."""

    side: int
    chunk: Chunk

    def embed(
        self, encode: tuple[Encode[Chunk], Encode[Chunk]], device: torch.device, *, graph: bool
    ) -> None:
        import torch

        self.state = RandomState.capture(device)
        self.graph = graph
        with torch.set_grad_enabled(graph):
            self.features = encode[self.side](self.chunk)

    def carry(
        self, gradient: Tensor, encode: tuple[Encode[Chunk], Encode[Chunk]], device: torch.device
    ) -> None:
        """Backpropagate ``gradient`` of the features; a fixed tower's have no graph."""
        import torch

        if not self.graph:
            self.state.restore(device)
            self.features = encode[self.side](self.chunk)
        if self.features.requires_grad:
            torch.autograd.backward(self.features, gradient.to(self.features.dtype))
        self.features = self.features.detach()


def _at_least_fp32(features: Tensor) -> Tensor:
    import torch

    return features.to(torch.promote_types(features.dtype, torch.float32))
