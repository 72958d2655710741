import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPModel

from furnclip.errors import DataError
from furnclip.shards import ShardReader, list_shards
from furnclip.training.data import (
    epoch_batches,
    fitted_batch_size,
    get_wds_pipeline,
    rank_sizes,
    read_pairs,
    trimmed,
)
from furnclip.training.model import get_model
from furnclip.training.pixels import Decoding, Held, open_pixels
from tests.embeddings.shop import product, write_shard
from tests.tiny import build_tiny_clip
from tests.training.shards import TEXTS, write_split


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_clip(tmp_path_factory.mktemp("base"), texts=TEXTS)


@pytest.fixture(scope="module")
def processor(base: Path) -> Any:
    return get_model("zero_shot", base=base)[1]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_split(tmp_path_factory.mktemp("shards") / "train", products=30, photos=2)


@pytest.mark.parametrize(("rows", "batch", "ranks"), [(60, 16, 1), (61, 16, 2), (7, 100, 3)])
def test_epoch_covers_every_row_once_across_ranks(rows: int, batch: int, ranks: int) -> None:
    seen: list[int] = []
    for epoch_batch in epoch_batches(rows, batch, seed=3, epoch=1):
        sizes = rank_sizes(len(epoch_batch), ranks)
        assert max(sizes) - min(sizes) <= 1
        starts = np.cumsum([0, *sizes])
        for rank in range(ranks):
            seen += epoch_batch[starts[rank] : starts[rank + 1]].tolist()
    assert sorted(seen) == list(range(rows))


def test_batches_of_an_epoch_are_of_even_size() -> None:
    sizes = {len(batch) for batch in epoch_batches(1025, 512, seed=0, epoch=1)}
    assert sizes == {341, 342}


def test_batch_larger_than_the_split_becomes_an_eighth_of_it() -> None:
    assert fitted_batch_size(2000, 1024) == 1024
    assert fitted_batch_size(1024, 1024) == 1024
    assert fitted_batch_size(387, 1024) == 49
    assert fitted_batch_size(40, 1024) == 16
    assert fitted_batch_size(5, 1024) == 5


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def first(seed: int, epoch: int) -> list[int]:
        return [int(row) for row in epoch_batches(50, 8, seed=seed, epoch=epoch)[0]]

    assert first(0, 1) == first(0, 1)
    assert len({tuple(first(*at)) for at in [(0, 1), (0, 2), (1, 1), (1, 0)]}) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_decoding_gives_every_image_in_the_order_asked(split: Path, workers: int) -> None:
    reader = ShardReader(list_shards(split))
    held = open_pixels(reader, size=32, cache_bytes=2**30)
    assert isinstance(held, Held)
    batches = epoch_batches(len(reader), 25, seed=0, epoch=1)
    found = list(Decoding(reader, size=32, workers=workers).stream(batches))
    assert [len(part) for part in found] == [20, 20, 20]
    for batch, part in zip(batches, found, strict=True):
        assert torch.equal(part, held.rows[torch.from_numpy(batch)])


def test_images_that_do_not_fit_in_memory_are_decoded_each_time(split: Path) -> None:
    reader = ShardReader(list_shards(split))
    fits = len(reader) * 3 * 32 * 32
    assert isinstance(open_pixels(reader, size=32, cache_bytes=fits - 1), Decoding)
    assert isinstance(open_pixels(reader, size=32, cache_bytes=fits), Held)


def test_pairs_know_products_and_captions(split: Path, processor: Any) -> None:
    table = read_pairs(split, processor, max_length=32)
    assert len(table) == 60
    assert table.groups[:4] == ["p0", "p0", "p1", "p1"]
    assert len(torch.unique(table.products)) == 30
    assert len(torch.unique(table.captions)) == 30
    first = table.ids[0, : table.lengths[0]].tolist()
    assert first == processor.tokenizer("a red sofa")["input_ids"]


def test_products_of_one_group_are_not_each_others_right_answers(
    tmp_path: Path, processor: Any
) -> None:
    folder = write_shard_of(tmp_path / "train", [("sofa-red", "sofa"), ("sofa-blue", "sofa")])
    table = read_pairs(folder, processor, max_length=32)
    assert table.groups == ["sofa-red", "sofa-blue"]
    assert len(torch.unique(table.products)) == 2


def write_shard_of(folder: Path, products: list[tuple[str, str]]) -> Path:
    folder.mkdir()
    rows = [
        {**product(number), "product_id": name, "group": group}
        for number, (name, group) in enumerate(products)
    ]
    write_shard(folder / "train-000000.tar", rows)
    return folder


def test_fingerprint_changes_with_the_pairs(tmp_path: Path, processor: Any) -> None:
    tables = [
        read_pairs(write_split(tmp_path / name, products=n), processor, max_length=32)
        for name, n in (("a", 8), ("b", 8), ("c", 9))
    ]
    assert tables[0].fingerprint == tables[1].fingerprint != tables[2].fingerprint


def test_trimming_padding_does_not_change_text_features(base: Path, processor: Any) -> None:
    model: Any = CLIPModel.from_pretrained(base)
    model.eval()
    texts = ["a red sofa", "a b c d e f g h"]
    padded = processor.tokenizer(texts, padding="max_length", max_length=32, return_tensors="pt")
    short = trimmed(padded["input_ids"], padded["attention_mask"].sum(dim=1))
    assert short.shape[1] == 16
    with torch.no_grad():
        expected = model.get_text_features(**padded).pooler_output
        found = model.get_text_features(input_ids=short).pooler_output
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_shards_without_json_are_read_as_products_of_their_own(
    tmp_path: Path, split: Path, processor: Any
) -> None:
    reader = ShardReader(list_shards(split))
    folder = tmp_path / "foreign"
    folder.mkdir()
    with tarfile.open(folder / "00000.tar", "w") as archive:
        for row in range(3):
            for name, content in (("jpg", reader.jpg(row)), ("txt", b"a bed")):
                info = tarfile.TarInfo(f"{row:09d}.{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    table = read_pairs(folder, processor, max_length=32)
    assert table.groups == ["000000000", "000000001", "000000002"]
    assert len(torch.unique(table.captions)) == 1


def test_missing_shards_name_the_command_that_makes_them(tmp_path: Path, processor: Any) -> None:
    with pytest.raises(DataError, match="no shards in") as caught:
        get_wds_pipeline(tmp_path / "none", processor)
    assert "furnclip shard" in str(caught.value.hint)


def test_own_training_loop_of_the_api_document(base: Path, split: Path) -> None:
    torch.manual_seed(0)
    model, processor = get_model("dual_lora", base=base, lora_r=16)
    model.to("cpu")
    dataset = get_wds_pipeline(split, processor, is_train=True, batch_size=20)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(20):
        for batch in dataset:
            outputs = model(**batch, return_loss=True)
            loss = outputs.loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
    assert len(losses) == 20 * 3
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_pipeline_shuffles_and_augments_training_only(split: Path, processor: Any) -> None:
    def passes(is_train: bool) -> list[list[dict[str, torch.Tensor]]]:  # noqa: FBT001
        pipeline = get_wds_pipeline(split, processor, is_train, batch_size=25)
        return [list(pipeline), list(pipeline)]

    first, second = passes(is_train=False)
    assert [len(batch["input_ids"]) for batch in first] == [25, 25, 10]
    assert all(
        torch.equal(a["pixel_values"], b["pixel_values"])
        for a, b in zip(first, second, strict=True)
    )
    first, second = passes(is_train=True)
    assert not torch.equal(first[0]["pixel_values"], second[0]["pixel_values"])
    again, _ = passes(is_train=True)
    assert torch.equal(first[0]["pixel_values"], again[0]["pixel_values"])


def test_remote_shards_are_streamed(split: Path, processor: Any) -> None:
    pattern = f"pipe:cat {split}/train-{{000000..000001}}.tar"
    batches = list(get_wds_pipeline(pattern, processor, is_train=False, batch_size=25))
    local = list(get_wds_pipeline(split, processor, is_train=False, batch_size=25))
    assert [len(batch["input_ids"]) for batch in batches] == [25, 25, 10]
    for remote, exact in zip(batches, local, strict=True):
        assert torch.equal(remote["pixel_values"], exact["pixel_values"])
