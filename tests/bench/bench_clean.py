"""Cleaning against what one would write in an afternoon, on the same input, in one run.

``finalize``: a batch output file of many lines, in another order than the CSV, one line in a
hundred faulty → the cleaned CSV. Peer: a loop that parses each line and assigns the five fields
with pandas ``df.at``. Both are whole processes, so imports count, and peak memory is the process's.

``prepare``: photos → request files. Peer: a loop that opens, letterboxes (LANCZOS)
and encodes with Pillow and writes each line with json. Rows either repeat a few photos under
distinct titles, as variants of a product do, or have a photo each; with 1 and with 2 threads. A
photo 1000 pixels wide is decoded whole for the 512 asked for; one of 3000 by JPEG draft.

    python -m tests.bench.bench_clean finalize --lines 1000000
    python -m tests.bench.bench_clean prepare --rows 100000 --photos 500
    python -m tests.bench.bench_clean prepare --rows 500 --photos 500 --width 3000
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from furnclip.cleaning.prompts import custom_id, request_key
from furnclip.state import StateStore
from furnclip.state.cleaning import RequestRow, RunRow, SourceRow, record_run
from tests.bench.bench_shard import photo

_COLORS = ("black", "white", "oak", "green", "red", None)
_TYPES = ("coffee table", "bar stool", "sofa", "floor lamp", "desk", None)

_DF_AT = """
import json, sys
import pandas as pd

source, answers, target = sys.argv[1:]
df = pd.read_csv(source, dtype=str, keep_default_na=False)
place = {custom_id: index for index, custom_id in enumerate(open(source + ".ids").read().split())}
fields = ("clean_title", "style", "material", "color", "object_type")
for field in fields:
    df[field] = None
with open(answers) as file:
    for line in file:
        record = json.loads(line)
        try:
            content = record["response"]["body"]["choices"][0]["message"]["content"]
            product = json.loads(content)
        except (KeyError, TypeError, ValueError):
            continue
        index = place[record["custom_id"]]
        for field in fields:
            df.at[index, field] = product.get(field)
df.to_csv(target, index=False)
"""

_PILLOW_JSON = """
import base64, csv, io, json, sys
from pathlib import Path
from PIL import Image

source, target = sys.argv[1:]
from furnclip.cleaning.profiles import model_profile
from furnclip.cleaning.prompts import Question
# only for the text of the question, so that both write lines of the same length
body = Question(model_profile("gpt-6-luna"), 512, 90, 512, None).body("", b"")
root = Path(source).parent
with open(source, newline="") as rows, open(target, "w") as out:
    for number, row in enumerate(csv.DictReader(rows)):
        image = Image.open(root / row["local_path"]).convert("RGB")
        scale = 512 / max(image.size)
        size = tuple(round(side * scale) for side in image.size)
        square = Image.new("RGB", (512, 512), "white")
        corner = ((512 - size[0]) // 2, (512 - size[1]) // 2)
        square.paste(image.resize(size, Image.LANCZOS), corner)
        buffer = io.BytesIO()
        square.save(buffer, "JPEG", quality=90)
        url = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
        text, picture = body["messages"][1]["content"]
        text["text"] = "Shop title: " + row["name"]
        picture["image_url"]["url"] = url
        out.write(json.dumps({"custom_id": f"row-{number}", "method": "POST",
                              "url": "/v1/chat/completions", "body": body}) + "\\n")
"""


@dataclass(frozen=True)
class Run:
    """A finished command: wall seconds, processor seconds, peak memory in MiB, children included.

    What processes share with others, mostly libraries, counts once: that of the largest.
    """

    wall: float
    cpu: float
    peak: float


def measure(command: list[str], folder: Path, **environment: str) -> Run:
    """Run a command to its end; raises when it fails."""
    os.sync()  # what was written before is not to be written out meanwhile
    begun = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = 0.0
    with subprocess.Popen(
        command, cwd=folder, env=os.environ | environment, stdout=subprocess.DEVNULL
    ) as process:
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, _memory(tree))
            time.sleep(0.2)  # often enough, and no load for the second core
    wall = time.perf_counter() - begun
    if process.returncode:
        raise SystemExit(f"{command[:4]} exited {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall, cpu, peak)


def _memory(tree: psutil.Process) -> float:
    own, shared = 0, 0
    try:
        for process in (tree, *tree.children(recursive=True)):
            found = process.memory_info()  # exact sizes would stop the process while they are read
            own += found.rss - found.shared
            shared = max(shared, found.shared)
    except psutil.Error:  # ended meanwhile
        pass
    return (own + shared) / 2**20


def furnclip(*words: str) -> list[str]:
    return [sys.executable, "-m", "furnclip", "--quiet", *words]


def answer_lines(identities: list[str], seed: int) -> Iterator[str]:
    """Yield output lines in the shape and size of the vendor's, one in a hundred faulty."""
    draw = random.Random(seed)
    for number, identity in enumerate(identities):
        product = {
            "clean_title": f"Modern {draw.choice(_TYPES) or 'piece'} {number}",
            "style": draw.choice(("modern", "rustic", None)),
            "material": draw.choice(("oak", "steel", "velvet", None)),
            "color": draw.choice(_COLORS),
            "object_type": draw.choice(_TYPES),
        }
        content = json.dumps(product) if number % 100 else json.dumps(product)[:40]
        body = {
            "id": f"chatcmpl-{number:029d}", "object": "chat.completion", "created": 1790000000,
            "model": "gpt-6-luna",
            "choices": [{"index": 0, "logprobs": None, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": content, "refusal": None,
                                     "annotations": []}}],
            "usage": {"prompt_tokens": 936, "completion_tokens": 71, "total_tokens": 1007,
                      "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                      "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0}},
            "service_tier": "default", "system_fingerprint": None,
        }  # fmt: skip
        response = {"status_code": 200, "request_id": f"{number:032x}", "body": body}
        yield json.dumps(
            {"id": f"batch_req_{number:024x}", "custom_id": identity, "response": response,
             "error": None}
        )  # fmt: skip


def prepared_project(folder: Path, lines: int) -> Path:
    """Lay a project with a prepared run of ``lines`` rows and their answers in ``answers.jsonl``.

    The rows go straight into the state file; drawing a million photos would measure nothing.
    """
    source = folder / "products.csv"
    keys = [request_key("bench", f"Product {n}", "") for n in range(lines)]
    identities = [custom_id(key) for key in keys]
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("product_id", "name", "local_path", "description"))
        writer.writerows(
            (f"P{n}", f"ACME Product {n}, SET OF 4", f"images/{n}.jpg", f"A product, number {n}.")
            for n in range(lines)
        )
    Path(f"{source}.ids").write_text("\n".join(identities), "utf-8")
    order = list(range(lines))
    random.Random(1).shuffle(order)
    with (folder / "answers.jsonl").open("w", encoding="utf-8") as file:
        for line in answer_lines([identities[n] for n in order], 2):
            file.write(line + "\n")
    run = RunRow(
        "bench00000", datetime.now(UTC), source.resolve(),
        hashlib.sha256(source.read_bytes()).hexdigest(), folder, "name", "local_path",
        "product_id", "openai", "gpt-6-luna", None, folder / "batches", lines,
    )  # fmt: skip
    rows = [
        SourceRow(n + 1, f"Product {n}", f"images/{n}.jpg", key, "ready", None)
        for n, key in enumerate(keys)
    ]
    requests = [
        RequestRow(key, identity, "gpt-6-luna", 936, 80)
        for key, identity in zip(keys, identities, strict=True)
    ]
    record_run(StateStore(folder / ".furnclip" / "state.duckdb"), run, rows, requests, [])
    return source


def bench_finalize(folder: Path, lines: int) -> None:
    source = prepared_project(folder, lines)
    words = ("--from", "answers.jsonl", "--allow-partial", "--output", "ours.csv")
    mine = measure(furnclip("clean", "finalize", *words), folder)
    theirs = measure(
        [sys.executable, "-c", _DF_AT, str(source), "answers.jsonl", "theirs.csv"], folder
    )
    size = (folder / "answers.jsonl").stat().st_size / lines
    print(f"finalize, {lines:,} lines of {size:.0f} bytes")
    _print(mine, theirs, lines, peer="json + df.at", goal=5)


def catalogue(folder: Path, rows: int, photos: int, width: int) -> Path:
    """Lay a CSV of ``rows`` distinct titles over ``photos`` photos ``width`` pixels wide."""
    (folder / "images").mkdir(parents=True)
    drawn = [photo(seed, width) for seed in range(min(photos, 48))]
    for number in range(photos):
        # The number after the image makes each file another one; decoders stop before it.
        content = drawn[number % len(drawn)] + str(number).encode()
        (folder / "images" / f"{number}.jpg").write_bytes(content)
    with (folder / "products.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("product_id", "name", "local_path"))
        writer.writerows((n, f"ACME chair {n}", f"images/{n % photos}.jpg") for n in range(rows))
    return folder / "products.csv"


def bench_prepare(folder: Path, rows: int, photos: int, width: int) -> None:
    plain = [sys.executable, "-c", _PILLOW_JSON]
    cases = [("a photo each", photos, photos), ("photos repeated", rows, photos)]
    for name, count, pictures in cases if rows > photos else cases[:1]:
        home = folder / name.replace(" ", "-")
        source = catalogue(home, count, pictures, width)
        peer_rows = min(count, 4 * photos)  # the loop's rate does not depend on how long it runs
        peer_source = home / "peer.csv"
        lines = source.read_text("utf-8").splitlines(keepends=True)
        peer_source.write_text("".join(lines[: peer_rows + 1]), "utf-8")
        theirs = measure([*plain, str(peer_source), "peer.jsonl"], home)
        (home / "peer.jsonl").unlink()
        for workers in (1, 2):
            mine = measure(
                furnclip("clean", "prepare", str(source), "--images", str(home)), home,
                FURNCLIP_CLEANING__WORKERS=str(workers),
            )  # fmt: skip
            shutil.rmtree(home / ".furnclip")
            print(f"prepare, {count:,} rows, {pictures:,} photos {width} pixels wide ({name}),")
            print(f"  {workers} threads")
            scale = count / peer_rows
            scaled = Run(theirs.wall * scale, theirs.cpu * scale, theirs.peak)
            _print(mine, scaled, count, peer="Pillow + json", goal=2.5 if workers == 1 else 1.7)
        shutil.rmtree(home)


def _print(mine: Run, theirs: Run, count: int, *, peer: str, goal: float) -> None:
    for name, run in (("furnclip", mine), (peer, theirs)):
        print(
            f"  {name:14}{run.wall:9.1f} s {count / run.wall:12,.0f}/s"
            f"{run.cpu:9.1f} cpu s{run.peak:9.0f} MiB peak"
        )
    print(
        f"  ratio: {theirs.wall / mine.wall:.2f} in time (goal {goal}), "
        f"{theirs.cpu / mine.cpu:.2f} in processor time, {mine.peak / theirs.peak:.2f} in memory"
    )


def main() -> None:
    """Print seconds, rates, peak memory and ratios; nothing fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("finalize", "prepare"))
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--width", type=int, default=1000, help="of the photos, in pixels")
    parser.add_argument("--keep", type=Path, help="lay the input here and leave it")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="bench-clean-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if options.what == "finalize":
            bench_finalize(folder, options.lines)
        else:
            bench_prepare(folder, options.rows, options.photos, options.width)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
