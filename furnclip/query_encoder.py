"""CLIP's forward pass in numpy, for one query at a time: what a search waits for.

A query needs one text or one photo embedded. Importing torch and transformers takes 5 seconds,
reading a few hundred megabytes of weights and multiplying them in numpy 0.3, so search does that:
no export step, no further dependency, the same float32 numbers (differences below 1e-5 in tests).
Source of the architecture: Radford et al. 2021, arXiv:2103.00020, as in ``transformers``.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from furnclip.errors import DataError
from furnclip.model_files import ModelFiles

if TYPE_CHECKING:
    from PIL import Image

Float32 = npt.NDArray[np.float32]
_TEXT_DEFAULTS = {
    "num_hidden_layers": 12, "num_attention_heads": 8, "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5, "eos_token_id": 49407, "max_position_embeddings": 77,
}  # fmt: skip
_VISION_DEFAULTS = {
    "num_hidden_layers": 12, "num_attention_heads": 12, "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5, "patch_size": 32, "image_size": 224,
}  # fmt: skip


class QueryEncoder:
    """A CLIP model in numpy; build it with ``open``."""

    def __init__(self, folder: Path, config: dict[str, Any], processor: dict[str, Any]) -> None:
        self._folder = folder
        self._text = _TEXT_DEFAULTS | (config.get("text_config") or {})
        self._vision = _VISION_DEFAULTS | (config.get("vision_config") or {})
        self._mean = np.asarray(processor["image_mean"], dtype=np.float32)
        self._std = np.asarray(processor["image_std"], dtype=np.float32)
        self.image_size = int(self._vision["image_size"])

    @classmethod
    def open(cls, files: ModelFiles) -> QueryEncoder | None:
        """Open a model folder, or return None when only ``transformers`` can run this one.

        That is: an adapter, pickled or half precision weights, no ``tokenizer.json``, an
        activation other than CLIP's two.
        """
        folder = files.base
        try:
            config = json.loads((folder / "config.json").read_bytes())
            processor = _processor(folder)
        except (OSError, ValueError):
            return None
        legacy = config.get("text_config_dict") or config.get("vision_config_dict")
        names = ["config.json", "tokenizer.json"]
        whole = all((folder / name).is_file() for name in names) and "image_mean" in processor
        if files.adapter is not None or legacy or not whole or not _float32_weights(folder):
            return None
        encoder = cls(folder, config, processor)
        activations = {encoder._text["hidden_act"], encoder._vision["hidden_act"]}
        return encoder if activations <= set(_ACTIVATIONS) else None

    def texts(self, texts: Sequence[str]) -> Float32:
        """Embed texts into (n, dim) float32 of unit length."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self._text["max_position_embeddings"])
        weights = Weights(self._folder)
        rows = [self._text_features(tokenizer.encode(text).ids, weights) for text in texts]
        return _unit(np.stack(rows))

    def images(self, images: Sequence[Image.Image]) -> Float32:
        """Embed letterboxed squares of ``image_size`` into (n, dim) float32 of unit length."""
        weights = Weights(self._folder)
        rows = [self._image_features(np.asarray(image), weights) for image in images]
        return _unit(np.stack(rows))

    def _text_features(self, ids: list[int], weights: Weights) -> Float32:
        hidden = weights("text_model.embeddings.token_embedding.weight")[ids]
        positions = weights("text_model.embeddings.position_embedding.weight")[: len(ids)]
        mask = np.triu(np.full((len(ids), len(ids)), -np.inf, dtype=np.float32), 1)
        hidden = _layers(hidden + positions, "text_model", self._text, weights, mask)
        hidden = _norm(hidden, "text_model.final_layer_norm", self._text, weights)
        end = self._text["eos_token_id"]
        # transformers keeps a wrong end token of early configs alive: 2 means the highest id.
        place = int(np.argmax(ids)) if end == 2 else int(np.argmax(np.asarray(ids) == end))
        return np.asarray(hidden[place] @ weights("text_projection.weight").T, dtype=np.float32)

    def _image_features(self, pixels: npt.NDArray[np.uint8], weights: Weights) -> Float32:
        scaled = (pixels.astype(np.float32) / np.float32(255) - self._mean) / self._std
        patch = int(self._vision["patch_size"])
        side = self.image_size // patch
        patches = scaled[: side * patch, : side * patch].reshape(side, patch, side, patch, 3)
        flat = patches.transpose(0, 2, 4, 1, 3).reshape(side * side, -1)
        kernel = weights("vision_model.embeddings.patch_embedding.weight")
        first = weights("vision_model.embeddings.class_embedding")[None]
        hidden = np.concatenate([first, flat @ kernel.reshape(len(kernel), -1).T])
        hidden = hidden + weights("vision_model.embeddings.position_embedding.weight")
        hidden = _norm(hidden, "vision_model.pre_layrnorm", self._vision, weights)
        hidden = _layers(hidden, "vision_model", self._vision, weights, None)
        pooled = _norm(hidden[:1], "vision_model.post_layernorm", self._vision, weights)[0]
        return np.asarray(pooled @ weights("visual_projection.weight").T, dtype=np.float32)


def _layers(
    hidden: Float32, tower: str, config: dict[str, Any], weights: Weights, mask: Float32 | None
) -> Float32:
    """Run the pre-norm transformer blocks of one tower on (tokens, width)."""
    act = _ACTIVATIONS[config["hidden_act"]]
    for number in range(int(config["num_hidden_layers"])):
        name = f"{tower}.encoder.layers.{number}"
        normed = _norm(hidden, f"{name}.layer_norm1", config, weights)
        heads = int(config["num_attention_heads"])
        hidden = hidden + _attention(normed, f"{name}.self_attn", heads, weights, mask)
        normed = _norm(hidden, f"{name}.layer_norm2", config, weights)
        inner = act(_linear(normed, f"{name}.mlp.fc1", weights))
        hidden = hidden + _linear(inner, f"{name}.mlp.fc2", weights)
    return hidden


def _attention(
    hidden: Float32, name: str, heads: int, weights: Weights, mask: Float32 | None
) -> Float32:
    tokens, width = hidden.shape
    query, key, value = (
        _linear(hidden, f"{name}.{part}_proj", weights)
        .reshape(tokens, heads, width // heads)
        .transpose(1, 0, 2)
        for part in "qkv"
    )
    scores = query @ key.transpose(0, 2, 1) * np.float32((width // heads) ** -0.5)
    if mask is not None:
        scores = scores + mask
    exponent = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = (exponent / exponent.sum(axis=-1, keepdims=True)) @ value
    return _linear(mixed.transpose(1, 0, 2).reshape(tokens, width), f"{name}.out_proj", weights)


def _linear(hidden: Float32, name: str, weights: Weights) -> Float32:
    return np.asarray(
        hidden @ weights(f"{name}.weight").T + weights(f"{name}.bias"), dtype=np.float32
    )


def _norm(hidden: Float32, name: str, config: dict[str, Any], weights: Weights) -> Float32:
    centred = hidden - hidden.mean(axis=-1, keepdims=True)
    variance = np.mean(centred**2, axis=-1, keepdims=True)
    scale = 1 / np.sqrt(variance + np.float32(config["layer_norm_eps"]))
    normed = centred * scale * weights(f"{name}.weight") + weights(f"{name}.bias")
    return np.asarray(normed, dtype=np.float32)


def _quick_gelu(x: Float32) -> Float32:
    with np.errstate(over="ignore"):  # exp of a large number: the sigmoid is 0
        return np.asarray(x / (1 + np.exp(np.float32(-1.702) * x)), dtype=np.float32)


def _gelu(x: Float32) -> Float32:
    erf = np.vectorize(math.erf, otypes=[np.float32])
    return np.asarray(0.5 * x * (1 + erf(x / math.sqrt(2))), dtype=np.float32)


_ACTIVATIONS: dict[str, Callable[[Float32], Float32]] = {
    "quick_gelu": _quick_gelu,
    "gelu": _gelu,
}


def _unit(vectors: Float32) -> Float32:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)


def _processor(folder: Path) -> dict[str, Any]:
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            found = json.loads((folder / name).read_bytes())
            described: dict[str, Any] = found.get("image_processor", found)
            return described
    return {}


def _float32_weights(folder: Path) -> bool:
    """Tell whether all weights are safetensors in float32, reading the headers only."""
    files = sorted(folder.glob("model*.safetensors"))
    try:
        headers = [_header(path)[0] for path in files]
    except (OSError, ValueError, struct.error):
        return False
    kinds = {
        entry.get("dtype")
        for header in headers
        for name, entry in header.items()
        if "position_ids" not in name
    }
    return kinds == {"F32"}


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the tensors' entries and where the data starts (safetensors format, version 0.4)."""
    with path.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        if length > 100_000_000:
            raise ValueError("no safetensors header")
        header = json.loads(handle.read(length))
    if not isinstance(header, dict):
        raise ValueError("no safetensors header")  # noqa: TRY004  a wrong file, not a wrong type
    header.pop("__metadata__", None)
    return header, 8 + length


class Weights:
    """Tensors of a folder's safetensors files, mapped into memory: nothing is copied."""

    def __init__(self, folder: Path) -> None:
        self._tensors: dict[str, Float32] = {}
        for path in sorted(folder.glob("model*.safetensors")):
            header, start = _header(path)
            mapped = np.memmap(path, dtype=np.uint8, mode="r")
            for name, entry in header.items():
                if entry["dtype"] == "F32":
                    first, last = entry["data_offsets"]
                    raw = mapped[start + first : start + last]
                    self._tensors[name] = raw.view(np.float32).reshape(entry["shape"])

    def __call__(self, name: str) -> Float32:
        """Return a tensor; ``DataError`` when the file does not have it."""
        if name not in self._tensors:
            raise DataError(f"the model has no weights named {name}")
        return self._tensors[name]
