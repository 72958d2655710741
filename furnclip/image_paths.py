"""From the image path in a CSV to the file it means, never outside the image folder."""

from __future__ import annotations

import os
from pathlib import Path

from furnclip.errors import DataError, ImageError


def require_image_root(root: Path, *, option: str) -> None:
    """Raise ``DataError``, naming ``option``, unless ``root`` is a folder that may be read."""
    if not root.is_dir():
        raise DataError(
            f"no such image folder: {root}",
            hint=f"name the folder that the image paths of the CSV start in with {option}",
        )
    if not os.access(root, os.R_OK | os.X_OK):
        raise DataError(
            f"cannot read the image folder {root}: permission denied",
            hint=f"give yourself access (chmod u+rx {root}), or another folder with {option}",
        )


def resolve_image(root: Path, value: str) -> Path:
    """Return the file a CSV's path means: relative to ``root``, and never outside of it.

    A value that repeats the last folder of ``root`` is understood (root ``data/images``, value
    ``images/x.jpg``). Raises ``ImageError`` with reason ``outside_root`` or ``missing``.
    """
    if not value.strip() or "\0" in value:
        raise ImageError("no image path in this row", reason="missing")
    inside = os.path.realpath(root)
    found = _inside(inside, value)
    if not _is_file(found):
        first, _, rest = value.partition("/")
        again = _inside(inside, rest) if rest and first == Path(inside).name else found
        if not _is_file(again):
            raise ImageError(f"no such image: {Path(root) / value}", reason="missing")
        found = again
    return found


def _inside(root: str, value: str) -> Path:
    path = os.path.realpath(os.path.join(root, value))  # noqa: PTH118  20 us where Path takes 60
    if os.path.commonpath((root, path)) != root:
        raise ImageError(f"image path leaves the image folder: {value}", reason="outside_root")
    return Path(path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be entered
        return False
