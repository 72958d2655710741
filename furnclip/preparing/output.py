"""Writing what was planned: shards that changed, then the lists beside them, the manifest last."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from furnclip.catalogue import write_csv_atomic
from furnclip.config import PrepSettings
from furnclip.errors import DataError, Interrupted
from furnclip.files import sole_writer, write_text_atomic, writing_in
from furnclip.preparing.captions import Template
from furnclip.preparing.pictures import WORK, PictureStore, Recipe, make_picture, stamp
from furnclip.preparing.plan import PlannedShard, Twin
from furnclip.preparing.rows import Sample, sample_json
from furnclip.preparing.splits import MINI
from furnclip.preparing.tar import sample_members, write_tar
from furnclip.state.preparing import Picture, Reject, ShardRecord

REJECTS, DUPLICATES, SIZES = "rejects.csv", "duplicates.csv", "sizes.json"
FAILED = "rejects.failed.csv"  # of a run that rejected too much to write anything else
_ASIDE = "old-"
_TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")


@dataclass
class Written:
    """Shards as they are now, how many of them were written, and where each picture is."""

    shards: dict[str, ShardRecord] = field(default_factory=dict)
    fresh: int = 0
    pictures: dict[str, Picture] = field(default_factory=dict)


@dataclass(frozen=True)
class ShardWriter:
    """Writes planned shards into ``out``, copying the encoded pictures of ``store``."""

    out: Path
    root: Path
    settings: PrepSettings
    templates: Sequence[Template]
    store: PictureStore

    def write(
        self,
        planned: Sequence[PlannedShard],
        known: Mapping[str, ShardRecord],
        advance: Callable[[int], None],
    ) -> Written:
        """Write the shards whose content is not what ``known`` says is on disk."""
        contents = {shard.name: self._content(shard) for shard in planned}
        kept = {
            name for name, record in known.items()
            if contents.get(name) == record.content and is_intact(self.out, record)
        }  # fmt: skip
        self._set_aside(record for name, record in known.items() if name not in kept)
        written = Written(pictures=dict(self.store.known))
        for shard in planned:
            if shard.name in kept:
                written.shards[shard.name] = known[shard.name]
            else:
                written.shards[shard.name] = self._write_shard(
                    shard, contents[shard.name], written.pictures
                )
                written.fresh += 1
            advance(len(shard.samples))
        self._forget_work_files(written.pictures)
        return written

    def _write_shard(
        self, shard: PlannedShard, content: str, pictures: dict[str, Picture]
    ) -> ShardRecord:
        path = self.out / shard.name
        tar = write_tar(path, sample_members(self._samples(shard)))
        if shard.split != MINI:
            for sample, offset in zip(shard.samples, tar.offsets[::3], strict=True):
                pictures[sample.source] = replace(
                    self.store.known[sample.source], file=shard.name, offset=offset
                )
        return ShardRecord(
            shard.name, shard.split, content, len(shard.samples), tar.size,
            path.stat().st_mtime_ns, tar.sha256,
        )  # fmt: skip

    def _samples(self, shard: PlannedShard) -> Iterator[tuple[str, bytes, bytes, bytes]]:
        jpegs = self.store.jpegs(sample.source for sample in shard.samples)
        for sample, kept in zip(shard.samples, jpegs, strict=True):
            meta, caption = sample_json(sample, self.store.known[sample.source], self.templates)
            jpeg = self._made_again(sample) if kept is None else kept
            yield sample.key, jpeg, meta, caption.encode()

    def _made_again(self, sample: Sample) -> bytes:
        expected = self.store.known[sample.source]
        file_stamp = stamp(self.root, sample.source)
        again, jpeg = make_picture(self.root, sample.source, file_stamp, Recipe.of(self.settings))
        if again.crc != expected.crc:
            raise DataError(
                f"{self.root / sample.source} changed while it was being sharded",
                hint="run `furnclip shard` again",
            )
        return jpeg

    def _content(self, shard: PlannedShard) -> str:
        digest = blake2b(digest_size=16)
        for sample in shard.samples:
            picture = self.store.known[sample.source]
            meta, _ = sample_json(sample, picture, self.templates)
            digest.update(meta + b"%d %d\n" % (picture.size, picture.crc))
        return digest.hexdigest()

    def _set_aside(self, replaced: Iterable[ShardRecord]) -> None:
        """Keep a second name of shards about to be replaced: their pictures are still needed."""
        names = {}
        for number, record in enumerate(replaced):
            if not is_intact(self.out, record):
                continue
            aside = self.out / WORK / f"{_ASIDE}{number:06d}.tar"
            aside.parent.mkdir(parents=True, exist_ok=True)
            aside.unlink(missing_ok=True)
            try:
                aside.hardlink_to(self.out / record.name)
            except OSError:  # a file system without hard links
                shutil.copyfile(self.out / record.name, aside)
            names[record.name] = aside.relative_to(self.out).as_posix()
        self.store.move(names)

    def _forget_work_files(self, pictures: dict[str, Picture]) -> None:
        """Pictures that ended in no shard stay known, without a file."""
        for source, picture in pictures.items():
            is_as_before = picture is self.store.known[source]
            if is_as_before and (picture.file.startswith(WORK) or picture.file in self.store.moved):
                pictures[source] = replace(picture, file="", offset=0)


@contextmanager
def clearing_up(out: Path) -> Iterator[None]:
    """Remove the work folder: what was set aside during the block, the rest after it.

    To remove many megabytes takes a while, and fresh pictures are needed until all is noted.
    """
    with ThreadPoolExecutor(1) as pool:
        pool.map(Path.unlink, (out / WORK).glob(f"{_ASIDE}*.tar"))
        yield
    shutil.rmtree(out / WORK, ignore_errors=True)


def is_intact(out: Path, record: ShardRecord) -> bool:
    """Say whether a shard is still the file that was written, by size and modification time."""
    try:
        status = (out / record.name).stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (record.size, record.mtime_ns)


def write_lists(
    out: Path, rejects: Sequence[Reject], twins: Sequence[Twin], groups: Mapping[str, str]
) -> None:
    """Write ``rejects.csv`` and ``duplicates.csv``, in row order."""
    write_rejects(out / REJECTS, rejects)
    write_csv_atomic(
        out / DUPLICATES,
        ["row", "product_id", "image", "kind", "of_row", "of_product_id", "of_image", "split"],
        (
            (
                str(t.sample.number), t.sample.product_id, t.sample.source, t.kind,
                str(t.other.number), t.other.product_id, t.other.source, groups[t.sample.group],
            )
            for t in sorted(twins, key=lambda t: (t.sample.number, t.other.number))
        ),
    )  # fmt: skip


def write_rejects(path: Path, rejects: Sequence[Reject]) -> None:
    """Write rows that are in no shard, with the reason, in row order."""
    write_csv_atomic(
        path,
        ["row", "product_id", "image", "reason", "message"],
        (
            (str(r.number), r.product_id, r.source, r.reason, r.message)
            for r in sorted(rejects, key=lambda r: r.number)
        ),
    )


def write_sizes(folder: Path, sizes: Mapping[str, int]) -> None:
    """Write ``sizes.json``: samples by shard file name, as open_clip reads it."""
    write_text_atomic(folder / SIZES, json.dumps(dict(sizes), indent=2, sort_keys=True) + "\n")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an indented JSON object with sorted keys."""
    text = json.dumps(dict(value), indent=2, sort_keys=True, ensure_ascii=False)
    write_text_atomic(path, text + "\n")


def remove_stale(folder: Path, keep: set[str]) -> None:
    """Remove the shards of an earlier layout; other files are left alone."""
    name = re.compile(rf"{re.escape(folder.name)}-\d{{6,}}\.tar")
    for path in folder.glob("*.tar"):
        if path.name not in keep and name.fullmatch(path.name):
            path.unlink()


@contextmanager
def exclusive(out: Path) -> Iterator[None]:
    """Be the only writer of ``out``, and turn what the file system raises into ``DataError``.

    Removes what a killed run left half-written, and turns Ctrl-C into ``Interrupted``.
    """
    try:
        with writing_in(out), sole_writer(out):
            for path in out.rglob(".*.tmp"):
                if _TEMPORARY.fullmatch(path.name):
                    path.unlink()
            yield
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped. The images read so far and all finished shards are kept in {out}.",
            hint="the same command goes on from there",
        ) from None
