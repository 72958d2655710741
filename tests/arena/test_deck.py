"""The deck: seeded, balanced, blind to nothing but the seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from furnclip.arena.deck import build_deck
from furnclip.arena.options import ArenaOptions
from furnclip.arena.queries import photo_queries, product_queries, query_vectors, text_queries
from furnclip.arena.session import ArenaSession
from furnclip.errors import DataError, UsageError
from furnclip.vectors import MASTER, master_part, read_master, write_master
from tests.arena.project import drawing, make_project


def _deck(options: ArenaOptions) -> list[object]:
    session = ArenaSession.open(options)
    session.grader.close()
    return list(session.deck)


def test_same_seed_same_deck_other_seed_other_deck(tmp_path: Path) -> None:
    options = make_project(tmp_path)
    assert _deck(options) == _deck(options)
    assert _deck(options) != _deck(replace(options, seed=8))


def test_rows_are_the_exact_neighbours_without_the_query_itself(tmp_path: Path) -> None:
    options = make_project(tmp_path)
    master = read_master(options.embeddings_dir / MASTER)
    session = ArenaSession.open(options)
    for comparison in session.deck:
        row = comparison.query.row
        assert row is not None
        for label, shown in (
            (comparison.baseline, comparison.baseline_is_row_a),
            (comparison.challenger, not comparison.baseline_is_row_a),
        ):
            vectors = master.vectors(label, "image").astype(np.float32)
            scores = vectors @ vectors[row]
            scores[row] = -9
            expected = np.argsort(-scores)[: options.k].tolist()
            assert list(comparison.row_a if shown else comparison.row_b) == expected


def test_other_photos_of_the_same_product_are_no_hits(tmp_path: Path) -> None:
    options = make_project(tmp_path)
    master = read_master(options.embeddings_dir / MASTER)
    products = ["one" if i < 10 else f"p{i}" for i in range(30)]
    column = master.table.column_names.index("product_id")
    table = master.table.set_column(column, "product_id", [products])
    master = replace(master, table=table)
    queries = product_queries(master)
    deck = build_deck(
        master, queries, query_vectors(queries, master, tmp_path),
        pairs=[("base", "tuned")], k=5, seed=1, limit=50,
    )  # fmt: skip
    for comparison in deck:
        own = products[comparison.query.row or 0]
        assert own not in {products[row] for row in (*comparison.row_a, *comparison.row_b)}


def test_a_tenth_comes_twice_swapped_and_later(tmp_path: Path) -> None:
    options = make_project(tmp_path, products=200)
    deck = ArenaSession.open(options).deck
    repeats = [(i, c) for i, c in enumerate(deck) if c.repeated]
    assert len(repeats) == 10
    for place, repeat in repeats:
        first = next(c for c in deck if c.query == repeat.query)
        assert place - deck.index(first) >= 8
        assert (first.row_a, first.row_b) == (repeat.row_b, repeat.row_a)
        assert first.baseline_is_row_a is not repeat.baseline_is_row_a


def test_sides_are_balanced(tmp_path: Path) -> None:
    options = make_project(tmp_path, products=400)
    upper = [c.baseline_is_row_a for c in ArenaSession.open(options).deck]
    assert 0.4 < np.mean(upper) < 0.6


def test_limit_counts_repeats(tmp_path: Path) -> None:
    assert len(_deck(make_project(tmp_path, products=60, limit=12))) == 12


def test_identical_lists_are_ties_nobody_sees(tmp_path: Path) -> None:
    session = ArenaSession.open(make_project(tmp_path, same=True))
    assert session.advance() is None
    votes = session.grader.votes()
    session.grader.close()
    assert {(vote.choice, vote.automatic) for vote in votes} == {("tie", True)}
    assert len(votes) == 15


def test_three_models_meet_in_every_pair(tmp_path: Path) -> None:
    options = make_project(tmp_path, models=("base", "tuned", "other"))
    pairs = {(c.baseline, c.challenger) for c in ArenaSession.open(options).deck}
    assert pairs == {("base", "tuned"), ("base", "other"), ("tuned", "other")}


def test_a_model_cannot_meet_itself(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="itself"):
        _ = make_project(tmp_path, challengers=("base",)).pairs


def test_judged_queries_do_not_come_again_to_the_same_user(tmp_path: Path) -> None:
    options = make_project(tmp_path, repeat_fraction=0.0)
    session = ArenaSession.open(options)
    first = session.advance()
    assert first is not None
    session.vote("A")
    session.advance()
    session.vote("skip")
    session.grader.close()
    again = ArenaSession.open(options)
    assert len(again.deck) == 14
    assert first.query not in [c.query for c in again.deck]
    assert len(ArenaSession.open(replace(options, user="bob")).deck) == 15


def test_a_model_trained_again_is_asked_about_again(tmp_path: Path) -> None:
    options = make_project(tmp_path, repeat_fraction=0.0)
    session = ArenaSession.open(options)
    session.advance()
    session.vote("A")
    session.grader.close()
    path = options.embeddings_dir / MASTER
    master = read_master(path)
    names = [n for n in master.table.column_names if not n.endswith(("_image", "_text"))]
    columns = {name: master.table.column(name).to_pylist() for name in names}
    vectors = {
        label: (master.vectors(label, "image"), master.vectors(label, "text"))
        for label in master.models
    }
    models = master.models | {"tuned": replace(master.models["tuned"], sha="f" * 16)}
    turned = replace(options, baseline="tuned", challengers=("base",))
    assert len(_deck(turned)) == 14
    write_master(path, [master_part(columns, vectors)], models)
    assert len(_deck(options)) == 15


def test_nothing_left_to_judge_is_said(tmp_path: Path) -> None:
    options = make_project(tmp_path, same=True)
    session = ArenaSession.open(options)
    session.advance()
    session.grader.close()
    with pytest.raises(DataError, match="judged all 15 queries"):
        ArenaSession.open(options)


def test_missing_vectors_name_the_command(tmp_path: Path) -> None:
    options = replace(make_project(tmp_path), embeddings_dir=tmp_path / "nowhere")
    with pytest.raises(DataError) as caught:
        ArenaSession.open(options)
    assert "furnclip embed" in (caught.value.hint or "")


def test_photos_and_texts_are_listed(tmp_path: Path) -> None:
    folder = tmp_path / "photos" / "more"
    folder.mkdir(parents=True)
    drawing(1).save(folder / "a.JPG", "JPEG")
    drawing(2).save(tmp_path / "photos" / "b.png")
    (folder / "notes.txt").write_text("no photo")
    assert [q.name for q in photo_queries(tmp_path / "photos")] == ["b.png", "more/a.JPG"]
    texts = tmp_path / "texts"
    texts.write_text("\ufeffoak desk\n\n  red sofa \noak desk\n", "utf-8")
    assert [q.name for q in text_queries(texts)] == ["oak desk", "red sofa"]
    texts.write_text("\n")
    with pytest.raises(DataError, match="no queries"):
        text_queries(texts)
    with pytest.raises(DataError, match="cannot read"):
        text_queries(tmp_path / "absent")
