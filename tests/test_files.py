import os
from pathlib import Path

import pytest

from furnclip.files import atomic_path, write_text_atomic


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
