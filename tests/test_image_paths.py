import os
from pathlib import Path

import pytest

from furnclip.errors import ImageError
from furnclip.image_paths import resolve_image


@pytest.mark.parametrize(
    "value", ["../secret.jpg", "/etc/hostname", "a/../../secret.jpg", "link.jpg", "linked/s.jpg"]
)
def test_paths_that_leave_the_image_folder_are_refused(tmp_path: Path, value: str) -> None:
    root = tmp_path / "images"
    (root / "a").mkdir(parents=True)
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "s.jpg").write_bytes(b"x")
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "linked").symlink_to(tmp_path / "out")
    with pytest.raises(ImageError) as caught:
        resolve_image(root, value)
    assert caught.value.reason == "outside_root"


@pytest.mark.parametrize(
    "value", ["", "  ", "no.jpg", "a\0b", "x" * 400, "folder", "http://h/x.jpg"]
)
def test_paths_without_a_file_are_missing(tmp_path: Path, value: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ImageError) as caught:
        resolve_image(tmp_path, value)
    assert caught.value.reason == "missing"


def test_path_may_repeat_the_last_folder_of_the_root(tmp_path: Path) -> None:
    file = tmp_path / "images" / "x.jpg"
    file.parent.mkdir()
    file.write_bytes(b"x")
    for root, value in (
        (tmp_path, "images/x.jpg"),
        (tmp_path / "images", "images/x.jpg"),
        (tmp_path / "images", "./x.jpg"),
        (tmp_path, str(file)),
    ):
        assert resolve_image(root, value) == Path(os.path.realpath(file))
