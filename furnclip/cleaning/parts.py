"""Request files: writing them within the provider's limits, and reading single lines back."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from furnclip.cleaning.profiles import ModelProfile
from furnclip.cleaning.prompts import request_line
from furnclip.errors import DataError
from furnclip.files import atomic_path
from furnclip.state.cleaning import PartLine, PartRow, RequestRow


@dataclass(frozen=True)
class PartLimits:
    """What one request file may hold; ``tokens`` is the provider's queue window."""

    requests: int = 50_000
    bytes: int = 190_000_000
    tokens: int | None = None


@dataclass
class PartWriter:
    """Writes lines into ``batch_input_001.jsonl`` and on, a new file whenever a limit is reached.

    Each file appears under its name only when whole. ``number`` is the next file's number.
    """

    folder: Path
    run: str
    profile: ModelProfile
    backend: str
    limits: PartLimits
    number: int = 1
    finished: list[tuple[PartRow, list[PartLine]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._current: _OpenPart | None = None

    def add(self, request: RequestRow, line: bytes) -> None:
        """Append one request; a line over the limit by itself is a ``DataError``."""
        if len(line) > self.limits.bytes:
            raise DataError(
                f"one request takes {len(line):,} bytes, over the limit of {self.limits.bytes:,}",
                hint="make cleaning.image_size smaller",
            )
        if self._current is not None and self._current.is_full(request, len(line), self.limits):
            self.close()
        if self._current is None:
            self._current = _OpenPart(self.folder / f"batch_input_{self.number:03d}.jsonl")
        self._current.add(request, line)

    def close(self) -> None:
        """Finish the open file, if any."""
        part, self._current = self._current, None
        if part is None:
            return
        digest = part.finish()
        name = f"{self.run}-{self.number:03d}"
        row = PartRow(
            part=name,
            run=self.run,
            number=self.number,
            path=part.path.resolve(),
            sha256=digest,
            bytes=part.size,
            requests=len(part.places),
            input_tokens=part.input_tokens,
            usd=self.profile.usd(
                part.input_tokens, part.output_tokens, batch=self.backend == "openai"
            ),
            model=self.profile.name,
            backend=self.backend,
        )
        lines = [
            PartLine(name, key, number, offset, length)
            for number, (key, offset, length) in enumerate(part.places, start=1)
        ]
        self.finished.append((row, lines))
        self.number += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        elif self._current is not None:
            self._current.abandon(kind, error, trace)


class _OpenPart:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._atomic = atomic_path(path)
        self._file: BinaryIO = self._atomic.__enter__().open("wb")
        self._digest = hashlib.sha256()
        self.size = self.input_tokens = self.output_tokens = 0
        self.places: list[tuple[str, int, int]] = []

    def is_full(self, request: RequestRow, length: int, limits: PartLimits) -> bool:
        tokens = self.input_tokens + request.input_tokens
        return (
            len(self.places) >= limits.requests
            or self.size + length > limits.bytes
            or (limits.tokens is not None and tokens > limits.tokens)
        )

    def add(self, request: RequestRow, line: bytes) -> None:
        self._file.write(line)
        self._digest.update(line)
        self.places.append((request.request_key, self.size, len(line)))
        self.size += len(line)
        self.input_tokens += request.input_tokens
        self.output_tokens += request.output_tokens

    def finish(self) -> str:
        self._file.close()
        self._atomic.__exit__(None, None, None)
        return self._digest.hexdigest()

    def abandon(
        self,
        kind: type[BaseException],
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        # The context manager removes the file and raises the error again; ``with`` does too.
        try:
            self._atomic.__exit__(kind, error, trace)
        except BaseException as raised:
            if raised is not error:
                raise


def read_lines(places: Iterable[tuple[Path, int, int]]) -> Iterator[dict[str, Any]]:
    """Yield the requests at (file, offset, length); raises ``DataError`` when a file is gone."""
    with ExitStack() as opened:
        handles: dict[Path, BinaryIO] = {}
        for path, offset, length in places:
            try:
                if path not in handles:
                    handles[path] = opened.enter_context(path.open("rb"))
                handles[path].seek(offset)
                yield json.loads(handles[path].read(length))
            except (OSError, ValueError) as error:
                raise DataError(
                    f"the request file {path} is missing or damaged",
                    hint="run `furnclip clean prepare` again",
                ) from error


def again(request: dict[str, Any], *, token_factor: int, base_cap: int) -> bytes:
    """Return the line that asks a request again, with room for a longer answer."""
    body = dict(request["body"], max_completion_tokens=base_cap * token_factor)
    return request_line(request["custom_id"], body)
