"""Where a model's files are, and the identity of what they compute; imports no torch.

A model is named by a hub id (``openai/clip-vit-base-patch32``), by a folder in the ``transformers``
format, or by a folder with a peft adapter. Its identity covers weights, adapter, architecture,
image preprocessing and tokenizer: vectors of equal identity may be compared, others never.
"""

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from furnclip.errors import DataError
from furnclip.files import write_text_atomic

# Keys that change when a model is saved again though nothing it computes does.
_NOISE = {
    "_name_or_path", "architectures", "dtype", "image_processor_type", "initializer_factor",
    "initializer_range", "logit_scale_init_value", "processor_class", "torch_dtype",
    "transformers_version",
}  # fmt: skip
_SMALL_FILES = ["*.json", "*.txt"]
_NOTES = ".furnclip-sha256.json"
_LARGE = 32 * 1024 * 1024  # bytes; smaller files are hashed in 20 ms


@dataclass(frozen=True)
class ModelFiles:
    """The folder with the full model, and the adapter's folder when there is one."""

    base: Path
    adapter: Path | None = None


def locate(spec: str | Path, *, adapter: Path | None = None) -> ModelFiles:
    """Find a model on disk, downloading it when ``spec`` is a hub id that is not there yet.

    Raises ``DataError`` that says what is missing and what to do.
    """
    folder = Path(spec).expanduser()
    if adapter is not None:
        return ModelFiles(locate(spec).base, _checked_adapter(adapter))
    if (folder / "adapter_config.json").is_file():
        return ModelFiles(locate(_adapter_base(folder)).base, _checked_adapter(folder))
    if folder.is_dir():
        return ModelFiles(_checked_model(folder))
    if _looks_like_path(str(spec)):
        raise DataError(
            f"no model folder at {spec}",
            hint="give a folder that holds config.json and model.safetensors, or a hub id",
        )
    return ModelFiles(_from_hub(str(spec)))


def model_sha(spec: str | Path, *, adapter: Path | None = None) -> str:
    """Return 16 hex digits that name what the model computes, whatever its folder is called.

    Hashes the files themselves, large ones only when they changed (0.4 s for ViT-B/32).
    """
    files = locate(spec, adapter=adapter)
    return _identity(files, _stamp(files))


def model_shape(spec: str | Path) -> tuple[int, int]:
    """Return (dim, image_size) of a model from its ``config.json``."""
    config = _read_json(locate(spec).base / "config.json")
    # transformers writes only what differs from its defaults in some versions
    vision = config.get("vision_config") or {}
    return int(config.get("projection_dim", 512)), int(vision.get("image_size", 224))


@functools.lru_cache(maxsize=16)
def _identity(files: ModelFiles, stamp: tuple[tuple[str, int, int], ...]) -> str:
    del stamp  # part of the cache key: a folder written anew is hashed anew
    digest = hashlib.sha256()
    for path in _weights(files.base):
        digest.update(_sha256(path).encode())
    if files.adapter is not None:
        for path in _adapter_files(files.adapter):
            digest.update(_sha256(path).encode())
    described = {name: _without_noise(_read_json(path)) for name, path in _described(files.base)}
    digest.update(json.dumps(described, sort_keys=True).encode())
    for path in _tokenizer_files(files.base):
        digest.update(_sha256(path).encode())
    return digest.hexdigest()[:16]


def _stamp(files: ModelFiles) -> tuple[tuple[str, int, int], ...]:
    folders = [files.base, *([files.adapter] if files.adapter else [])]
    paths = sorted(
        path
        for folder in folders
        for path in folder.iterdir()
        if path.is_file() and path.name != _NOTES
    )
    return tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths)


def _sha256(path: Path) -> str:
    """Hash a file; the hash of a large one is noted beside it with its size and time.

    The hub cache names large files by their sha256, verified on download.
    """
    real = path.resolve()
    if real.parent.name == "blobs" and len(real.name) == 64:
        return real.name
    found = path.stat()
    stamp = [found.st_size, found.st_mtime_ns]
    notes = path.with_name(_NOTES)
    noted = _notes(notes) if found.st_size >= _LARGE else {}
    if noted.get(path.name, [])[:2] == stamp:
        return str(noted[path.name][2])
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    if found.st_size >= _LARGE:
        with contextlib.suppress(OSError):  # a folder we may not write to is hashed each time
            write_text_atomic(notes, json.dumps(noted | {path.name: [*stamp, digest]}))
    return digest


def _notes(path: Path) -> dict[str, list[Any]]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _weights(folder: Path) -> list[Path]:
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        found = sorted(folder.glob(pattern))
        if found:
            return found
    return []


def _adapter_files(folder: Path) -> list[Path]:
    return [folder / "adapter_config.json", *sorted(folder.glob("*.safetensors"))]


def _described(folder: Path) -> Iterator[tuple[str, Path]]:
    yield "config", folder / "config.json"
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            yield "image_processor", folder / name
            return


def _tokenizer_files(folder: Path) -> list[Path]:
    if (folder / "tokenizer.json").is_file():
        return [folder / "tokenizer.json"]
    return [path for path in (folder / "vocab.json", folder / "merges.txt") if path.is_file()]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} does not hold a JSON object")
    return content


def _without_noise(value: dict[str, Any]) -> dict[str, Any]:
    value = value.get("image_processor", value)
    return {
        key: _without_noise(item) if isinstance(item, dict) else item
        for key, item in value.items()
        if key not in _NOISE
    }


def _checked_model(folder: Path) -> Path:
    missing = [name for name in ("config.json",) if not (folder / name).is_file()]
    if not _weights(folder):
        missing.append("model.safetensors")
    if not _tokenizer_files(folder):
        missing.append("tokenizer.json")
    if missing:
        raise DataError(
            f"{folder} is not a CLIP model folder: no {' and no '.join(missing)}",
            hint="`furnclip train` writes one under models/; `furnclip runs` lists them",
        )
    kind = _read_json(folder / "config.json").get("model_type")
    if kind != "clip":
        raise DataError(
            f"{folder} holds a {kind!r} model", hint="furnclip works with CLIP models (CLIPModel)"
        )
    return folder


def _checked_adapter(folder: Path) -> Path:
    missing = [path.name for path in _adapter_files(folder) if not path.is_file()]
    if missing or len(_adapter_files(folder)) < 2:
        name = missing[0] if missing else "adapter_model.safetensors"
        raise DataError(f"{folder} is not an adapter folder: no {name}")
    return folder


def _adapter_base(folder: Path) -> str:
    base = _read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    if not base:
        raise DataError(f"{folder}/adapter_config.json does not name its base model")
    return str(base)


def _looks_like_path(spec: str) -> bool:
    """Tell ``models/run-1`` from ``openai/clip``: no folder is called as a hub id begins."""
    parts = spec.split("/")
    return len(parts) != 2 or parts[0] in {"", ".", "..", "~"} or Path(parts[0]).is_dir()


def _from_hub(spec: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    def fetch(weights: str, *, local: bool) -> Path:
        patterns = [*_SMALL_FILES, weights]
        return Path(
            snapshot_download(
                spec, allow_patterns=patterns, ignore_patterns=["*/*"], local_files_only=local
            )
        )

    try:
        try:
            folder = fetch("model*.safetensors", local=True)
            if _weights(folder):
                return _checked_model(folder)
        except LocalEntryNotFoundError:
            pass
        folder = fetch("model*.safetensors", local=False)
        return _checked_model(
            folder if _weights(folder) else fetch("pytorch_model*.bin", local=False)
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise DataError(
            f"cannot get the model {spec!r} from the Hugging Face hub: {_first_line(error)}",
            hint="check the name and the network, or give the path of a model folder",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
