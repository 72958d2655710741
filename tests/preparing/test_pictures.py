"""Stamps of many files, and pictures read back from the tars they were written to."""

import zlib
from pathlib import Path

import pytest

from furnclip.preparing.pictures import PictureStore, stamp, stamps
from furnclip.state.preparing import Picture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    (root / "sub" / "deep").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.jpg", "sub/deep/c.jpg"):
        (root / name).write_bytes(name.encode() * 3)
    (tmp_path / "outside.jpg").write_bytes(b"outside")
    (root / " ").write_bytes(b"a name that no CSV can say")
    (root / "link.jpg").symlink_to("a.jpg")
    (root / "out.jpg").symlink_to(tmp_path / "outside.jpg")
    (root / "broken.jpg").symlink_to("nothing.jpg")
    (root / "folder").symlink_to("sub")
    (root / "up").symlink_to(tmp_path)
    return root


def test_stamps_are_those_of_each_path_alone(root: Path) -> None:
    sources = [
        "a.jpg", "sub/b.jpg", "sub/deep/c.jpg", "images/a.jpg", "images/sub/b.jpg", "link.jpg",
        "out.jpg", "broken.jpg", "folder/b.jpg", "up/outside.jpg", "up/images/a.jpg", "sub",
        "sub/", "sub/..", "sub/../a.jpg", "../outside.jpg", "../images/a.jpg", "./a.jpg", "//a.jpg",
        "/a.jpg",
        str(root / "a.jpg"), str(root.parent / "outside.jpg"), "", " ", "a\0.jpg", "a\0/b.jpg",
        "missing.jpg", "sub/missing.jpg", "none/a.jpg", "a.jpg/b.jpg", "x" * 300, "x" * 300 + "/a",
    ]  # fmt: skip
    assert stamps(root, sources) == {source: stamp(root, source) for source in sources}
    assert stamps(root, ["a.jpg"])["a.jpg"][0] == 15


def test_a_tar_that_is_gone_leaves_the_other_pictures(tmp_path: Path) -> None:
    store = PictureStore(tmp_path, {})
    jpegs = [bytes([number]) * 99 for number in range(3)]
    for number, jpeg in enumerate(jpegs):
        store.add([(picture(str(number), jpeg), jpeg)])
    (tmp_path / store.known["1"].file).unlink()
    assert list(store.jpegs(["0", "1", "0", "2"])) == [jpegs[0], None, jpegs[0], jpegs[2]]


def picture(source: str, jpeg: bytes) -> Picture:
    return Picture(source, 1, 1, "recipe", size=len(jpeg), crc=zlib.crc32(jpeg))
