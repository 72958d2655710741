"""Data loading, side by side: ``python -m tests.bench.bench_data --peers PYTHON [--photos DIR]``.

The same photos as shards and as files: furnclip's reader and transform, open_clip's webdataset
pipeline, and one PIL file with a ``CLIPProcessor`` call a sample, both of the photos made 224
pixels large beforehand and of the photos as they are. Batches of normalised float32
(n, 3, 224, 224) and token ids come out of all. open_clip crops at random, as furnclip's ``simple``
does; ``CLIPProcessor`` does not, as its ``none``, so that is what each is compared with. furnclip
tokenises when the pipeline is built, the peers each time they read a sample. PYTHON as for
``bench_step``; open_clip reads what webdataset 0.2 gives, not 1.0.
"""

import argparse
import io
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from furnclip.images import encode_jpeg, load_letterboxed
from tests.bench.bench_step import _json, captions, write_model
from tests.bench.peers.data_peers import rate

PEERS = Path(__file__).parent / "peers" / "data_peers.py"
_A_SHARD = 250
_AIMS = (("simple", "open_clip", 2), ("none", "files", 4), ("none", "the photos themselves", 4))


def photos(folder: str | None, count: int) -> list[bytes]:
    """Return JPEGs as a catalogue has them."""
    from furnclip.demo.catalogue import draw, products

    if folder is not None:
        paths = sorted(Path(folder).rglob("*.jpg"))
        found = [path.read_bytes() for path in paths[:count]]
    else:
        found = [draw(product, 0) for product in products(min(count, 200), 0)]
    return [found[i % len(found)] for i in range(count)]


def prepared(photo: bytes) -> bytes:
    """Letterbox to 224 pixels, as ``furnclip shard`` does."""
    return encode_jpeg(load_letterboxed(photo, 224).image, quality=95)


def write_samples(folder: Path, originals: list[bytes], texts: list[str]) -> None:
    for name in ("shards", "files", "originals"):
        (folder / name).mkdir()
    images = {photo: prepared(photo) for photo in set(originals)}
    for start in range(0, len(originals), _A_SHARD):
        with tarfile.open(folder / f"shards/train-{start // _A_SHARD:06d}.tar", "w") as archive:
            for row in range(start, min(start + _A_SHARD, len(originals))):
                image, text = images[originals[row]], texts[row].encode()
                for extension, content in (("jpg", image), ("txt", text)):
                    info = tarfile.TarInfo(f"{row:09d}.{extension}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
                    (folder / f"files/{row:09d}.{extension}").write_bytes(content)
                (folder / f"originals/{row:09d}.jpg").write_bytes(originals[row])
                (folder / f"originals/{row:09d}.txt").write_bytes(text)
    (folder / "count.json").write_text(json.dumps(len(originals)))


def furnclip_rate(folder: Path, workers: int, batch: int, augmentation: str) -> dict[str, float]:
    from furnclip.encoder import load_model
    from furnclip.training.data import get_wds_pipeline

    _, processor = load_model(folder / "model")
    pipeline = get_wds_pipeline(
        folder / "shards",
        processor,
        batch_size=batch,
        workers=workers,
        augmentation=augmentation,
    )
    return rate(pipeline, lambda found: len(found["input_ids"]))


def main() -> None:
    parser = argparse.ArgumentParser(description="Data loading against the peers.")
    parser.add_argument("--peers", default=os.environ.get("FURNCLIP_BENCH_PEERS", sys.executable))
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--photos", help="a folder of JPEGs; default: drawn ones")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_model(folder / "model", tiny=False)
        write_samples(folder, photos(args.photos, args.count), captions(None, args.count))
        ours = {
            kind: furnclip_rate(folder, args.workers, args.batch, kind)
            for kind in ("none", "simple")
        }
        settings = [f"workers={args.workers}", f"batch={args.batch}"]
        found = {f"furnclip, augmentation {kind}": row for kind, row in ours.items()} | {
            name: _json([args.peers, str(PEERS), task, str(folder), *settings])
            for name, task in (
                ("open_clip's webdataset", "open_clip"),
                ("a PIL file and CLIPProcessor", "files"),
                ("the photo itself and CLIPProcessor", "originals"),
            )
        }
    print(f"{args.count} photos, {args.workers} workers, batches of {args.batch}")
    print(f"{'':36}{'samples/s':>11}{'a core-s':>10}")
    for name, row in found.items():
        print(f"{name:36}{row['per_second']:>11,.0f}{row['per_core_second']:>10,.0f}")
    peers = list(found.values())[len(ours) :]
    for (kind, name, aim), row in zip(_AIMS, peers, strict=True):
        faster, leaner = (ours[kind][u] / row[u] for u in ("per_second", "per_core_second"))
        print(f"furnclip ({kind}) / {name}: x{faster:.1f} (aim {aim}), a core-second x{leaner:.1f}")


if __name__ == "__main__":
    main()
