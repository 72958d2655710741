"""One process or many: the few collective operations training needs.

Ranks come from an initialised process group (Ray Train, SLURM launchers) or from the environment
``torchrun`` sets. With one process every operation is the identity and torch.distributed is never
touched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from furnclip.errors import FurnclipError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

# What gloo and NCCL say when a peer is gone; neither raises a class of its own.
_LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|timed out", re.IGNORECASE)


@dataclass
class World:
    """This process among all; ``sizes`` are the rows each rank holds of the current batch."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    owned: bool = False  # whether we initialised the process group, and so must end it
    sizes: Sequence[int] = ()

    @property
    def leader(self) -> bool:
        """Whether this rank writes files, records and progress."""
        return self.rank == 0

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Return the rows of all ranks in rank order; ``sizes`` says how many each holds."""
        if self.size == 1:
            return rows
        import torch
        from torch import distributed

        longest = max(self.sizes)
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, self.sizes, strict=True)])

    def gather_equal(self, value: Tensor) -> list[Tensor]:
        """Return every rank's ``value``, which has the same shape on all."""
        if self.size == 1:
            return [value]
        import torch
        from torch import distributed

        parts = [torch.empty_like(value) for _ in range(self.size)]
        distributed.all_gather(parts, value)
        return parts

    def own_rows(self, rows: Tensor | None) -> Tensor:
        """Return this rank's slice of rows gathered earlier."""
        if rows is None:
            raise ValueError("the loss does not depend on the features")
        if self.size == 1:
            return rows
        start = sum(self.sizes[: self.rank])
        return rows[start : start + self.sizes[self.rank]]

    def reduce_gradients(
        self, parameters: Sequence[nn.Parameter], *, replicated: Sequence[nn.Parameter]
    ) -> None:
        """Sum the ranks' gradients in one flat all-reduce.

        ``replicated`` parameters (``logit_scale``) act on the gathered features, so each rank has
        their whole gradient already: it is divided by the number of ranks first.
        """
        if self.size == 1:
            return
        import torch
        from torch import distributed

        for parameter in replicated:
            if parameter.grad is not None:
                parameter.grad /= self.size
        flat = torch.cat(
            [
                torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
                for p in parameters
            ]
        )
        distributed.all_reduce(flat)
        start = 0
        for parameter in parameters:
            parameter.grad = flat[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()

    def any(self, *, flag: bool) -> bool:
        """Tell whether the flag is set on any rank."""
        if self.size == 1:
            return flag
        import torch
        from torch import distributed

        raised = torch.tensor([float(flag)], device=self.device)
        distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
        return bool(raised.item())

    def smallest(self, value: int) -> int:
        """Return the smallest of the ranks' values."""
        if self.size == 1:
            return value
        import torch

        values = self.gather_equal(torch.tensor([value], device=self.device))
        return min(int(each.item()) for each in values)

    def of_leader(self, value: float) -> float:
        """Return the leader's value, so that all ranks decide alike."""
        if self.size == 1:
            return value
        import torch
        from torch import distributed

        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, src=0)
        return float(shared.item())

    def text_of_leader(self, text: str) -> str:
        """Return the leader's text: names made from a clock differ between processes."""
        if self.size == 1:
            return text
        import torch
        from torch import distributed

        length = int(self.of_leader(float(len(text.encode()))))
        letters = list(text.encode()) if self.leader else [0] * length
        shared = torch.tensor(letters, dtype=torch.uint8, device=self.device)
        distributed.broadcast(shared, src=0)
        return bytes(shared.cpu().tolist()).decode()

    @contextmanager
    def out_of_memory_together(self) -> Iterator[None]:
        """Raise ``torch.OutOfMemoryError`` on every rank when one runs out inside the block.

        A rank that left alone would leave the others waiting in the next collective.
        """
        import torch

        mine: torch.OutOfMemoryError | None = None
        try:
            yield
        except torch.OutOfMemoryError as error:
            mine = error
        if self.any(flag=mine is not None):
            raise mine or torch.OutOfMemoryError("another rank ran out of memory")

    @contextmanager
    def lost_processes_named(self, run_id: str) -> Iterator[None]:
        """Turn what a collective raises when another process died into ``FurnclipError``."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _LOST.search(str(error)):
                raise
            raise FurnclipError(
                f"another process of {run_id} is gone",
                hint="its own message says why; start the same torchrun command again with "
                f"--resume {run_id} (with --max-restarts torchrun goes on by itself)",
            ) from error

    def close(self) -> None:
        """End the process group if it was begun here."""
        if self.owned:
            from torch import distributed

            distributed.destroy_process_group()


def join_world(device: str) -> World:
    """Join the process group there is, begin the one ``torchrun`` asks for, or be alone.

    ``device`` is the one picked for a single process; under several ranks ``cuda`` becomes
    ``cuda:LOCAL_RANK``.
    """
    from torch import distributed

    wanted = int(os.environ.get("WORLD_SIZE", "1"))
    running = distributed.is_available() and distributed.is_initialized()
    if not running and wanted == 1:
        return World(device=device)
    if device == "cuda":
        import torch

        device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
        torch.cuda.set_device(device)
    if not running:
        if not distributed.is_available():
            raise UsageError("this build of torch cannot train on several processes")
        _begin("nccl" if device.startswith("cuda") else "gloo")
    return World(
        rank=distributed.get_rank(),
        size=distributed.get_world_size(),
        device=device,
        owned=not running,
    )


def _begin(backend: str) -> None:
    """Begin the process group, under a name of its own after each restart.

    On one node torchrun keeps its key-value store over a restart (torch 2.13), and gloo would find
    the addresses of the processes that died.
    """
    from torch import distributed

    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if restarts == "0" or os.environ.get("LOCAL_WORLD_SIZE") != os.environ["WORLD_SIZE"]:
        distributed.init_process_group(backend)
        return
    rendezvous: Any = distributed  # neither name is exported to type checkers
    store, rank, size = next(rendezvous.rendezvous("env://"))
    own = rendezvous.PrefixStore(f"restart-{restarts}", store)
    distributed.init_process_group(backend, store=own, rank=rank, world_size=size)
