"""s3:// and its like: brought here before a command works, sent there when it has (extra ``s3``).

A remote folder has a copy below ``.furnclip/remote/<scheme>/<bucket>/<path>``. Only what changed on
either side travels, by the store's own tag of each object and by size and time of each file. An
object is put whole or not at all, and the file that names the others goes last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from furnclip.errors import ConfigError, DataError, FurnclipError
from furnclip.files import write_text_atomic

_ADDRESS = re.compile(r"(?:^|/)(s3|gs|az|abfs):/+([^/].*)$")
_NOTES = ".remote.json"


def address(path: Path) -> str | None:
    """Return the URL that an option or setting means, None for a path on this machine.

    A ``Path`` folds ``s3://`` to ``s3:/``, and one from ``furnclip.toml`` has its folder before it.
    """
    found = _ADDRESS.search(path.as_posix())
    return f"{found[1]}://{found[2]}" if found else None


def bring(path: Path, home: Path) -> Path:
    """Return ``path``, or where the copy of a remote file or folder is, up to date, below ``home``.

    Raises ``DataError`` when it cannot be read, ``ConfigError`` without the extra.
    """
    url = address(path)
    if url is None:
        return path
    copy = _Copy.of(url, home)
    copy.pull()
    return copy.local


@contextmanager
def written_back(path: Path, home: Path, *, last: str, partly: bool = False) -> Iterator[Path]:
    """Yield ``path``, or the copy of a remote folder, which is sent back at the end.

    ``last`` goes when all else is there. An error sends nothing, unless what is finished is of
    use without the rest (``partly``).
    """
    url = address(path)
    if url is None:
        yield path
        return
    copy = _Copy.of(url, home)
    copy.pull()
    try:
        yield copy.local
    except FurnclipError:
        if partly:
            copy.push(last)
        raise
    copy.push(last)


@dataclass(frozen=True)
class _Copy:
    """A remote folder or file and its copy; ``notes`` say what both were when they were equal."""

    url: str
    fs: Any
    root: str
    local: Path

    @classmethod
    def of(cls, url: str, home: Path) -> _Copy:
        try:
            import fsspec

            with _explained(url):
                fs, root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise ConfigError(
                f"cannot use {url}: {error.name} is not installed",
                hint="pip install 'furnclip[s3]'",
            ) from error
        scheme, _, rest = url.partition("://")
        parts = [part for part in rest.split("/") if part not in {"", ".", ".."}]
        return cls(url, fs, str(root).rstrip("/"), home.joinpath("remote", scheme, *parts))

    def pull(self) -> None:
        """Fetch what is new or changed there; drop copies of what is gone there."""
        with _explained(self.url):
            there = self._listed()
            if "" in there:  # a single file
                self._fetch("", there[""], self._notes())
                return
            notes = self._notes()
            for name in notes.keys() - there.keys():
                (self.local / name).unlink(missing_ok=True)
                del notes[name]
            for name, tag in there.items():
                self._fetch(name, tag, notes)

    def push(self, last: str) -> None:
        """Send what is new or changed here, then ``last``; remove there what was removed here."""
        notes = self._notes()
        here = {
            path.relative_to(self.local).as_posix(): path
            for path in sorted(self.local.rglob("*"))
            if path.is_file() and not any(part.startswith(".") for part in path.parts[-2:])
        }
        changed = [n for n, path in here.items() if notes.get(n, [])[1:] != _stamp(path)]
        with _explained(self.url):
            for name in sorted(changed, key=lambda name: (name == last, name)):
                self.fs.put_file(str(here[name]), f"{self.root}/{name}")
            for name in notes.keys() - here.keys():
                self.fs.rm_file(f"{self.root}/{name}")
            there = self._listed()
        self._note({n: [there[n], *_stamp(path)] for n, path in here.items() if n in there})

    def _fetch(self, name: str, tag: str, notes: dict[str, list[Any]]) -> None:
        local = self.local / name if name else self.local
        if local.is_file() and notes.get(name) == [tag, *_stamp(local)]:
            return
        local.parent.mkdir(parents=True, exist_ok=True)
        part = local.with_name(f".{local.name}.part")
        self.fs.get_file(f"{self.root}/{name}" if name else self.root, str(part))
        part.replace(local)
        notes[name] = [tag, *_stamp(local)]
        self._note(notes)

    def _listed(self) -> dict[str, str]:
        """Return the objects there by relative name ("" for the file itself), with a tag each."""
        self.fs.invalidate_cache()
        found = self.fs.find(self.root, detail=True)
        prefix = f"{self.root}/"
        return {
            "" if path == self.root else path.removeprefix(prefix): _tag(info)
            for path, info in sorted(found.items())
        }

    @property
    def _notes_path(self) -> Path:
        return self.local.parent / f".{self.local.name}{_NOTES}"

    def _notes(self) -> dict[str, list[Any]]:
        try:
            found = json.loads(self._notes_path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _note(self, notes: dict[str, list[Any]]) -> None:
        write_text_atomic(self._notes_path, json.dumps(notes, sort_keys=True))


def _tag(info: dict[str, Any]) -> str:
    return str(info.get("ETag") or info.get("etag") or (info.get("size"), info.get("LastModified")))


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # each store has exception types of its own
        raise DataError(
            f"cannot reach {url}: {(str(error).splitlines() or [type(error).__name__])[0]}",
            hint="check the address, the credentials and the network",
        ) from error
