"""Remote shards, streamed through webdataset.

Best effort where local shards are exact: shards are drawn with replacement (``resampled``), an
"epoch" is a number of samples, and a position cannot be resumed. For exact epochs copy the
shards and give their folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, cast

from furnclip.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import CLIPProcessor

_SHUFFLE_BUFFER = 2_000


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
    import webdataset as wds

    _open_s3_with_fsspec()
    source = wds.WebDataset(
        urls,
        resampled=is_train,
        shardshuffle=False,
        seed=seed,
        empty_check=False,
        nodesplitter=wds.split_by_node,
    )
    if is_train:
        source = source.shuffle(_SHUFFLE_BUFFER, seed=seed)
    batches = source.map(_Decode(_side(processor))).batched(batch_size, collation_fn=list)
    if epoch_samples is not None:
        batches = batches.with_epoch(-(-epoch_samples // batch_size))
    loader = wds.WebLoader(batches, batch_size=None, num_workers=workers)
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

        from furnclip.training.data import tokenised, trimmed

        tokenizer: Any = self._processor.tokenizer
        for samples in self._loader:
            pixels = torch.stack([pixels for pixels, _ in samples]).to(self._device)
            draws = self._transform.draw(len(samples), self._generator)
            ids, lengths = tokenised(
                [text for _, text in samples],
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
    try:
        import fsspec

        return cast("IO[bytes]", fsspec.open(url, "rb").open())
    except ImportError as error:
        raise ConfigError(
            f"cannot read {url}: {error.name} is not installed", hint="pip install 'furnclip[s3]'"
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot read {url}: {error}", hint="check the URL and the access"
        ) from error


class _Decode:
    """Turn one raw sample into (uint8 pixels, caption); runs in the workers."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore in a spawned worker, whose webdataset has not been taught yet."""
        self.__dict__.update(state)
        _open_s3_with_fsspec()

    def __call__(self, sample: dict[str, Any]) -> tuple[Tensor, str]:
        import numpy as np
        import torch

        from furnclip.images import load_letterboxed

        encoded = next((sample[k] for k in ("jpg", "jpeg", "png", "webp") if k in sample), None)
        if encoded is None:
            raise DataError(f"{sample.get('__url__')}: {sample.get('__key__')} has no image")
        image = load_letterboxed(encoded, self._size, allow_truncated=True).image
        text = sample.get("txt", b"").decode()
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), text


def _side(processor: CLIPProcessor) -> int:
    from furnclip.training.pixels import image_size

    return image_size(processor)
