import math

import pytest
import torch
from torch.nn import functional

from furnclip.training.loss import clip_loss, positive_pairs, siglip_loss

SCALE = torch.tensor(math.log(20.0), dtype=torch.float64)


def features(rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(rows, 8, dtype=torch.float64), torch.randn(rows, 8, dtype=torch.float64)


def logits(image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    return functional.normalize(image) @ functional.normalize(text).T * SCALE.exp()


def test_without_repeats_the_loss_is_cross_entropy_on_the_diagonal() -> None:
    image, text = features(7)
    scores, right = logits(image, text), torch.arange(7)
    expected = (
        functional.cross_entropy(scores, right) + functional.cross_entropy(scores.T, right)
    ) / 2
    assert clip_loss(image, text, SCALE) == expected
    soft = clip_loss(image, text, SCALE, positives=torch.eye(7, dtype=torch.bool))
    torch.testing.assert_close(soft, expected, rtol=1e-14, atol=0)


def test_same_product_or_same_caption_makes_a_positive() -> None:
    products, captions = torch.tensor([1, 1, 2, 3]), torch.tensor([5, 6, 7, 7])
    found = positive_pairs(products, captions)
    assert found is not None
    assert found.int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert positive_pairs(torch.arange(4), torch.arange(4)) is None


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_loss_does_not_change_when_equal_captions_are_swapped(kind: str) -> None:
    image, text = features(6)
    captions = torch.tensor([0, 1, 2, 2, 4, 5])
    positives = positive_pairs(torch.arange(6), captions)
    swapped = text[[0, 1, 3, 2, 4, 5]]

    def loss(text: torch.Tensor, positives: torch.Tensor | None) -> torch.Tensor:
        if kind == "clip":
            return clip_loss(image, text, SCALE, positives=positives)
        return siglip_loss(image, text, SCALE, torch.tensor(-5.0), positives=positives)

    torch.testing.assert_close(loss(text, positives), loss(swapped, positives))
    assert not torch.isclose(loss(text, None), loss(swapped, None))


def test_siglip_loss_by_hand() -> None:
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    bias = torch.tensor(-10.0, dtype=torch.float64)
    # Similarity is the identity: right pairs have logit 20 - 10, wrong ones 0 - 10.
    expected = 2 * (math.log1p(math.exp(-10)) + math.log1p(math.exp(-10))) / 2
    found = siglip_loss(image, image, SCALE, bias)
    assert float(found) == pytest.approx(expected, rel=1e-12)
