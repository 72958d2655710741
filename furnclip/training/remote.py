"""Training data that stay where they are: ``--data s3://bucket/shards`` or ``https://host/shards``.

The place holds what ``furnclip shard`` wrote, ``manifest.json`` included. ``val`` and ``test`` are
copied to the run's folder once, since every epoch measures on them exactly; ``train`` is streamed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from furnclip.errors import ConfigError, DataError
from furnclip.files import atomic_path
from furnclip.progress import Progress
from furnclip.shards import MANIFEST

_BLOCK = 1 << 20


@dataclass(frozen=True)
class RemoteTrain:
    """A split that is streamed; ``fingerprint`` changes with the shards' content."""

    urls: list[str]
    samples: int
    fingerprint: str

    def __len__(self) -> int:
        return self.samples


@dataclass(frozen=True)
class RemoteShards:
    """The shards at ``root``, as their manifest lists them."""

    root: str
    shards: list[dict[str, Any]]

    @classmethod
    def at(cls, root: str) -> RemoteShards:
        """Read the manifest; raises ``DataError`` when there is none that can be read."""
        root = root.rstrip("/")
        try:
            with open_remote(f"{root}/{MANIFEST}") as file:
                shards = json.load(file)["shards"]
            return cls(root, [{k: s[k] for k in _FIELDS} for s in shards])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{root}/{MANIFEST} is not a manifest of shards: {error!r}",
                hint="copy the folder that `furnclip shard` writes, manifest.json included",
            ) from error

    def split(self, name: str) -> list[dict[str, Any]]:
        """Return the entries of a split."""
        return [shard for shard in self.shards if shard["split"] == name]

    def train(self, name: str) -> RemoteTrain:
        """Return the split to stream; raises ``DataError`` when it is empty."""
        shards = self.split(name)
        if not shards:
            raise DataError(
                f"{self.root} has no shards of {name}", hint="make them with `furnclip shard`"
            )
        digest = hashlib.blake2b("".join(s["sha256"] for s in shards).encode(), digest_size=8)
        return RemoteTrain(
            [f"{self.root}/{shard['name']}" for shard in shards],
            sum(int(shard["samples"]) for shard in shards),
            digest.hexdigest(),
        )

    def copy(self, name: str, into: Path, *, progress: Progress) -> None:
        """Copy a split's shards under ``into``, those that are not there whole."""
        wanted = [
            (f"{self.root}/{shard['name']}", into / shard["name"], shard)
            for shard in self.split(name)
        ]
        missing = [
            each for each in wanted
            if not each[1].is_file() or each[1].stat().st_size != each[2]["bytes"]
        ]  # fmt: skip
        if not missing:
            return
        total = sum(int(shard["bytes"]) for _, _, shard in missing)
        with progress.task(f"copying {name}", total=total, unit="bytes") as task:
            for url, path, shard in missing:
                digest = hashlib.sha256()
                with open_remote(url) as source, atomic_path(path) as temporary:
                    with temporary.open("wb") as target:
                        while block := source.read(_BLOCK):
                            digest.update(block)
                            target.write(block)
                            task.advance(len(block))
                    if digest.hexdigest() != shard["sha256"]:
                        raise DataError(
                            f"{url} is not what its manifest says", hint="copy the shards again"
                        )


_FIELDS = ("name", "split", "samples", "bytes", "sha256")


def open_remote(url: str) -> IO[bytes]:
    """Open a URL for reading; credentials of ``s3://`` come from where the AWS tools look."""
    try:
        if url.startswith("s3://"):
            import fsspec

            return cast("IO[bytes]", fsspec.open(url, "rb").open())
        if url.startswith(("http://", "https://")):
            from urllib.request import urlopen

            return cast("IO[bytes]", urlopen(url, timeout=60))  # noqa: S310  the scheme is known
    except ImportError as error:
        raise ConfigError(
            f"cannot read {url}: {error.name} is not installed", hint="pip install 'furnclip[s3]'"
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot read {url}: {error}", hint="check the URL and the access"
        ) from error
    raise ConfigError(f"cannot train from {url}", hint="use a folder, s3:// or https://")
