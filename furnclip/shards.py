"""Reading shards: WebDataset tars of ``<key>.jpg``, ``<key>.json`` and ``<key>.txt``.

A shard is read by position: its headers are walked once (10,000 samples in 0.2 s), after which
any member is one ``pread``, from any thread or process, in any order.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from furnclip.errors import DataError

MANIFEST = "manifest.json"
_IMAGES = ("jpg", "jpeg", "png", "webp")
_Span = tuple[int, int]
_Member = tuple[str, int, int]  # name, offset and size of the data


@dataclass(frozen=True)
class SampleRef:
    """Where the members of one sample are: (offset, size) in bytes inside ``shard``.

    A member the shard does not have has size 0.
    """

    shard: Path
    key: str
    jpg: _Span
    txt: _Span = (0, 0)
    json: _Span = (0, 0)


def list_shards(split_dir: Path) -> list[Path]:
    """Return the tars of a split in name order; raises ``DataError`` when there are none."""
    shards = sorted(split_dir.glob("*.tar")) if split_dir.is_dir() else []
    if not shards:
        raise DataError(f"no shards in {split_dir}", hint="make them with `furnclip shard`")
    return shards


def index_shard(path: Path) -> list[SampleRef]:
    """Return the samples of a tar in order, reading only its headers.

    Other writers' shards are read too, img2dataset's among them: members of one sample share
    the name up to the first dot of its last part. Members that are neither an image, a text nor
    a JSON are passed over, and so are samples without an image. Raises ``DataError`` when the
    file is missing, cut short or no tar.
    """
    samples: dict[str, dict[str, _Span]] = {}
    end = 0
    try:
        members = _plain_members(path) or _members(path)
        for member, offset, size in members:
            end = offset + -(-size // 512) * 512
            folder, _, name = member.rpartition("/")
            key, _, extension = name.partition(".")
            kind = extension.lower()
            samples.setdefault(f"{folder}/{key}" if folder else key, {})[
                "jpg" if kind in _IMAGES else kind
            ] = (offset, size)
        if path.stat().st_size < end + 512:  # a whole tar ends with blocks of zeros
            raise DataError(f"{path} is cut short", hint=_REMAKE)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path} is no readable tar: {error}", hint=_REMAKE) from error
    return [
        SampleRef(path, key, spans["jpg"], spans.get("txt", (0, 0)), spans.get("json", (0, 0)))
        for key, spans in samples.items()
        if "jpg" in spans
    ]


def _members(path: Path) -> list[_Member]:
    with tarfile.open(path, "r:") as archive:
        return [(m.name, m.offset_data, m.size) for m in archive if m.isfile()]


def _plain_members(path: Path) -> list[_Member] | None:
    """Walk a tar of nothing but files with short names, as every writer of shards makes them.

    A tenth of the standard library's time. None for any other tar, and for a damaged one.
    Source: POSIX.1-2017, pax, "ustar Interchange Format".
    """
    found: list[_Member] = []
    position, header = 0, b""
    with path.open("rb", buffering=0) as file:
        while header := os.pread(file.fileno(), 512, position):
            if len(header) == 512 and not header.strip(b"\0"):
                return found
            name, number, checksum = header[:100], header[124:136], header[148:156]
            is_file = header[156:157] in {b"0", b"\0"} and header[257:262] == b"ustar"
            try:
                size = int(number.rstrip(b" \0"), 8)
                sound = sum(header) - sum(checksum) + 8 * 32 == int(checksum.strip(b" \0"), 8)
                text = name.partition(b"\0")[0].decode()
            except ValueError:
                return None
            if not (is_file and sound and text and header[345:346] == b"\0"):
                return None
            found.append((text, position + 512, size))
            position += 512 + -(-size // 512) * 512
    return None


_REMAKE = "run `furnclip shard` again: it rebuilds what is missing or damaged"


@dataclass
class ShardReader:
    """Samples of several shards as one sequence, indexed when first used.

    Picklable; every process opens its own files, and reads are safe from any thread.
    """

    shards: Sequence[Path]
    _samples: list[SampleRef] | None = field(default=None, repr=False)
    _handles: dict[Path, int] = field(default_factory=dict, repr=False, compare=False)
    _owner: int = field(default=0, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.refs)

    @property
    def refs(self) -> list[SampleRef]:
        """Every sample in shard order."""
        if self._samples is None:
            self._samples = [ref for shard in self.shards for ref in index_shard(shard)]
        return self._samples

    def ref(self, index: int) -> SampleRef:
        """Return where sample ``index`` is."""
        return self.refs[index]

    def jpg(self, index: int) -> bytes:
        """Return the encoded image."""
        ref = self.refs[index]
        return self._read(ref, ref.jpg)

    def text(self, index: int) -> str:
        """Return the first caption; empty when the sample has no text."""
        ref = self.refs[index]
        try:
            return self._read(ref, ref.txt).decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{ref.shard}: {ref.key}.txt is not UTF-8", hint=_REMAKE) from error

    def meta(self, index: int) -> dict[str, Any]:
        """Return the sample's JSON; only its key when it has none."""
        ref = self.refs[index]
        if not ref.json[1]:
            return {"key": ref.key}
        try:
            found = json.loads(self._read(ref, ref.json))
        except ValueError as error:
            raise DataError(f"{ref.shard}: {ref.key}.json: {error}", hint=_REMAKE) from error
        if not isinstance(found, dict):
            raise DataError(f"{ref.shard}: {ref.key}.json holds no object", hint=_REMAKE)
        return found

    def close(self) -> None:
        """Close the files; the next read opens them again."""
        if self._owner == os.getpid():
            for handle in self._handles.values():
                os.close(handle)
        self._handles = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"shards": self.shards, "_samples": self._samples, "_handles": {}, "_owner": 0}

    def __del__(self) -> None:
        self.close()

    def _read(self, ref: SampleRef, span: _Span) -> bytes:
        offset, size = span
        content = os.pread(self._handle(ref.shard), size, offset)
        if len(content) != size:
            raise DataError(f"{ref.shard} is cut short at {ref.key}", hint=_REMAKE)
        return content

    def _handle(self, shard: Path) -> int:
        if self._owner != os.getpid():  # a forked child must not share file objects to close
            self._handles, self._owner = {}, os.getpid()
        if shard in self._handles:
            return self._handles[shard]
        try:
            opened = os.open(shard, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DataError(f"cannot open {shard}: {error.strerror}", hint=_REMAKE) from error
        kept = self._handles.setdefault(shard, opened)
        if kept != opened:  # another thread was first
            os.close(opened)
        return kept


def read_manifest(shards_dir: Path) -> dict[str, Any]:
    """Return ``manifest.json`` of a shards folder; raises ``DataError`` when it is not there."""
    path = shards_dir / MANIFEST
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(
            f"{shards_dir} has no {MANIFEST}", hint="make the shards with `furnclip shard`"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}", hint=_REMAKE) from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no object", hint=_REMAKE)
    return found
