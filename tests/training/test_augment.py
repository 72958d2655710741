from collections.abc import Iterator
from typing import Any

import pytest
import torch
from PIL import Image

from furnclip.training.augment import ImageTransform, _enlarged_bytes, _enlarged_floats, one_thread
from furnclip.training.model import get_model
from tests.tiny import build_tiny_clip


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return get_model("zero_shot", base=build_tiny_clip(tmp_path_factory.mktemp("base")))[1]


def photos(rows: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (rows, 3, 32, 32), dtype=torch.uint8, generator=generator)


def test_without_augmentation_pixels_are_what_the_processor_gives(processor: Any) -> None:
    pixels = photos()
    transform = ImageTransform.of(processor, "none")
    assert transform.draw(4, torch.Generator()) is None
    images = [Image.fromarray(each.permute(1, 2, 0).numpy()) for each in pixels]
    expected = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(transform(pixels, None), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["simple", "advanced"])
def test_augmentation_depends_on_its_draws_alone_and_not_on_the_batch(
    processor: Any, kind: str
) -> None:
    transform, pixels = ImageTransform.of(processor, kind), photos()
    draws = transform.draw(4, torch.Generator().manual_seed(1))
    assert draws is not None
    whole = transform(pixels, draws)
    parts = torch.cat([transform(pixels[i : i + 1], draws[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(whole, parts)
    other = transform(pixels, transform.draw(4, torch.Generator().manual_seed(2)))
    assert not torch.allclose(whole, other, atol=0.1)
    assert whole.isfinite().all()


def test_simple_augmentation_flips_and_keeps_colours(processor: Any) -> None:
    transform = ImageTransform.of(processor, "simple")
    plain = torch.full((2, 3, 32, 32), 200, dtype=torch.uint8)
    untouched = ImageTransform.of(processor, "none")(plain, None)
    draws = torch.rand(2, 12)
    torch.testing.assert_close(transform(plain, draws), untouched, rtol=0, atol=1e-4)
    half = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    half[..., :16] = 255
    upright = torch.full((1, 12), 0.5)
    upright[:, 1] = 0.0  # no crop
    flipped = upright.clone()
    flipped[:, 0] = 0.0
    straight, mirrored = transform(half, upright), transform(half, flipped)
    torch.testing.assert_close(straight.flip(-1), mirrored, rtol=0, atol=1e-3)
    assert straight[0, 0, 0, 0] > straight[0, 0, 0, -1]


def test_bytes_on_a_cpu_and_floats_on_a_gpu_are_the_same_picture() -> None:
    pixels = photos(3)
    square = torch.tensor([32, 28, 20]), torch.tensor([[0, 0], [4, 1], [7, 12]])
    arguments = pixels, square[0].float(), square[1].float(), torch.tensor([True, True, False])
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))  # floats look past the square
    difference = _enlarged_bytes(*arguments).float()[inside] - _enlarged_floats(*arguments)[inside]
    assert difference.abs().max() <= 1  # bytes are rounded
    assert torch.equal(_enlarged_bytes(*arguments)[0], pixels[0].flip(-1))


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("kind", ["none", "simple", "advanced"])
def test_torch_has_its_threads_again_after_a_batch(kind: str) -> None:
    transform = ImageTransform(kind, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    pixels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    transform(pixels, torch.rand(2, 12))
    assert torch.get_num_threads() == 3
    with pytest.raises(RuntimeError):
        transform(pixels[:, :2], torch.rand(2, 12))
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(("device", "threads"), [("cpu", 1), ("cuda", 3)])
def test_one_thread_works_meanwhile(device: str, threads: int) -> None:
    with one_thread(torch.device(device)):
        assert torch.get_num_threads() == threads
