"""A decoder that crashes costs its own image and nothing else."""

import sys
import threading
from pathlib import Path

import pytest

from furnclip.preparing.pictures import PictureStore, Recipe, stamp
from furnclip.preparing.worker import receive, send
from furnclip.preparing.workers import WORKER, Worker, make_pictures
from furnclip.state.preparing import Picture
from tests.preparing.catalogues import SMALL, save_pictures

_RECIPE = Recipe.of(SMALL)
_DEADLY = """
import os, sys
from pathlib import Path
from furnclip.preparing import worker
make = worker.make_picture
def make_or_die(root, source, stamp, recipe):
    if source in sys.argv[2:]:
        {death}
    return make(root, source, stamp, recipe)
worker.make_picture = make_or_die
worker.main()
"""


def deadly(log: Path, *sources: str, death: str = "os.abort()") -> tuple[str, ...]:
    return (sys.executable, "-c", _DEADLY.format(death=death), str(log), *sources)


def tasks(root: Path, count: int) -> list[tuple[str, tuple[int, int]]]:
    save_pictures(root, range(count))
    names = [f"images/{number}.jpg" for number in range(count)]
    return [(name, stamp(root, name)) for name in names]


def read_all(root: Path, count: int, command: tuple[str, ...], workers: int = 2) -> PictureStore:
    store = PictureStore(root / "out", {})
    done: list[int] = []
    make_pictures(
        store, tasks(root, count), root=root, recipe=_RECIPE, workers=workers,
        advance=done.append, command=command,
    )  # fmt: skip
    assert sum(done) == count
    return store


@pytest.mark.parametrize("poison", [(7,), (0, 69), (4, 5, 6, 65)])
def test_poison_rows_are_found_and_rejected(tmp_path: Path, poison: tuple[int, ...]) -> None:
    names = {f"images/{number}.jpg" for number in poison}
    store = read_all(tmp_path, 70, deadly(tmp_path / "log", *names))
    rejected = {name: p.message for name, p in store.known.items() if p.reason == "crashed"}
    assert rejected.keys() == names
    assert all("SIGABRT" in message for message in rejected.values())
    assert all(next(store.jpegs([name])) for name in store.known.keys() - names)


@pytest.mark.parametrize("count", [1, 20])
def test_worker_that_died_once_gets_its_batch_again(tmp_path: Path, count: int) -> None:
    log = tmp_path / "log"
    once = "log = Path(sys.argv[1]); log.exists() or (log.touch(), os.abort())"
    store = read_all(tmp_path, count, deadly(log, "images/0.jpg", death=once))
    assert log.exists()
    assert all(not picture.reason for picture in store.known.values())


def test_a_bug_in_the_worker_is_named_in_the_rejects(tmp_path: Path) -> None:
    command = deadly(tmp_path / "log", "images/1.jpg", death="raise RuntimeError('a bug')")
    message = read_all(tmp_path, 3, command).known["images/1.jpg"].message
    assert "RuntimeError: a bug" in message


def test_order_and_content_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    made = []
    for workers in (1, 3):
        store = read_all(tmp_path, 200, WORKER, workers)
        made.append([(name, next(store.jpegs([name]))) for name in store.known])
        for path in (tmp_path / "out" / ".work").iterdir():
            path.unlink()
    assert made[0] == made[1]


def test_interrupt_keeps_the_images_that_were_done(tmp_path: Path) -> None:
    store = PictureStore(tmp_path / "out", {})
    counted: list[int] = []
    threads = threading.active_count()

    def interrupt(count: int) -> None:
        counted.append(count)
        if sum(counted) >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_pictures(
            store, tasks(tmp_path, 160), root=tmp_path, recipe=_RECIPE, workers=2,
            advance=interrupt,
        )  # fmt: skip
    again = PictureStore(tmp_path / "out", {})
    again.recover(_RECIPE.name)
    assert len(again.known) == 48
    assert all(next(again.jpegs([name])) for name in again.known)
    assert threading.active_count() == threads


def test_pictures_of_another_recipe_are_not_recovered(tmp_path: Path) -> None:
    read_all(tmp_path, 3, WORKER)
    again = PictureStore(tmp_path / "out", {})
    again.recover("another")
    assert again.known == {}


def test_closed_worker_leaves_no_process(tmp_path: Path) -> None:
    worker = Worker(tmp_path, _RECIPE)
    made = worker.make(tasks(tmp_path, 2))
    assert [type(picture) for picture, _ in made] == [Picture, Picture]
    process = worker._process
    assert process is not None
    worker.close()
    assert process.poll() == 0
    worker.close()


def test_messages_survive_the_pipe_and_a_cut_one_is_the_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    with path.open("wb") as pipe:
        send(pipe, {"a": b"x" * 100_000})
    with path.open("rb") as pipe:
        assert receive(pipe) == {"a": b"x" * 100_000}
        with pytest.raises(EOFError):
            receive(pipe)
    path.write_bytes(path.read_bytes()[:-1])
    with path.open("rb") as pipe, pytest.raises(EOFError):
        receive(pipe)
