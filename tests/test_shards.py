"""Shards are read by position, whoever wrote them, from any thread or process."""

import io
import json
import multiprocessing
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from furnclip import shards
from furnclip.errors import DataError
from furnclip.shards import ShardReader, index_shard, list_shards, read_manifest


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def furnclip_shard(path: Path, count: int, first: int = 0) -> Path:
    members = {}
    for number in range(first, first + count):
        members[f"{number:024x}.jpg"] = f"image {number}".encode()
        members[f"{number:024x}.json"] = json.dumps({"product_id": str(number)}).encode()
        members[f"{number:024x}.txt"] = f"café {number}".encode()
    return write_tar(path, members)


def two_shards(folder: Path) -> ShardReader:
    furnclip_shard(folder / "train-000001.tar", 3, first=5)
    furnclip_shard(folder / "train-000000.tar", 5)
    return ShardReader(list_shards(folder))


def test_reader_sees_all_samples_in_shard_order(tmp_path: Path) -> None:
    reader = two_shards(tmp_path)
    assert len(reader) == 8
    assert [reader.meta(i)["product_id"] for i in range(8)] == [str(i) for i in range(8)]
    assert reader.jpg(6) == b"image 6"
    assert reader.text(7) == "café 7"
    assert reader.ref(5).shard.name == "train-000001.tar"


def test_spans_point_at_the_bytes_in_the_file(tmp_path: Path) -> None:
    shard = furnclip_shard(tmp_path / "a.tar", 2)
    ref = index_shard(shard)[1]
    offset, size = ref.jpg
    assert shard.read_bytes()[offset : offset + size] == b"image 1"


def _read_in_child(reader: ShardReader, index: int) -> bytes:
    return reader.jpg(index)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_reader_travels_to_another_process(tmp_path: Path, method: str) -> None:
    reader = two_shards(tmp_path)
    assert reader.jpg(0) == b"image 0"
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(_read_in_child, (reader, 7)) == b"image 7"
    assert pickle.loads(pickle.dumps(reader)).jpg(2) == b"image 2"


def test_reads_from_many_threads_do_not_mix(tmp_path: Path) -> None:
    reader = two_shards(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: reader.jpg(i % 8), range(400)))
    assert found == [f"image {i % 8}".encode() for i in range(400)]


def test_closed_reader_leaves_no_open_files(tmp_path: Path) -> None:
    reader = two_shards(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    reader.jpg(0), reader.jpg(7)
    reader.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert reader.jpg(0) == b"image 0"


def test_img2dataset_shards_are_read(tmp_path: Path) -> None:
    shard = write_tar(
        tmp_path / "00000.tar",
        {
            "000000000.jpg": b"image",
            "000000000.txt": b"a chair",
            "000000000.json": json.dumps({"key": "000000000", "width": 9}).encode(),
            "000000001.json": b"{}",  # the download of this one failed
            "000000002.webp": b"other",
        },
    )
    reader = ShardReader([shard])
    assert [reader.ref(i).key for i in range(len(reader))] == ["000000000", "000000002"]
    assert reader.meta(0)["width"] == 9
    assert reader.text(0) == "a chair"
    assert reader.text(1) == ""
    assert reader.meta(1) == {"key": "000000002"}


def test_cut_shard_is_an_error_that_says_how_to_mend_it(tmp_path: Path) -> None:
    shard = furnclip_shard(tmp_path / "a.tar", 5)
    content = shard.read_bytes()
    for keep in (700, 1024 + 3, 1024, 3, 0):
        shard.write_bytes(content[:keep])
        with pytest.raises(DataError) as caught:
            index_shard(shard)
        assert "furnclip shard" in str(caught.value.hint)


def test_shard_that_shrank_after_indexing_is_an_error(tmp_path: Path) -> None:
    shard = furnclip_shard(tmp_path / "a.tar", 5)
    reader = ShardReader([shard])
    assert len(reader) == 5
    os.truncate(shard, 600)
    with pytest.raises(DataError, match="cut short"):
        reader.jpg(3)


@pytest.mark.parametrize("content", [b"not json", b"[1]"])
def test_bad_json_names_the_member(tmp_path: Path, content: bytes) -> None:
    shard = write_tar(tmp_path / "a.tar", {"k.jpg": b"x", "k.json": content})
    with pytest.raises(DataError, match=r"k\.json"):
        ShardReader([shard]).meta(0)


def test_a_text_that_is_not_utf8_names_the_member(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", {"k.jpg": b"x", "k.txt": b"caf\xe9"})
    with pytest.raises(DataError, match=r"k\.txt"):
        ShardReader([shard]).text(0)


def test_folder_without_shards_names_the_command(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError) as caught:
            list_shards(folder)
        assert "furnclip shard" in str(caught.value.hint)


@pytest.mark.parametrize("content", [None, b"", b"[]", b"\xff"])
def test_manifest_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_quick_walk_of_a_tar_finds_what_the_standard_library_finds(
    tmp_path: Path, kind: int
) -> None:
    names = ["a.jpg", "a.json", "é.txt", "folder/b.jpg", "x" * 95 + ".jpg", "long/" * 30 + "c.jpg"]
    for count in (1, 5, 6):
        path = tmp_path / f"{kind}-{count}.tar"
        with tarfile.open(path, "w", format=kind) as archive:
            for number, name in enumerate(names[:count]):
                info = tarfile.TarInfo(name)
                info.size = 511 + number
                archive.addfile(info, io.BytesIO(bytes(info.size)))
        quick = shards._plain_members(path)
        assert quick in (None, shards._members(path))
        assert quick is not None or kind == tarfile.PAX_FORMAT or count == 6
        assert len(index_shard(path)) == len({n for n in names[:count] if n.endswith("jpg")})
    damaged = bytearray((tmp_path / f"{kind}-1.tar").read_bytes())
    damaged[3] ^= 1  # a name that is not what the checksum was made of
    path.write_bytes(damaged)
    assert shards._plain_members(path) is None
