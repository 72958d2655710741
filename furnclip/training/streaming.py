"""Remote shards, streamed through webdataset.

Best effort where local shards are exact: shards are drawn with replacement (``resampled``), an
"epoch" is a number of samples, and a position cannot be resumed. For exact epochs copy the
shards and give their folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from furnclip.errors import DataError
from furnclip.training.data import product_of, tokenised, trimmed
from furnclip.training.remote import open_remote

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    import torch
    from torch import Tensor
    from transformers import CLIPProcessor

_SHUFFLE_BUFFER = 2_000


def stream_samples(
    urls: str | list[str],
    processor: CLIPProcessor,
    *,
    batch_size: int,
    workers: int,
    seed: int,
    shuffled: bool,
    batches: int | None = None,
) -> Any:
    """Return an iterable of lists of (uint8 pixels, caption, product).

    ``shuffled`` draws shards with replacement and never ends, unless after ``batches``; otherwise
    every shard is read once.
    """
    import webdataset as wds

    _open_s3_with_fsspec()
    source = wds.WebDataset(
        urls,
        resampled=shuffled,
        shardshuffle=False,
        seed=seed,
        empty_check=False,
        nodesplitter=wds.split_by_node,
    )
    if shuffled:
        source = source.shuffle(_SHUFFLE_BUFFER, seed=seed)
    found = source.map(_Decode(_side(processor))).batched(batch_size, collation_fn=list)
    if batches is not None:
        found = found.with_epoch(batches)
    return wds.WebLoader(
        found,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=_fresh_processes() if workers else None,
    )


def stream_batches(
    urls: str,
    processor: CLIPProcessor,
    *,
    is_train: bool,
    batch_size: int,
    augmentation: str,
    workers: int,
    seed: int,
    device: str | torch.device,
    epoch_samples: int | None = None,
) -> RemoteBatches:
    """Return an iterable of batches as ``get_wds_pipeline`` describes.

    ``epoch_samples`` ends a pass; without it a pass over training data never ends and one over
    other data reads every shard once.
    """
    loader = stream_samples(
        urls,
        processor,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
        shuffled=is_train,
        batches=None if epoch_samples is None else -(-epoch_samples // batch_size),
    )
    kind = augmentation if is_train else "none"
    return RemoteBatches(loader, processor, augmentation=kind, seed=seed, device=device)


class RemoteBatches:
    """Batches of decoded samples, tokenised, augmented and moved to the device."""

    def __init__(
        self,
        loader: Any,
        processor: CLIPProcessor,
        *,
        augmentation: str,
        seed: int,
        device: str | torch.device,
    ) -> None:
        import torch

        from furnclip.training.augment import ImageTransform

        self._loader, self._processor, self._device = loader, processor, device
        self._transform = ImageTransform.of(processor, augmentation)
        self._generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        import torch

        tokenizer: Any = self._processor.tokenizer
        for samples in self._loader:
            pixels = torch.stack([pixels for pixels, _, _ in samples]).to(self._device)
            draws = self._transform.draw(len(samples), self._generator)
            ids, lengths = tokenised(
                [text for _, text, _ in samples],
                self._processor,
                max_length=tokenizer.model_max_length,
            )
            yield {
                "pixel_values": self._transform(
                    pixels, None if draws is None else draws.to(self._device)
                ),
                "input_ids": trimmed(ids, lengths).long().to(self._device),
            }


def _open_s3_with_fsspec() -> None:
    """Teach webdataset ``s3://``, which it does not open by itself (extra ``s3``).

    Credentials, region and endpoint come from where the AWS tools look for them.
    """
    import webdataset as wds

    wds.gopen_schemes.setdefault("s3", _read_s3)


def _read_s3(url: str, *_mode: str, **_options: object) -> IO[bytes]:
    return open_remote(url)


def _fresh_processes() -> BaseContext:
    """Return how workers start: a fork would inherit the S3 client and locks its threads hold."""
    import multiprocessing

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "webdataset", __name__])
    return context


class _Decode:
    """Turn one raw sample into (uint8 pixels, caption, product); runs in the workers."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore in a worker, whose webdataset has not been taught yet."""
        self.__dict__.update(state)
        _open_s3_with_fsspec()

    def __call__(self, sample: dict[str, Any]) -> tuple[Tensor, str, str]:
        import numpy as np
        import torch

        from furnclip.images import load_letterboxed

        encoded = next((sample[k] for k in ("jpg", "jpeg", "png", "webp") if k in sample), None)
        if encoded is None:
            raise DataError(f"{sample.get('__url__')}: {sample.get('__key__')} has no image")
        image = load_letterboxed(encoded, self._size, allow_truncated=True).pixels
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        meta = json.loads(sample.get("json", b"{}"))
        return pixels, sample.get("txt", b"").decode(), product_of(meta, str(sample["__key__"]))


def _side(processor: CLIPProcessor) -> int:
    from furnclip.training.pixels import image_size

    return image_size(processor)
