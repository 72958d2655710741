"""Search: the nearest products, under conditions, by words and photos."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from furnclip.embeddings.catalogue import embed_catalogue
from furnclip.embeddings.search import query_vector, rows_where, search
from furnclip.embeddings.session import SearchSession
from furnclip.encoder import Encoder
from furnclip.errors import DataError, ImageError, UsageError
from furnclip.shards import ShardReader
from furnclip.vectors import MasterVectors, read_master
from tests.embeddings.shop import product, write_shop
from tests.tiny import build_tiny_clip

Models = dict[str, str | Path]
Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Path:
    folder = tmp_path_factory.mktemp("project")
    shards = write_shop(folder / "shards")
    embed_catalogue(models, shards_dir=shards, out=folder / "vectors")
    return folder


@pytest.fixture(scope="module")
def master(project: Path) -> MasterVectors:
    return read_master(project / "vectors" / "master.parquet")


class _Axes:
    """A model whose vectors are known: texts point one way, images another."""

    image_size = 32

    def texts(self, texts: Sequence[str]) -> Vectors:
        return np.array([[1, 0]] * len(texts), dtype=np.float32)

    def images(self, images: Sequence[Image.Image]) -> Vectors:
        return np.array([[0, 1]] * len(images), dtype=np.float32)


def test_a_photo_of_the_catalogue_finds_itself(project: Path, tmp_path: Path) -> None:
    photo = tmp_path / "q.jpg"
    photo.write_bytes(ShardReader([project / "shards" / "test" / "test-000000.tar"]).jpg(3))
    session = SearchSession.open(project / "vectors", model="both")
    results = session.search(image=photo, k=3, device="cpu")
    assert list(results) == ["base", "tuned"]
    for hits in results.values():
        assert hits[0].product_id == "p20"
        assert hits[0].score == pytest.approx(1, abs=2e-3)
        assert [hit.rank for hit in hits] == [1, 2, 3]


def test_words_rank_as_the_models_own_similarity(project: Path, models: Models) -> None:
    session = SearchSession.open(project / "vectors", model="base")
    hits = session.search(text="black chair", k=26, device="cpu")["base"]
    encoder = Encoder.load(models["base"], device="cpu", precision="fp32")
    gallery = session.master.vectors("base", "image").astype(np.float32)
    scores = gallery @ encoder.texts(["black chair"])[0]
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores, reverse=True), abs=1e-6)
    assert hits[0].row == int(scores.argmax())


def test_the_tuned_model_is_the_default_and_only_its_images_are_read(project: Path) -> None:
    session = SearchSession.open(project / "vectors")
    assert list(session.master.models) == ["tuned"]
    columns = session.master.table.column_names
    assert not [name for name in columns if name.endswith(("_image", "_text"))]
    assert list(session.master.mapped) == ["tuned_image"]


def test_words_and_photo_are_weighted(tmp_path: Path) -> None:
    photo = tmp_path / "q.png"
    Image.new("RGB", (8, 8)).save(photo)
    both = query_vector(_Axes(), text="x", image=photo, image_weight=0.25)
    assert both == pytest.approx(np.array([0.75, 0.25]) / np.hypot(0.75, 0.25))
    assert query_vector(_Axes(), text="x", image_weight=0.25) == pytest.approx([1, 0])
    assert query_vector(_Axes(), image=photo, image_weight=0.25) == pytest.approx([0, 1])


def test_a_product_with_several_photos_is_listed_once(tmp_path: Path, models: Models) -> None:
    from tests.embeddings.shop import write_shard

    (tmp_path / "shards" / "test").mkdir(parents=True)
    products = [product(0) | {"key": f"{i:024x}"} for i in range(30)] + [product(1), product(2)]
    write_shard(tmp_path / "shards" / "test" / "test-000000.tar", products)
    result = embed_catalogue(models, shards_dir=tmp_path / "shards", out=tmp_path / "out")
    assert result.master is not None
    master = read_master(result.master)
    query = master.vectors("base", "image")[0].astype(np.float32)
    hits = search(master, query, label="base", k=3)
    assert hits[0].product_id == "p0"
    assert {hit.product_id for hit in hits} == {"p0", "p1", "p2"}


def test_conditions_are_sql_on_the_attributes(master: MasterVectors) -> None:
    wanted = rows_where(master, "color = 'black' AND object_type IN ('sofa', 'table')")
    rows = np.flatnonzero(wanted).tolist()
    assert rows == [12, 20]
    assert rows_where(master, "title ILIKE '%black%' -- a comment").sum() == 3
    query = master.vectors("base", "image")[0].astype(np.float32)
    assert {h.row for h in search(master, query, label="base", k=9, allowed=wanted)} == {12, 20}


@pytest.mark.parametrize(
    "condition",
    [
        "colour = 'black'",
        "color = ",
        "1 = 1); DROP TABLE products; --",
        "1 = 1) AS wanted FROM products; SELECT (true",
        "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0",
        "(SELECT count(*) FROM read_text('/etc/passwd')) > 0",
        "true) FROM range(3) t(x) --",
        "",
    ],
)
def test_a_bad_condition_is_a_usage_error(master: MasterVectors, condition: str) -> None:
    with pytest.raises(UsageError, match="--where"):
        rows_where(master, condition)


def test_no_query_is_a_usage_error(project: Path) -> None:
    with pytest.raises(UsageError, match="nothing to search"):
        SearchSession.open(project / "vectors").search(text="  ")


def test_an_unreadable_photo_is_an_image_error(project: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        SearchSession.open(project / "vectors").search(image=tmp_path / "none.jpg", device="cpu")


def test_a_model_that_changed_is_refused(tmp_path: Path) -> None:
    model = build_tiny_clip(tmp_path / "model", seed=5)
    shards = write_shop(tmp_path / "shards", splits={"test": (3,)})
    embed_catalogue({"base": model}, shards_dir=shards, out=tmp_path / "out")
    build_tiny_clip(model, seed=6)
    with pytest.raises(DataError, match="has changed"):
        SearchSession.open(tmp_path / "out").search(text="sofa", device="cpu")


def test_a_model_that_is_gone_is_named_from_here(
    tmp_path: Path, models: Models, shards: Path
) -> None:
    shutil.copytree(models["base"], "models/mine")
    out = tmp_path / "data" / "vectors"
    embed_catalogue({"base": "models/mine"}, shards_dir=shards, out=out)
    shutil.rmtree("models/mine")
    with pytest.raises(DataError, match=r"\(base\) cannot be used: .* models/mine$") as caught:
        SearchSession.open(out).search(text="sofa")
    assert "furnclip embed" in str(caught.value.hint)


def test_both_needs_two_models(tmp_path: Path, models: Models) -> None:
    shards = write_shop(tmp_path / "shards", splits={"test": (3,)})
    embed_catalogue({"base": models["base"]}, shards_dir=shards, out=tmp_path / "out")
    with pytest.raises(DataError, match="'base' only"):
        SearchSession.open(tmp_path / "out", model="both")


def test_the_contact_sheet_needs_nothing_else(project: Path, tmp_path: Path) -> None:
    session = SearchSession.open(project / "vectors", model="both")
    photo = tmp_path / "<q>.png"
    Image.new("RGB", (8, 8), (9, 9, 9)).save(photo)
    results = session.search(text="<b>black", image=photo, k=4, device="cpu")
    session.write_sheet(tmp_path / "out.html", results, text="<b>black", image=photo)
    page = (tmp_path / "out.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 9
    assert "&lt;b&gt;black + &lt;q&gt;.png" in page
    assert "<b>black" not in page
    assert "http" not in page
