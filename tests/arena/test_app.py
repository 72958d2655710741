"""Every key of the app, through Textual's Pilot, on a real project."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from textual.pilot import Pilot
from textual.widgets import Static

from furnclip.arena.app import ArenaApp
from furnclip.arena.layout import fit_screen
from furnclip.arena.options import ArenaOptions
from furnclip.arena.screens import HelpScreen, ResultsScreen
from furnclip.arena.session import ArenaSession
from furnclip.arena.statistics import ArenaStatistics
from furnclip.state.arena import Vote
from furnclip.terminal import Terminal
from furnclip.terminal.kitty import MAX_ROWS
from tests.arena.project import SECRET, make_project

Play = Callable[[Pilot[None], ArenaApp], Awaitable[None]]


def play(
    options: ArenaOptions,
    script: Play,
    *,
    size: tuple[int, int] = (80, 24),
    graphics: str = "cells",
) -> list[Vote]:
    """Run the app without a terminal, let ``script`` act, and return the standing votes."""
    app = ArenaApp(options, terminal=Terminal(graphics))  # type: ignore[arg-type]
    app.dwell_seconds = 0.0

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await ready(pilot, app)
            await script(pilot, app)

    asyncio.run(run())
    assert app.failure is None
    assert app.session is not None
    return app.session.grader.votes()


async def ready(pilot: Pilot[None], app: ArenaApp) -> None:
    """Wait until the comparison is on screen, or the results."""
    for _ in range(2000):
        await pilot.pause(0.005)
        if isinstance(app.screen, ResultsScreen) or app.canvas.complete_at is not None:
            return
    raise AssertionError("nothing was shown")


async def press(pilot: Pilot[None], app: ArenaApp, *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await ready(pilot, app)


def text_of(app: ArenaApp, selector: str) -> str:
    return str(app.screen.query_one(selector, Static).content)


@pytest.mark.parametrize(
    ("key", "choice"),
    [
        *[("a", "A"), ("b", "B"), ("t", "tie"), ("x", "bad"), ("n", "skip")],
        *[("A", "A"), ("B", "B"), ("T", "tie"), ("X", "bad"), ("N", "skip")],
    ],
)
def test_key_records_its_vote_and_goes_on(tmp_path: Path, key: str, choice: str) -> None:
    seen: list[str] = []

    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        seen.append(text_of(app, "#top-left"))
        await press(pilot, app, key)
        seen.append(text_of(app, "#top-left"))

    (vote,) = play(make_project(tmp_path), script)
    assert (vote.choice, vote.graphics, vote.shown, vote.rater) == (choice, "cells", 4, "ann")
    assert vote.seed == 7
    assert vote.seconds is not None
    assert vote.baseline_sha != vote.challenger_sha
    assert [text.split()[1] for text in seen] == ["1/17", "2/17"]


def test_undo_chain_goes_back_as_far_as_votes_go(tmp_path: Path) -> None:
    queries: list[str] = []

    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        assert app.session is not None
        await press(pilot, app, "a", "b", "n", "u", "u", "u", "u")
        queries.append(text_of(app, "#status"))
        assert app.session.position == 0
        await press(pilot, app, "t", "b")

    votes = play(make_project(tmp_path), script)
    assert [vote.choice for vote in votes] == ["tie", "B"]
    assert queries == ["nothing to take back"]


def test_a_click_into_a_row_is_a_vote_for_it(tmp_path: Path) -> None:
    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        await pilot.click("#b1-picture")
        await ready(pilot, app)
        await pilot.click("#query-slot-picture")
        await pilot.click("#a0-caption")
        await ready(pilot, app)

    assert [vote.choice for vote in play(make_project(tmp_path), script)] == ["B", "A"]


def test_pictures_never_have_more_rows_than_kitty_can_count() -> None:
    for height in (24, 100, 300, 1000):
        layout = fit_screen(1000, height, 1, (10, 10))
        assert layout is not None
        assert max(layout.thumbnail[1], layout.query[1]) <= MAX_ROWS


def test_uppercase_and_lowercase_do_the_same_through_handle_keypress(tmp_path: Path) -> None:
    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        for key in ("A", "b", "T", "u"):
            app.handle_keypress(key)
            await ready(pilot, app)

    votes = play(make_project(tmp_path), script)
    assert [vote.choice for vote in votes] == ["A", "B"]


def test_keys_before_the_pictures_are_there_judge_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = threading.Event()
    load = ArenaSession.picture

    def slowly(session: ArenaSession, item: int | Path) -> Image.Image:
        arrived.wait()
        return load(session, item)

    monkeypatch.setattr(ArenaSession, "picture", slowly)
    app = ArenaApp(make_project(tmp_path), terminal=Terminal("cells"))

    async def run() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            while app.session is None or app.session.current is None:
                await pilot.pause(0.005)
            await pilot.press("a", "b", "t")
            assert text_of(app, "#status") == "still loading"
            assert app.session.judged == 0
            arrived.set()
            await ready(pilot, app)
            assert text_of(app, "#status").startswith("which row")

    asyncio.run(run())


def test_fast_keys_judge_each_comparison_at_most_once(tmp_path: Path) -> None:
    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        await pilot.press(*["a", "b"] * 6)
        await ready(pilot, app)

    votes = play(make_project(tmp_path), script)
    assert len({(vote.query, vote.repeated) for vote in votes}) == len(votes) >= 1


def test_fast_keys_judge_nothing_that_the_prefetch_has_not_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = threading.Event()
    loaded: list[int | Path] = []
    load = ArenaSession.picture

    def stalls(session: ArenaSession, item: int | Path) -> Image.Image:
        loaded.append(item)
        if len(loaded) > 9:  # what the first comparison shows at most; the rest is prefetched
            arrived.wait()
        return load(session, item)

    monkeypatch.setattr(ArenaSession, "picture", stalls)

    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        try:
            await pilot.press("a", "b", "t", "x", "b")
            assert text_of(app, "#status") == "still loading"
            assert app.session is not None
            assert app.session.judged == 1
        finally:
            arrived.set()
        await ready(pilot, app)
        await press(pilot, app, "b")

    assert [vote.choice for vote in play(make_project(tmp_path), script)] == ["A", "B"]


def test_a_key_that_bounces_is_ignored(tmp_path: Path) -> None:
    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        app.dwell_seconds = 3600.0
        await press(pilot, app, "a")

    assert play(make_project(tmp_path), script) == []


def test_help_opens_closes_and_lets_no_vote_through(tmp_path: Path) -> None:
    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        assert "take the last judgement back" in text_of(app, "#help")
        await pilot.press("a", "escape")
        await pilot.pause()
        assert app.screen.id == app.board.id

    assert play(make_project(tmp_path), script) == []


def test_quit_shows_names_and_statistics_and_no_vote_counts_after(tmp_path: Path) -> None:
    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        await press(pilot, app, "a", "q")
        for _ in range(1000):
            await pilot.pause(0.005)
            if "against" in text_of(app, "#report"):
                break
        assert "tuned against base" in text_of(app, "#report")
        await pilot.press("b", "t")

    assert len(play(make_project(tmp_path), script)) == 1


def test_last_comparison_leads_to_the_results(tmp_path: Path) -> None:
    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        await press(pilot, app, "a", "b")
        assert isinstance(app.screen, ResultsScreen)

    assert len(play(make_project(tmp_path, limit=2, repeat_fraction=0.0), script)) == 2


@pytest.mark.parametrize(
    ("size", "shown"), [((80, 24), 4), ((160, 50), 5), ((79, 24), 3), ((60, 18), 3)]
)
def test_every_size_shows_whole_pictures(tmp_path: Path, size: tuple[int, int], shown: int) -> None:
    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        pictures = app.board.pictures()
        assert len(pictures) == 1 + 2 * shown
        assert all(picture.key is not None for picture in pictures)
        regions = [picture.region for picture in pictures]
        for region in regions:
            assert region.width * region.height > 0
            assert region.right <= size[0]
            assert region.bottom <= size[1] - 1
        for i, one in enumerate(regions):
            assert not any(one.overlaps(other) for other in regions[i + 1 :])

    play(make_project(tmp_path), script, size=size)


def test_resize_rearranges_refuses_and_comes_back(tmp_path: Path) -> None:
    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        await pilot.resize_terminal(50, 15)
        await pilot.pause()
        assert "50x15" in text_of(app, "#refusal")
        await pilot.press("a")
        await pilot.resize_terminal(120, 40)
        await ready(pilot, app)
        assert not app.board.query_one("#refusal").display
        await press(pilot, app, "b")

    votes = play(make_project(tmp_path), script)
    assert [(vote.choice, vote.shown) for vote in votes] == [("B", 4)]


def test_text_graphics_shows_titles_without_pictures(tmp_path: Path) -> None:
    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        assert "Product" in str(app.board.query_one("#a0-caption", Static).content)
        await press(pilot, app, "a")

    assert len(play(make_project(tmp_path), script, graphics="text")) == 1


def test_no_model_name_is_on_screen_before_the_end(tmp_path: Path) -> None:
    options = make_project(tmp_path, models=tuple(SECRET.values()))
    screens: list[str] = []

    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        for key in ("a", "b", "t", "x", "n", "u"):
            await press(pilot, app, key)
            screens.append(app.export_screenshot())

    play(options, script)
    assert not any("zebra" in screen for screen in screens)


def test_moved_shards_leave_a_note_instead_of_pictures(tmp_path: Path) -> None:
    options = make_project(tmp_path)
    (tmp_path / "data/shards/test/test-000000.tar").unlink()

    async def script(pilot: Pilot[None], app: ArenaApp) -> None:
        await press(pilot, app, "a")

    assert len(play(options, script)) == 1


def test_missing_vectors_end_the_app_with_the_reason(tmp_path: Path) -> None:
    options = replace(make_project(tmp_path), embeddings_dir=tmp_path / "none")
    app = ArenaApp(options, terminal=Terminal("cells"))

    async def run() -> None:
        async with app.run_test() as pilot:
            for _ in range(1000):
                await pilot.pause(0.005)
                if app.failure is not None:
                    return

    asyncio.run(run())
    assert app.failure is not None
    assert "no vectors" in app.failure.message


def test_documented_example_walks_the_deck_without_a_screen(tmp_path: Path) -> None:
    make_project(tmp_path)
    app = ArenaApp()
    first = app.next_query()
    assert first is not None
    app.display_comparison()
    app.handle_keypress("b")
    assert app.session is not None
    assert app.session.current is not first
    app.handle_keypress("u")
    assert app.session.current is first
    app.handle_keypress("a")
    statistics = app.display_results()
    assert isinstance(statistics, ArenaStatistics)
    assert statistics.pairs[0].decisive == 1
    app.session.grader.close()
