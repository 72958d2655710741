"""What can go wrong, and the exit code each kind ends with.

FurnclipError                 1
├── UsageError                2   an option or argument that makes no sense
├── ConfigError               2   furnclip.toml, the environment, a missing key
├── DataError                 3   the user's files: CSV, images, shards, vectors, models
│   └── ImageError                one image, with a machine-readable reason
├── StateError                3   the state file
│   └── StateLockedError          another process holds it
├── RemoteError               4   a server refused or failed
└── Interrupted             130   Ctrl-C or SIGTERM; says what is kept

Stages translate third-party exceptions into these at the adapter, with ``from``.
The command line renders them once, at its edge; anything else is a bug and keeps its traceback.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Process exit codes of the ``furnclip`` command."""

    OK = 0
    ERROR = 1
    USAGE = 2
    DATA = 3
    REMOTE = 4
    INTERRUPTED = 130


class FurnclipError(Exception):
    """A problem the user can act on: what happened, where, and the next step in ``hint``."""

    exit_code: ExitCode = ExitCode.ERROR

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(FurnclipError):
    """An option or argument that makes no sense here."""

    exit_code = ExitCode.USAGE


class ConfigError(FurnclipError):
    """A setting that is wrong or missing."""

    exit_code = ExitCode.USAGE


class DataError(FurnclipError):
    """A file of the user's that is missing or not what it should be."""

    exit_code = ExitCode.DATA


class ImageError(DataError):
    """One image that cannot be used; ``reason`` is a stable word such as ``truncated``."""

    def __init__(self, message: str, *, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class StateError(FurnclipError):
    """The state file cannot be read or written."""

    exit_code = ExitCode.DATA


class StateLockedError(StateError):
    """Another process held the state file for longer than we were ready to wait."""


class RemoteError(FurnclipError):
    """A server refused the request or could not be reached."""

    exit_code = ExitCode.REMOTE


class Interrupted(FurnclipError):
    """The user stopped the command; the message says what is kept, the hint how to go on."""

    exit_code = ExitCode.INTERRUPTED
