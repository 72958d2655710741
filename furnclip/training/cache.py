"""The gradient of a contrastive loss over more pairs than fit in memory, exactly.

Accumulating gradients over micro-batches is wrong for a contrastive loss: negatives would stop at
the micro-batch. Gradient caching (Gao et al. 2021, arXiv:2101.06983) embeds every chunk without a
graph, takes the loss on all features, and embeds each chunk once more to carry the features'
gradients into the weights. The second pass replays the random state of the first, so that dropout
draws the same masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from furnclip.training.distributed import World

Chunk = TypeVar("Chunk")
Encode = Callable[[Chunk], "tuple[Tensor, Tensor]"]
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
    encode: Encode[Chunk],
    loss: PairLoss,
    *,
    device: torch.device,
    world: World,
    scale: float = 1.0,
) -> Tensor:
    """Add the gradient of ``loss`` over all pairs of all ranks to the parameters' ``grad``.

    ``encode`` maps a chunk to (image, text) features (m, d) each; ``loss`` maps the features of
    all ranks, in rank order, to a scalar. One chunk needs no second pass: its graph is kept. Each
    rank ends with its own share: sum the gradients over ranks with ``World.reduce_gradients``.
    ``scale`` multiplies the gradient (fp16 loss scaling). Returns the loss, detached.

    Raises ``torch.OutOfMemoryError`` on every rank when any rank ran out.
    """
    import torch

    image, text, states = _first_pass(chunks, encode, device=device, world=world)
    all_image, all_text = world.gather_rows(image.detach()), world.gather_rows(text.detach())
    all_image.requires_grad_()
    all_text.requires_grad_()
    value = loss(_at_least_fp32(all_image), _at_least_fp32(all_text))
    torch.autograd.backward(value * scale)
    image_grad, text_grad = world.own_rows(all_image.grad), world.own_rows(all_text.grad)
    with world.out_of_memory_together():
        if len(chunks) == 1:
            _carry((image, text), (image_grad, text_grad))
        else:
            start = 0
            for chunk, state in zip(chunks, states, strict=True):
                state.restore(device)
                features = encode(chunk)
                rows = slice(start, start + len(features[0]))
                _carry(features, (image_grad[rows], text_grad[rows]))
                start = rows.stop
    return torch.as_tensor(value.detach())


def _first_pass(
    chunks: Sequence[Chunk], encode: Encode[Chunk], *, device: torch.device, world: World
) -> tuple[Tensor, Tensor, list[RandomState]]:
    """Embed all chunks; with a graph only when there is just one."""
    import torch

    states: list[RandomState] = []
    features: list[tuple[Tensor, Tensor]] = []
    with world.out_of_memory_together(), torch.set_grad_enabled(len(chunks) == 1):
        for chunk in chunks:
            states.append(RandomState.capture(device))
            features.append(encode(chunk))
    image, text = (torch.cat(side) for side in zip(*features, strict=True))
    return image, text, states


def _carry(features: tuple[Tensor, ...], gradients: tuple[Tensor, ...]) -> None:
    """Backpropagate through the features that have a graph; a fixed tower's have none."""
    import torch

    live = [(f, g.to(f.dtype)) for f, g in zip(features, gradients, strict=True) if f.requires_grad]
    torch.autograd.backward([f for f, _ in live], [g for _, g in live])


def _at_least_fp32(features: Tensor) -> Tensor:
    import torch

    return features.to(torch.promote_types(features.dtype, torch.float32))
