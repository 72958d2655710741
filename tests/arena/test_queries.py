"""Photos and texts as queries: embedded by a real model in another process, once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from furnclip.arena.options import ArenaOptions
from furnclip.arena.session import ArenaSession, find_queries, prepare_queries
from furnclip.encoder import Encoder
from furnclip.errors import DataError
from furnclip.vectors import (
    MASTER,
    MasterVectors,
    ModelInfo,
    master_part,
    read_master,
    write_master,
)
from tests.arena.project import drawing, make_project
from tests.tiny import build_tiny_clip


@pytest.fixture
def project(tmp_path: Path) -> ArenaOptions:
    """A project whose two models are real, tiny and different."""
    options = make_project(tmp_path)
    old = read_master(options.embeddings_dir / MASTER)
    encoders = {
        label: Encoder.load(build_tiny_clip(tmp_path / "models" / label, seed=seed))
        for seed, label in enumerate(("base", "tuned"))
    }
    vectors = {}
    for label, encoder in encoders.items():
        images = encoder.images([old.thumbnail(i) for i in range(len(old))])
        vectors[label] = (images, images)
    infos = {
        label: replace(old.models[label], spec=str(tmp_path / "models" / label), sha=encoder.sha)
        for label, encoder in encoders.items()
    }
    infos = {label: replace(info, dim=encoders[label].dim) for label, info in infos.items()}
    _rewrite(old, options.embeddings_dir / MASTER, vectors, infos)
    return options


def _rewrite(
    old: MasterVectors,
    path: Path,
    vectors: dict[str, tuple[np.ndarray, np.ndarray]],
    infos: dict[str, ModelInfo],
) -> None:
    names = [
        name
        for name in old.table.column_names
        if not pa.types.is_fixed_size_list(old.table.schema.field(name).type)
    ]
    columns = {name: old.table.column(name).to_pylist() for name in names}
    write_master(path, [master_part(columns, vectors)], infos)


def test_photos_of_the_evaluation_folder_come_before_the_test_split(project: ArenaOptions) -> None:
    project.evaluation_dir.mkdir(parents=True)
    for number in (3, 4):
        drawing(number).save(project.evaluation_dir / f"{number}.png")
    said: list[str] = []
    prepare_queries(project, announce=said.append)
    assert said == ["Embedding 2 queries, once"]
    session = ArenaSession.open(project)
    session.grader.close()
    assert {c.query.name for c in session.deck} == {"3.png", "4.png"}
    for comparison in session.deck:
        own = int(comparison.query.name[0])
        assert comparison.row_a[0] == comparison.row_b[0] == own
        assert comparison.query.path is not None
        assert session.picture(comparison.query.path).size == (96, 96)


def test_texts_are_embedded_once_and_again_when_they_change(
    project: ArenaOptions, tmp_path: Path
) -> None:
    texts = tmp_path / "queries.txt"
    texts.write_text("a red sofa\na blue oak chair\n")
    options = replace(project, queries_file=texts)
    said: list[str] = []
    prepare_queries(options, announce=said.append)
    prepare_queries(options, announce=said.append)
    assert len(said) == 1
    master = read_master(options.embeddings_dir / MASTER)
    cached = sorted((options.embeddings_dir / "queries").iterdir())
    assert len(cached) == 2
    expected = Encoder.load(master.models["base"].spec).texts(["a red sofa", "a blue oak chair"])
    found = [np.load(path) for path in cached if path.name.startswith(master.models["base"].sha)]
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    assert {q.name for q in find_queries(options, master)} == {"a red sofa", "a blue oak chair"}
    texts.write_text("a green table\n")
    prepare_queries(options, announce=said.append)
    assert len(said) == 2


def test_a_model_that_changed_is_refused_by_name(project: ArenaOptions, tmp_path: Path) -> None:
    build_tiny_clip(tmp_path / "models" / "tuned", seed=9)
    texts = tmp_path / "queries.txt"
    texts.write_text("a red sofa\n")
    with pytest.raises(DataError, match="tuned is not the model the vectors were made with"):
        prepare_queries(replace(project, queries_file=texts))
