"""Our tars are ordinary ones, byte for byte what the standard library writes."""

import io
import tarfile
from hashlib import sha256
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from furnclip.preparing.tar import member_header, write_tar


@given(st.text("0123456789abcdef.", min_size=1, max_size=99), st.integers(0, 8**11 - 1))
def test_headers_equal_those_of_the_standard_library(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    assert member_header(name, size) == info.tobuf(tarfile.USTAR_FORMAT)


def test_whole_tar_equals_that_of_the_standard_library(tmp_path: Path) -> None:
    members = [(f"{n:024x}.jpg", bytes([n]) * (n * 200)) for n in range(40)]
    written = write_tar(tmp_path / "a.tar", members)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    content = (tmp_path / "a.tar").read_bytes()
    assert content == buffer.getvalue()
    assert (written.size, written.sha256) == (len(content), sha256(content).hexdigest())
    assert all(
        content[offset : offset + len(data)] == data
        for (_, data), offset in zip(members, written.offsets, strict=True)
    )
