"""How many pairs fit in memory at once, found by measuring two pairs instead of by crashing.

The backward pass needs what autograd saves, and that grows with the number of pairs. Counting the
saved bytes of a forward pass over a few pairs gives bytes a pair, without stepping and without
touching the random state.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from furnclip.training.cache import RandomState
from furnclip.training.towers import Inputs, Towers

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SHARE = 0.5  # of free memory; the rest is for temporaries, gradients and the allocator's slack
_PROBED = 8


def fitting_micro_batch(towers: Towers, inputs: Inputs) -> int:
    """Return how many of the pairs fit at once: all of them, or a power of two.

    An estimate on the safe side; the trainer halves it when memory runs out all the same.
    """
    wanted = len(inputs)
    sample = inputs.chunks(min(_PROBED, wanted))[0]
    room = free_bytes(towers.device) * _SHARE
    affordable = int(room / max(1.0, saved_bytes(towers, sample) / len(sample)))
    if affordable >= wanted:
        return wanted
    return 1 << max(0, affordable.bit_length() - 1)


def saved_bytes(towers: Towers, inputs: Inputs) -> int:
    """Return the bytes autograd keeps for the backward pass of these pairs, weights left out."""
    import torch

    weights = {parameter.untyped_storage().data_ptr() for parameter in towers.model.parameters()}
    seen: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    state = RandomState.capture(towers.device)
    pack = torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor)
    towers.train()
    with pack:
        kept = towers.encode(inputs)
    del kept
    state.restore(towers.device)
    return sum(seen.values())


def free_bytes(device: torch.device) -> int:
    """Return the free memory of the device; on a CPU also bounded by the container's limit."""
    import torch

    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    available = 4 * 2**30
    with suppress(OSError):
        fields = dict(
            line.split(":", 1) for line in Path("/proc/meminfo").read_text("ascii").splitlines()
        )
        available = int(fields["MemAvailable"].split()[0]) * 1024
    with suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text("ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text("ascii"))
        available = min(available, limit - used)
    return max(0, available)


def used_mib(device: torch.device) -> float:
    """Return the peak memory so far: of the GPU's allocator, else of this process."""
    import resource
    import sys

    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
