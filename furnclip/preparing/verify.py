"""Proof that a shards folder is what its manifest says, and that no row got lost on the way."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Any

from furnclip.errors import DataError
from furnclip.preparing.output import DUPLICATES, REJECTS, SIZES
from furnclip.preparing.splits import MINI, SPLITS
from furnclip.progress import SILENT, Progress, Task
from furnclip.shards import ShardReader, read_manifest

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_REPEATED = {"duplicate_row", "duplicate_image"}


@dataclass
class VerifyReport:
    """What was checked; the folder is sound when ``problems`` is empty.

    ``accounting`` says where every row of the CSV went; its parts sum up to ``rows``.
    """

    shards: int = 0
    samples: int = 0
    rows: int = 0
    accounting: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass
class _Seen:
    """Keys by split, and the one split each group and each picture may be in."""

    keys: dict[str, set[str]] = field(default_factory=lambda: {s: set() for s in (*SPLITS, MINI)})
    groups: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)


def verify_shards(
    shards_dir: Path, *, csv_path: Path | None = None, progress: Progress = SILENT
) -> VerifyReport:
    """Check shards against the manifest, samples against each other, and the rows' accounting.

    Checked: the files listed are there, complete and unchanged (SHA-256), and no others; every
    member can be read; keys are unique; no group and no picture is in two splits; ``mini_train``
    is part of ``train``; ``sizes.json`` agrees; rows = written + rejected + duplicates + not
    clean; and, given ``csv_path``, that the shards were made from this very CSV. Raises
    ``DataError`` only when there is no manifest.
    """
    manifest = read_manifest(shards_dir)
    report = VerifyReport()
    seen = _Seen()
    try:
        listed = {str(entry["name"]): entry for entry in manifest["shards"]}
        with progress.task("Verify", total=len(listed), unit="shards") as task:
            for name, entry in listed.items():
                _verify_shard(shards_dir / name, entry, seen, report, task)
        _verify_files(shards_dir, listed, report)
        if not seen.keys[MINI] <= seen.keys["train"]:
            report.problems.append(f"{MINI} has samples that are not in train")
        _verify_accounting(shards_dir, manifest, seen, report)
        if csv_path is not None and _sha256(csv_path) != manifest["csv"]["sha256"]:
            report.problems.append(f"{csv_path} is not the CSV these shards were made from")
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{shards_dir}: the manifest lacks {error}", hint="run `furnclip shard` again"
        ) from error
    return report


def _verify_shard(
    path: Path, entry: dict[str, Any], seen: _Seen, report: VerifyReport, task: Task
) -> None:
    report.shards += 1
    try:
        if _sha256(path) != entry["sha256"]:
            report.problems.append(f"{path}: not the file that was written (SHA-256 differs)")
        reader = ShardReader([path])
        for index in range(len(reader)):
            _verify_sample(reader, index, str(entry["split"]), seen, report)
        if len(reader) != entry["samples"]:
            report.problems.append(
                f"{path}: {len(reader)} samples where the manifest has {entry['samples']}"
            )
    except DataError as error:
        report.problems.append(error.message)
    task.advance()


def _verify_sample(
    reader: ShardReader, index: int, split: str, seen: _Seen, report: VerifyReport
) -> None:
    ref = reader.ref(index)
    meta, jpg = reader.meta(index), reader.jpg(index)
    where = f"{ref.shard}: {ref.key}"
    report.samples += split != MINI
    if not jpg.startswith(_JPEG_START) or not jpg.endswith(_JPEG_END):
        report.problems.append(f"{where}: the image is no whole JPEG")
    captions = meta.get("captions") or [""]
    if meta.get("key") != ref.key or captions[0] != reader.text(index):
        report.problems.append(f"{where}: its members do not belong together")
    if ref.key in seen.keys[split] or (
        split != MINI and any(ref.key in seen.keys[other] for other in SPLITS)
    ):
        report.problems.append(f"{where}: the key appears twice")
    seen.keys[split].add(ref.key)
    if split == MINI:
        return
    for name, places in (("group", seen.groups), ("image_sha256", seen.pictures)):
        value = str(meta.get(name, ""))
        if places.setdefault(value, split) != split:
            report.problems.append(f"{where}: {name} {value} is also in {places[value]}")


def _verify_files(shards_dir: Path, listed: dict[str, Any], report: VerifyReport) -> None:
    for split in (*SPLITS, MINI):
        folder = shards_dir / split
        found = {f"{split}/{path.name}" for path in folder.glob("*.tar")}
        report.problems += [
            f"{shards_dir / name}: not in the manifest" for name in sorted(found - listed.keys())
        ]
        sizes = {
            Path(name).name: entry["samples"]
            for name, entry in listed.items()
            if entry["split"] == split
        }
        if sizes and _read_json(folder / SIZES) != sizes:
            report.problems.append(f"{folder / SIZES} does not agree with the manifest")


def _verify_accounting(
    shards_dir: Path, manifest: dict[str, Any], seen: _Seen, report: VerifyReport
) -> None:
    reasons = [row["reason"] for row in _read_csv(shards_dir / REJECTS)]
    report.rows = manifest["csv"]["rows"]
    report.accounting = {
        **{split: len(seen.keys[split]) for split in SPLITS},
        "rejected": sum(reason not in _REPEATED for reason in reasons),
        "duplicates": sum(reason in _REPEATED for reason in reasons),
        "not_clean": sum(manifest["not_clean"].values()),
    }
    if sum(report.accounting.values()) != report.rows:
        parts = " + ".join(f"{count} {name}" for name, count in report.accounting.items())
        report.problems.append(f"{report.rows} rows, but {parts}")
    if not (shards_dir / DUPLICATES).is_file():
        report.problems.append(f"{shards_dir / DUPLICATES} is missing")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _read_csv(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
