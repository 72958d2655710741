"""Augmentation and normalisation of a batch of uint8 images, on the device they are on.

Randomness comes in as uniform draws, one row an image, made from a generator the caller seeds
with its position in training. So the result depends on neither workers, ranks nor micro-batches,
and the second pass of gradient caching sees the pixels of the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import CLIPProcessor

_DRAWS = 12  # uniform numbers an image, whatever the kind: switching kinds keeps the order


@dataclass(frozen=True)
class ImageTransform:
    """From uint8 pixels to what the model takes, changed on the way as ``kind`` says.

    ``none``: only normalised. ``simple``: flip, crop to 0.85-1 of a side. ``advanced``: flip, crop
    to 0.6-1, rotation within 10 degrees, brightness, contrast and saturation within 20 %, a grey
    box a quarter of the time. Hue is left alone, since colour is what people search by.
    """

    kind: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, processor: CLIPProcessor, kind: str) -> ImageTransform:
        """Normalise as the model's processor does."""
        from furnclip.training.pixels import channel_statistics

        mean, std = channel_statistics(processor)
        return cls(kind, tuple(mean), tuple(std))

    def draw(self, rows: int, generator: torch.Generator) -> Tensor | None:
        """Return (rows, 12) uniform draws, or None when nothing is random."""
        import torch

        return None if self.kind == "none" else torch.rand(rows, _DRAWS, generator=generator)

    def __call__(self, pixels: Tensor, draws: Tensor | None) -> Tensor:
        """Turn uint8 (n, 3, s, s) into normalised float32 of the same shape."""
        if draws is not None and self.kind == "advanced":
            images = _recoloured(_turned(pixels.float(), draws), draws)
            return self._normalised(_boxed(images, draws))
        with one_thread(pixels.device):
            if draws is not None and self.kind == "simple":
                pixels = _cropped(pixels, draws)
            return self._normalised(pixels)

    def _normalised(self, images: Tensor) -> Tensor:
        """Turn 0-255 into the model's units, float32; channels last on a CPU."""
        import torch

        mean, std = (torch.tensor(each, device=images.device) for each in (self.mean, self.std))
        scale, shift = 1 / (255 * std), mean / std
        if images.device.type != "cpu":
            found = images.to(torch.float32, memory_format=torch.contiguous_format)
            return found.mul_(scale.view(1, 3, 1, 1)).sub_(shift.view(1, 3, 1, 1))
        # Rows of 3 w numbers: the arithmetic is vectorised.
        last = images.movedim(1, -1)
        rows, width = last.flatten(2), last.shape[2]
        found = rows.to(torch.float32).mul_(scale.repeat(width)).sub_(shift.repeat(width))
        return found.view(last.shape).movedim(-1, 1)


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Have torch work in the calling thread alone, on a CPU.

    What one image takes is too short to share: threads would wait for each other where the
    decoders are at work, which makes a loader with ``simple`` a fifth slower on two cores. The
    number is the process's: a thread that uses torch for the first time meanwhile keeps one.
    """
    import torch

    if device.type != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cropped(pixels: Tensor, draws: Tensor) -> Tensor:
    """Flip, and enlarge a square of whole pixels."""
    size = pixels.shape[-1]
    sides = (size * (1 - draws[:, 1] * 0.15)).round()
    corners = ((size + 1 - sides)[:, None] * draws[:, 3:5]).floor()
    enlarged = _enlarged_bytes if pixels.device.type == "cpu" else _enlarged_floats
    return enlarged(pixels, sides, corners, draws[:, 0] < 0.5)


def _enlarged_bytes(pixels: Tensor, sides: Tensor, corners: Tensor, flips: Tensor) -> Tensor:
    """Return uint8: on a CPU a fifth of the time that sampling floats takes.

    With channels last, where torch has SIMD.
    """
    import torch
    from torch.nn import functional

    size = pixels.shape[-1]
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    found = torch.empty_like(pixels)
    boxes = torch.cat([sides[:, None], corners], dim=1).long().tolist()
    for row, (side, x, y) in enumerate(boxes):
        part = pixels[row : row + 1, :, y : y + side, x : x + side]
        square = functional.interpolate(part, size=(size, size), mode="bilinear")
        found[row] = square[0].flip(-1) if flips[row] else square[0]
    return found


def _enlarged_floats(pixels: Tensor, sides: Tensor, corners: Tensor, flips: Tensor) -> Tensor:
    """Return float32, the whole batch at once, as a GPU likes it."""
    import torch

    size = pixels.shape[-1]
    scale = sides / size
    zero = torch.zeros_like(scale)
    shift = (2 * corners + sides[:, None]) / size - 1
    flip = torch.where(flips, -scale, scale)
    return _sampled(pixels.to(torch.float32), (flip, zero), (zero, scale), shift)


def _turned(images: Tensor, draws: Tensor) -> Tensor:
    """Flip, crop and rotate in one resampling step; the border colour fills what comes in."""
    import torch

    flip = torch.where(draws[:, 0] < 0.5, -1.0, 1.0)
    scale = 1 - draws[:, 1] * 0.4
    angle = (2 * draws[:, 2] - 1) * math.radians(10)
    shift = (2 * draws[:, 3:5] - 1) * (1 - scale)[:, None]
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    return _sampled(images, (flip * cos, -sin), (flip * sin, cos), shift)


def _sampled(
    images: Tensor, right: tuple[Tensor, Tensor], down: tuple[Tensor, Tensor], shift: Tensor
) -> Tensor:
    """Sample each image at an affine map of its own, coordinates from -1 to 1."""
    import torch
    from torch.nn import functional

    rows = [torch.stack([*line, shift[:, at]], dim=1) for at, line in enumerate((right, down))]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _recoloured(images: Tensor, draws: Tensor) -> Tensor:
    brightness, contrast, saturation = (
        (0.8 + 0.4 * draws[:, column]).view(-1, 1, 1, 1) for column in (5, 6, 7)
    )
    images = images * brightness
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + (images - mean) * contrast
    grey = images.mean(dim=1, keepdim=True)
    return (grey + (images - grey) * saturation).clamp_(0, 255)


def _boxed(images: Tensor, draws: Tensor) -> Tensor:
    """Cover a box of up to a quarter of a side (Zhong et al. 2017, arXiv:1708.04896)."""
    import torch

    size = images.shape[-1]
    side = torch.where(draws[:, 8] < 0.25, (0.1 + 0.15 * draws[:, 9]) * size, torch.tensor(0.0))
    axis = torch.arange(size, device=images.device)
    inside = [
        (axis >= draws[:, c, None] * (size - side[:, None]))
        & (axis < draws[:, c, None] * (size - side[:, None]) + side[:, None])
        for c in (10, 11)
    ]
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 127.0)
