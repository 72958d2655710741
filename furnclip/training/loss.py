"""Contrastive losses over a whole batch, with several right answers an image.

Two products of one catalogue often share a caption, and one product has several photos. Such
pairs are positives: counting them as negatives teaches the model to separate what is the same.
Everything here takes features in float32 or more; autocast stays outside.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MAX_LOGIT_SCALE = math.log(100.0)  # CLIP's own bound (Radford et al. 2021, section 2.5)
SIGLIP_LOGIT_SCALE = math.log(10.0)  # SigLIP's start values (Zhai et al. 2023, section 3.2)
SIGLIP_BIAS = -10.0


def positive_pairs(products: Tensor, captions: Tensor) -> Tensor | None:
    """Return the (n, n) boolean matrix of positives, or None when only the diagonal is.

    Pairs are positive when their ``products`` or their ``captions`` (int64 hashes, (n,)) agree.
    """
    import torch

    if all(len(torch.unique(names)) == len(names) for names in (products, captions)):
        return None
    same_product = products[:, None] == products[None, :]
    return same_product | (captions[:, None] == captions[None, :])


def clip_loss(
    image: Tensor, text: Tensor, logit_scale: Tensor, *, positives: Tensor | None = None
) -> Tensor:
    """Return the symmetric cross-entropy of Radford et al. 2021, with soft targets.

    ``image`` and ``text``: (n, d), not normalised. Each row's target is uniform over its
    positives; without repeats that is plain cross-entropy on the diagonal.
    """
    import torch
    from torch.nn import functional

    logits = _similarity(image, text) * logit_scale.exp()
    if positives is None:
        target = torch.arange(len(logits), device=logits.device)
    else:
        target = positives.to(logits.dtype)
        target = target / target.sum(dim=1, keepdim=True)
    forward = functional.cross_entropy(logits, target)
    return (forward + functional.cross_entropy(logits.T, target)) / 2


def siglip_loss(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor,
    *,
    positives: Tensor | None = None,
) -> Tensor:
    """Return the pairwise sigmoid loss of Zhai et al. 2023, arXiv:2303.15343, per image."""
    import torch
    from torch.nn import functional

    logits = _similarity(image, text) * logit_scale.exp() + logit_bias
    if positives is None:
        positives = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    signs = torch.where(positives, 1.0, -1.0).to(logits.dtype)
    return -functional.logsigmoid(signs * logits).sum() / len(logits)


def _similarity(image: Tensor, text: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).T
