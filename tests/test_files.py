import os
from pathlib import Path

import pytest

from furnclip.errors import DataError
from furnclip.files import atomic_path, sole_writer, write_text_atomic, writing_in


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other() -> None:
    target = Path("folder/file.txt")
    write_text_atomic(target, "old")
    with pytest.raises(RuntimeError, match="boom"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("boom")
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_a_written_file_has_the_usual_permissions() -> None:
    write_text_atomic(Path("a"), "x")
    Path("b").write_text("x")
    assert os.stat("a").st_mode == os.stat("b").st_mode


def test_a_folder_has_one_writer_at_a_time() -> None:
    folder = Path("out")
    again = sole_writer(folder)
    refused = pytest.raises(DataError, match="another furnclip is writing out")
    with sole_writer(folder), refused, again:
        pass
    with sole_writer(folder):
        assert folder.is_dir()


def test_a_file_in_the_way_is_named() -> None:
    Path("file").touch()
    with pytest.raises(DataError, match="cannot write file"), writing_in(Path("file/page.html")):
        write_text_atomic(Path("file/page.html"), "x")
