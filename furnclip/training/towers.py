"""The two halves of a CLIP model as training uses them: inputs in, projected features out.

A frozen tower gives the same pooled features every time, so they may stand in for its inputs:
uint8 pixels or integer token ids are raw, floating point values are pooled features already.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from furnclip.training.augment import ImageTransform
from furnclip.training.model import clip_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Inputs:
    """Pairs on the model's device, one a row.

    ``image``: uint8 (n, 3, s, s) or pooled (n, width). ``text``: ids (n, L) or pooled (n, width).
    ``draws``: the augmentation's random numbers, (n, 12), or None.
    """

    image: Tensor
    text: Tensor
    draws: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)

    def chunks(self, size: int) -> list[Inputs]:
        """Split into chunks of at most ``size`` rows."""
        return [self._rows(slice(i, i + size)) for i in range(0, len(self), size)]

    def _rows(self, rows: slice) -> Inputs:
        draws = None if self.draws is None else self.draws[rows]
        return Inputs(self.image[rows], self.text[rows], draws)


class Towers:
    """A CLIP model (LoRA inside or not) on one device in one precision.

    ``precision`` is what the towers compute in (autocast; fp64 needs weights of that kind);
    features leave in float32 or more.
    """

    def __init__(
        self,
        model: nn.Module,
        transform: ImageTransform,
        *,
        device: str,
        precision: str = "fp32",
        compiled: bool = False,
    ) -> None:
        import torch

        self.model, self.transform = model, transform
        self.clip: Any = clip_of(model)
        self.device = torch.device(device)
        self.precision = precision
        self.image_frozen = not _trained(self.clip.vision_model)
        self.text_frozen = not _trained(self.clip.text_model)
        vision, text = self.clip.vision_model, self.clip.text_model
        self._vision: Any = torch.compile(vision) if compiled else vision
        self._text: Any = torch.compile(text) if compiled else text

    def train(self) -> None:
        """Switch dropout on, in the towers that are trained."""
        self.model.train()
        if self.image_frozen:
            self.clip.vision_model.eval()
        if self.text_frozen:
            self.clip.text_model.eval()

    def eval(self) -> None:
        """Switch dropout off."""
        self.model.eval()

    def encode(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return image and text features, (n, d) each, not normalised."""
        return self.encode_image(inputs), self.encode_text(inputs)

    def encode_image(self, inputs: Inputs) -> Tensor:
        """Return image features, (n, d), not normalised."""
        with self._autocast():
            features: Tensor = self.clip.visual_projection(self._pooled_image(inputs))
        return features

    def encode_text(self, inputs: Inputs) -> Tensor:
        """Return text features, (n, d), not normalised."""
        with self._autocast():
            features: Tensor = self.clip.text_projection(self._pooled_text(inputs))
        return features

    def pool_frozen(self, inputs: Inputs, *, micro_batch_size: int) -> Inputs:
        """Run the frozen towers now, so that the loss runs each of them once and not twice."""
        import torch

        if not (self.image_frozen or self.text_frozen):
            return inputs
        image, text = inputs.image, inputs.text
        with torch.no_grad(), self._autocast():
            if self.image_frozen and not image.is_floating_point():
                chunks = inputs.chunks(micro_batch_size)
                image = torch.cat([self._pooled_image(chunk) for chunk in chunks])
            if self.text_frozen and not text.is_floating_point():
                chunks = inputs.chunks(micro_batch_size)
                text = torch.cat([self._pooled_text(chunk) for chunk in chunks])
        return Inputs(image, text, inputs.draws)

    def _pooled_image(self, inputs: Inputs) -> Tensor:
        if inputs.image.is_floating_point():
            return inputs.image
        pixels = self.transform(inputs.image, inputs.draws)
        pooled: Tensor = self._vision(pixel_values=pixels.to(self.clip.dtype)).pooler_output
        return pooled

    def _pooled_text(self, inputs: Inputs) -> Tensor:
        if inputs.text.is_floating_point():
            return inputs.text
        pooled: Tensor = self._text(input_ids=inputs.text.long()).pooler_output
        return pooled

    def _autocast(self) -> AbstractContextManager[Any]:
        import torch

        if self.precision in {"fp32", "fp64"}:
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)


def training_precision(name: str, device: str) -> str:
    """Resolve ``auto``: bf16 on a GPU that computes in it, else fp32.

    Not on CPUs: autocast's casts cost a small model more than the faster products give back.
    """
    import torch

    if name != "auto":
        return name
    on_gpu = device.startswith("cuda")
    return "bf16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def _trained(module: torch.nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
