"""The same model in less time and memory: forwards exchanged, weights and mathematics kept.

What is exchanged are attributes of the module objects, so checkpoints are saved and loaded as
before. Features are those of the plain model but for rounding; of what the vision tower returns,
``pooler_output`` alone is kept (``last_hidden_state`` holds one token).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from furnclip.training.lora import quicken_lora
from furnclip.training.model import clip_of

if TYPE_CHECKING:
    from torch import Tensor, nn


def quicken(model: nn.Module) -> None:
    """Exchange what is slow in ``transformers``' and peft's forward passes, in place."""
    from transformers.activations import QuickGELUActivation

    quicken_lora(model)
    gelu = _quick_gelu()
    for module in model.modules():
        if isinstance(module, QuickGELUActivation):
            vars(module)["forward"] = gelu.apply
    last = clip_of(model).vision_model.encoder.layers[-1]
    vars(last)["forward"] = partial(_class_token_alone, last)


def _class_token_alone(
    layer: Any, hidden_states: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> Tensor:
    """Return the class token after the last layer, (n, 1, width), of (n, tokens, width).

    CLIP pools that token and drops the others, so their way through the last MLP is saved: a
    twentieth of a tower of 12 layers.
    """
    mixed, _ = layer.self_attn(layer.layer_norm1(hidden_states), attention_mask, **kwargs)
    token = hidden_states[:, :1] + mixed[:, :1]
    out: Tensor = token + layer.mlp(layer.layer_norm2(token))
    return out


def _quick_gelu() -> Any:
    """Return the autograd function; a class that cannot be made before torch is imported."""
    import torch

    class QuickGelu(torch.autograd.Function):
        """``x sigmoid(1.702 x)``, that is silu(1.702 x) / 1.702, whose gradient is one fused pass.

        Keeps one tensor of the input's shape; ``transformers``' products keep two. The forward is
        not silu's, whose division would round once more in half precision.
        """

        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            scaled = x * 1.702
            ctx.save_for_backward(scaled)
            return torch.sigmoid(scaled).mul_(x)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Any:
            (scaled,) = ctx.saved_tensors
            return torch.ops.aten.silu_backward(gradients[0], scaled)

    return QuickGelu
