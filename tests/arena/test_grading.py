"""Votes survive crashes, locks, threads and processes, and are counted once."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from scipy import stats

from furnclip.arena import journal
from furnclip.arena.grading import ArenaGrader
from furnclip.errors import DataError, UsageError
from furnclip.state import StateStore
from furnclip.state.arena import merge, standing_votes


def _grader(folder: Path) -> ArenaGrader:
    return ArenaGrader(StateStore(folder / "state.duckdb", budget_seconds=60), rater="ann")


def _save(grader: ArenaGrader, query: str, choice: str = "B") -> str:
    return grader.save_vote(query, "base", "tuned", choice, baseline_is_row_a=True)


def test_documented_example_runs_from_the_settings(tmp_path: Path) -> None:
    grader = ArenaGrader()
    grader.save_vote(
        query_image="sofa_001.jpg",
        baseline_method="Base CLIP",
        challenger_method="Fine-Tuned CLIP",
        user_choice="B",
        baseline_is_row_a=True,
    )
    statistics = grader.compute_statistics()
    grader.close()
    assert (statistics.pairs[0].wins, statistics.pairs[0].losses) == (1, 0)
    assert (tmp_path / ".furnclip" / "state.duckdb").is_file()


def test_print_statistics_writes_to_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grader = _grader(tmp_path)
    _save(grader, "q")
    grader.print_statistics()
    grader.close()
    assert "tuned is ahead of base" in capsys.readouterr().out


def test_unknown_vote_is_refused_and_not_recorded(tmp_path: Path) -> None:
    grader = _grader(tmp_path)
    with pytest.raises(UsageError, match="'C'"):
        _save(grader, "q", "C")
    assert grader.votes() == []


def test_vote_is_on_disk_when_save_returns(tmp_path: Path) -> None:
    grader = _grader(tmp_path)
    event = _save(grader, "q")
    (path,) = journal.journals(tmp_path / "arena")
    votes, _, _ = journal.read(path)
    assert [vote.event for vote in votes] == [event]
    grader.close()


def test_vote_is_synced_to_the_disk_before_save_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[int, int] = {}
    fsync = os.fsync

    def watched(fd: int) -> None:
        fsync(fd)
        status = os.fstat(fd)
        synced[status.st_ino] = status.st_size

    monkeypatch.setattr(os, "fsync", watched)
    grader = _grader(tmp_path)
    for number in range(3):
        _save(grader, f"q{number}")
        (path,) = (tmp_path / "arena").glob("*.jsonl")
        assert synced[path.stat().st_ino] == path.stat().st_size
    grader.close()


def test_undo_is_an_event_and_nothing_is_deleted(tmp_path: Path) -> None:
    grader = _grader(tmp_path)
    events = [_save(grader, f"q{n}") for n in range(3)]
    grader.undo_vote(events[1])
    assert [vote.query for vote in grader.votes()] == ["q0", "q2"]
    (path,) = journal.journals(tmp_path / "arena")
    votes, undos, _ = journal.read(path)
    assert (len(votes), [undo.undoes for undo in undos]) == (3, [events[1]])
    grader.close()


def test_line_cut_by_a_crash_is_ignored_until_it_is_whole(tmp_path: Path) -> None:
    grader = _grader(tmp_path)
    _save(grader, "q0")
    grader.close()
    (path,) = journal.journals(tmp_path / "arena")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    votes, _, end = journal.read(path)
    assert (len(votes), end) == (1, len(whole))


def test_damaged_line_names_file_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"kind": "vote"}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl: the line at byte 0"):
        journal.read(path)


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from furnclip.arena.grading import ArenaGrader
from furnclip.errors import DataError
from furnclip.state import StateStore

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
grader = ArenaGrader(StateStore(Path("state.duckdb")), rater="ann")
def save(query):
    return grader.save_vote(query, "base", "tuned", "B", baseline_is_row_a=True)
save("q0")
size = next(Path("arena").glob("*.jsonl")).stat().st_size
grader.merge()
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, limits[1]))
try:
    save("q1")
except DataError as error:
    print(error.message)
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
save("q2")
print([vote.query for vote in grader.votes()])
grader.close()
"""


def test_a_full_disk_refuses_one_vote_and_spoils_no_other(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    refused, votes = done.stdout.splitlines()
    assert "cannot write the vote journal arena/" in refused
    assert votes == "['q0', 'q2']"


def test_votes_from_many_threads_are_all_kept(tmp_path: Path) -> None:
    grader = _grader(tmp_path)

    def work(thread: int) -> None:
        for n in range(25):
            _save(grader, f"q{thread}-{n}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    votes = grader.votes()
    grader.close()
    assert len({vote.query for vote in votes}) == len(votes) == 200
    assert sorted(vote.sequence for vote in votes) == list(range(1, 201))


def _vote_and_die(folder: Path, acknowledged: Path, votes: int) -> None:
    grader = _grader(folder)
    with acknowledged.open("a") as file:
        for n in range(votes):
            file.write(_save(grader, f"{os.getpid()}-{n}") + "\n")
            file.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def test_kill_nine_loses_no_acknowledged_vote(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    files = [tmp_path / f"acknowledged-{n}" for n in range(2)]
    workers = [context.Process(target=_vote_and_die, args=(tmp_path, f, 30)) for f in files]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == -signal.SIGKILL
    saved = [line for file in files for line in file.read_text().split()]
    grader = _grader(tmp_path)
    assert sorted(vote.event for vote in grader.votes()) == sorted(saved)
    grader.merge()
    assert len(standing_votes(grader.store)) == 60


def _vote_for_ever(folder: Path, acknowledged: Path, seed: int) -> None:
    grader = _grader(folder)
    generator = random.Random(seed)
    with acknowledged.open("a") as file:
        for n in range(1_000_000):
            choice = generator.choice(["A", "B", "tie", "bad"])
            file.write(f"{_save(grader, f'{seed}-{n}', choice)} {choice}\n")
            file.flush()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_votes_of_four_processes_killed_at_random(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    generator = random.Random(5)
    files: list[Path] = []
    saved: dict[str, str] = {}
    while len(saved) < 10_000 or len(files) < 20:
        round_files = [tmp_path / f"acknowledged-{len(files) + n}" for n in range(4)]
        files += round_files
        workers = [
            context.Process(target=_vote_for_ever, args=(tmp_path, file, len(files) + n))
            for n, file in enumerate(round_files)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(generator.uniform(0.2, 1.5))
            worker.kill()
        for worker in workers:
            worker.join()
        for file in round_files:
            lines = file.read_text().split("\n")[:-1] if file.exists() else []
            saved |= dict(line.split() for line in lines)
    grader = _grader(tmp_path)
    standing = grader.votes()
    votes = {vote.event: vote.choice for vote in standing}
    twice = len(standing) - len(votes)
    lost = len(saved.keys() - votes.keys())
    print(f"{len(saved)} votes acknowledged by {len(files)} processes killed: {lost=}, {twice=}")
    assert (lost, twice) == (0, 0)
    assert saved.items() <= votes.items()
    assert len(votes) - len(saved) <= len(files)  # saved, killed before it could be noted
    (pair,) = grader.compute_statistics().pairs
    counts = Counter(votes.values())
    assert (pair.wins, pair.losses) == (counts["B"], counts["A"])
    assert (pair.ties, pair.both_bad) == (counts["tie"], counts["bad"])
    test = stats.binomtest(counts["B"], counts["A"] + counts["B"])
    interval = test.proportion_ci(method="wilson")
    assert pair.p_value == pytest.approx(test.pvalue)
    assert pair.interval == pytest.approx((interval.low, interval.high))


def test_vote_waits_in_the_journal_while_the_state_file_is_held(tmp_path: Path) -> None:
    holder = StateStore(tmp_path / "state.duckdb")
    grader = ArenaGrader(StateStore(tmp_path / "state.duckdb", budget_seconds=0.05), rater="ann")
    with holder.transaction():
        _save(grader, "q")
        grader.close()
    assert standing_votes(holder) == []
    assert [vote.query for vote in _grader(tmp_path).votes()] == ["q"]


def test_vote_joins_the_state_file_once_it_is_free_again(tmp_path: Path) -> None:
    holder = StateStore(tmp_path / "state.duckdb")
    grader = ArenaGrader(StateStore(tmp_path / "state.duckdb", budget_seconds=0.05), rater="ann")
    with holder.transaction():
        _save(grader, "q")
        time.sleep(0.5)  # the thread has tried and was refused
    deadline = time.monotonic() + 30
    while not standing_votes(holder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [vote.query for vote in standing_votes(holder)] == ["q"]
    grader.close()


def test_a_journal_merged_again_from_its_start_counts_once(tmp_path: Path) -> None:
    grader = _grader(tmp_path)
    _save(grader, "q")
    (path,) = journal.journals(tmp_path / "arena")
    votes, undos, end = journal.read(path)
    for _ in range(2):  # two processes that found it unmerged at the same time
        merge(grader.store, path.name, votes=votes, undos=undos, read_to=end)
    assert [vote.query for vote in grader.votes()] == ["q"]
    grader.close()


def test_two_sessions_see_each_others_votes(tmp_path: Path) -> None:
    first, second = _grader(tmp_path), _grader(tmp_path)
    _save(first, "q1", "A")
    _save(second, "q2", "B")
    statistics = first.compute_statistics()
    assert (statistics.sessions, statistics.pairs[0].wins, statistics.pairs[0].losses) == (2, 1, 1)
    first.close()
    second.close()
