"""Pictures: every image file decoded once, hashed, letterboxed and encoded, ready to be copied.

Fresh pictures are collected in tars under a work folder inside the shards folder, each complete
or absent, with all that is known of the picture beside the JPEG. A run that was stopped, however
abruptly, finds there what it had done.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, fields, replace
from functools import cached_property
from hashlib import blake2b, sha256
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from furnclip.errors import DataError, ImageError
from furnclip.image_paths import resolve_image
from furnclip.images import encode_jpeg, fitted_size, load_letterboxed
from furnclip.preparing.tar import write_tar
from furnclip.shards import ShardReader
from furnclip.state.preparing import Picture

if TYPE_CHECKING:
    from furnclip.config import PrepSettings

WORK = ".work"
_RECIPE_VERSION = 2
_THUMBNAIL = 8
# Brightness must rise by more than this (of 255) to count: JPEG noise on white paper does not.
_DHASH_STEP = 2
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Every setting that decides how a picture comes out."""

    image_size: int
    jpeg_quality: int
    max_pixels: int
    max_aspect: float
    allow_truncated: bool
    strict: bool

    @classmethod
    def of(cls, settings: PrepSettings) -> Recipe:
        """Pick them from the settings."""
        return cls(**{entry.name: getattr(settings, entry.name) for entry in fields(cls)})

    @cached_property
    def name(self) -> str:
        """A hash, to tell pictures made otherwise."""
        values = json.dumps([_RECIPE_VERSION, *astuple(self)])
        return blake2b(values.encode(), digest_size=8).hexdigest()


def stamp(root: Path, source: str) -> tuple[int, int]:
    """Return size and modification time in ns of a picture's file; (-1, -1) without one."""
    try:
        status = resolve_image(root, source).stat()
    except (ImageError, OSError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def stamps(root: Path, sources: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return the ``stamp`` of each source, resolving every folder once: a tenth of the time."""
    inside = os.path.realpath(root)
    folders: dict[str, str | None] = {}
    found: dict[str, tuple[int, int]] = {}
    for source in sources:
        folder, _, name = source.rpartition("/")
        if folder not in folders:
            folders[folder] = _folder_inside(inside, folder)
        place = folders[folder]
        try:
            status = os.lstat(f"{place}/{name}") if place is not None else None
        except (OSError, ValueError):
            status = None
        # A plain file of a folder inside is what the path means; the rest takes the long way.
        plain = source.strip() and not source.startswith("/")
        if plain and status is not None and S_ISREG(status.st_mode):
            found[source] = status.st_size, status.st_mtime_ns
        else:
            found[source] = stamp(root, source)
    return found


def _folder_inside(root: str, folder: str) -> str | None:
    try:
        path = os.path.realpath(os.path.join(root, folder))  # noqa: PTH118
    except ValueError:  # a null character
        return None
    return path if os.path.commonpath((root, path)) == root else None


def make_picture(
    root: Path, source: str, file_stamp: tuple[int, int], recipe: Recipe
) -> tuple[Picture, bytes]:
    """Read one image file; a file that cannot be used gives a reason and no JPEG."""
    blank = Picture(source, *file_stamp, recipe=recipe.name)
    try:
        loaded = load_letterboxed(
            resolve_image(root, source),
            recipe.image_size,
            max_pixels=recipe.max_pixels,
            max_aspect=recipe.max_aspect,
            allow_truncated=recipe.allow_truncated,
            strict=recipe.strict,
        )
    except ImageError as error:
        return replace(blank, reason=error.reason, message=error.message), b""
    square = loaded.image
    jpeg = encode_jpeg(square, quality=recipe.jpeg_quality)
    dhash, thumbnail = _look(square, (loaded.width, loaded.height))
    picture = replace(
        blank,
        image_sha256=sha256(square.tobytes()).hexdigest(),
        dhash=dhash,
        thumbnail=thumbnail,
        width=loaded.width,
        height=loaded.height,
        mode=loaded.mode,
        frames=loaded.frames,
        recovered=loaded.recovered,
        size=len(jpeg),
        crc=zlib.crc32(jpeg),
    )
    return picture, jpeg


def _look(square: Image.Image, original: tuple[int, int]) -> tuple[bytes, bytes]:
    """Return the 256-bit dHash of the picture without its padding, and a tiny colour copy.

    dHash: Krawetz, "Kind of Like That", 2013; whether each of 16 x 16 cells is darker than the
    next one to its right.
    """
    side = square.width
    width, height = fitted_size(original, side)
    left, top = (side - width) // 2, (side - height) // 2
    box = (left, top, left + width, top + height)
    grey = square.convert("L").resize((17, 16), Image.Resampling.BOX, box)
    cells = np.asarray(grey).astype(np.int16)
    bits = cells[:, 1:] > cells[:, :-1] + _DHASH_STEP
    tiny = square.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX, box)
    return np.packbits(bits).tobytes(), tiny.tobytes()


class PictureStore:
    """Where the encoded squares are: in finished shards, or in the work folder until then."""

    def __init__(self, out: Path, known: dict[str, Picture]) -> None:
        self.out = out
        self.known = dict(known)
        self.moved: dict[str, str] = {}
        self._work = out / WORK
        self._tars = 0

    def recover(self, recipe: str) -> int:
        """Take in what an interrupted run left in the work folder; returns the number found."""
        before = len(self.known)
        for path in sorted(self._work.glob("pictures-*.tar")):
            self._tars = max(self._tars, int(path.stem.partition("-")[2]) + 1)
            for picture in _read_work_tar(path, path.relative_to(self.out).as_posix()):
                if picture.recipe == recipe:
                    self.known[picture.source] = picture
        return len(self.known) - before

    def drop(self, sources: Iterable[str]) -> None:
        """Forget pictures, so that they are read again."""
        for source in sources:
            self.known.pop(source, None)

    def move(self, names: Mapping[str, str]) -> None:
        """Read what is in some files under other names, both relative to the shards folder."""
        self.moved.update(names)

    def add(self, made: Sequence[tuple[Picture, bytes]]) -> None:
        """Write a batch of pictures to the work folder and take them in."""
        if not made:
            return
        path = self._work / f"pictures-{self._tars:06d}.tar"
        members: list[tuple[str, bytes]] = []
        for number, (picture, jpeg) in enumerate(made):
            members.append((f"{number:06d}.jpg", jpeg))
            members.append((f"{number:06d}.json", _as_json(picture)))
        offsets = write_tar(path, members).offsets
        self._tars += 1
        file = path.relative_to(self.out).as_posix()
        for (picture, _), offset in zip(made, offsets[::2], strict=True):
            self.known[picture.source] = replace(picture, file=file, offset=offset)

    def jpegs(self, sources: Iterable[str]) -> Iterator[bytes | None]:
        """Yield the encoded squares; None where the bytes are no longer what was written."""
        opened: str | None = None
        with ExitStack() as stack:
            for source in sources:
                picture = self.known[source]
                try:
                    if picture.file != opened:
                        stack.close()
                        opened = None
                        path = self.out / self.moved.get(picture.file, picture.file)
                        handle = stack.enter_context(path.open("rb", buffering=0)).fileno()
                        opened = picture.file
                    content = os.pread(handle, picture.size, picture.offset)
                except OSError:
                    yield None
                else:
                    yield content if zlib.crc32(content) == picture.crc else None


def _as_json(picture: Picture) -> bytes:
    values = {entry.name: getattr(picture, entry.name) for entry in fields(picture)}
    values["dhash"], values["thumbnail"] = picture.dhash.hex(), picture.thumbnail.hex()
    return json.dumps(values, sort_keys=True).encode()


def _read_work_tar(path: Path, file: str) -> Iterator[Picture]:
    try:
        reader = ShardReader([path])
        for index, ref in enumerate(reader.refs):
            values: dict[str, Any] = reader.meta(index)
            values["dhash"] = bytes.fromhex(values["dhash"])
            values["thumbnail"] = bytes.fromhex(values["thumbnail"])
            yield Picture(**{**values, "file": file, "offset": ref.jpg[0]})
    except (DataError, KeyError, TypeError, ValueError) as error:
        _logger.info("passing over %s: %s", path, error)
