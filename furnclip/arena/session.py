"""One rater's way through a deck: what is shown, voted, skipped and taken back. Draws nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from furnclip.arena import queries as asked
from furnclip.arena.deck import Comparison, build_deck
from furnclip.arena.grading import ArenaGrader
from furnclip.arena.options import ArenaOptions
from furnclip.errors import DataError
from furnclip.images import load_image
from furnclip.vectors import MASTER, MasterVectors, read_master

if TYPE_CHECKING:
    from PIL import Image

    from furnclip.state.arena import Vote


def find_queries(options: ArenaOptions, master: MasterVectors) -> list[asked.Query]:
    """Return texts from the file when one is given, else evaluation photos, else test products."""
    if options.queries_file is not None:
        return asked.text_queries(options.queries_file)
    return asked.photo_queries(options.evaluation_dir) or asked.product_queries(master)


def prepare_queries(
    options: ArenaOptions, *, announce: Callable[[str], None] = lambda _text: None
) -> None:
    """Embed photo or text queries where that is still to be done; call it before the app."""
    if options.queries_file is None and not asked.photo_queries(options.evaluation_dir):
        return
    master = read_master(
        options.embeddings_dir / MASTER,
        labels=[options.baseline, *options.challengers],
        kinds=("image",),
    )
    queries = find_queries(options, master)
    cache = options.embeddings_dir / "queries"
    if asked.missing_models(queries, master.models, cache):
        announce(f"Embedding {len(queries)} queries, once")
        asked.embed_missing(queries, master.models, cache)


class ArenaSession:
    """A deck, a position in it, and a grader; every change goes through here."""

    def __init__(
        self, master: MasterVectors, deck: list[Comparison], grader: ArenaGrader, *, k: int
    ) -> None:
        self.master = master
        self.deck = deck
        self.grader = grader
        self.k = k
        self.position = -1
        self._history: list[tuple[int, str]] = []
        self._recorded: set[int] = set()

    @classmethod
    def open(cls, options: ArenaOptions, *, k: int | None = None) -> ArenaSession:
        """Read the vectors, lay out the deck and begin; nothing is recorded yet.

        Raises ``DataError`` when there are no vectors or nothing left to judge.
        """
        from furnclip.state import StateStore

        shown = min(k or options.k, options.k)
        grader = ArenaGrader(StateStore(options.state_file), rater=options.user, seed=options.seed)
        with ThreadPoolExecutor(1) as beside:  # opening the state file waits; the vectors need not
            voted = beside.submit(grader.votes)
            master = read_master(
                options.embeddings_dir / MASTER,
                labels=[options.baseline, *options.challengers],
                kinds=("image",),
            )
        queries = find_queries(options, master)
        deck = build_deck(
            master,
            queries,
            asked.query_vectors(queries, master, options.embeddings_dir / "queries"),
            pairs=options.pairs,
            k=shown,
            seed=options.seed,
            limit=options.limit,
            repeat_fraction=options.repeat_fraction,
            done=_judged(voted.result(), grader.rater, master),
        )
        if not deck:
            raise DataError(
                f"{grader.rater} has judged all {len(queries)} queries already",
                hint="see `furnclip arena stats`, or give other queries with --queries",
            )
        return cls(master, deck, grader, k=shown)

    @property
    def current(self) -> Comparison | None:
        """Return the comparison on show, or None before the first and after the last."""
        return self.deck[self.position] if 0 <= self.position < len(self.deck) else None

    def ahead(self, count: int) -> list[Comparison]:
        """Return the next comparisons that will be shown."""
        coming = (c for c in self.deck[max(0, self.position + 1) :] if not c.identical)
        return [comparison for comparison, _ in zip(coming, range(count), strict=False)]

    def advance(self) -> Comparison | None:
        """Go to the next comparison to show; identical lists on the way are automatic ties."""
        self.position = min(self.position + 1, len(self.deck))
        while (comparison := self.current) is not None and comparison.identical:
            if self.position not in self._recorded:
                self._recorded.add(self.position)
                self._save(comparison, "tie", automatic=True, shown=self.k)
            self.position += 1
        return self.current

    def vote(
        self,
        choice: str,
        *,
        seconds: float | None = None,
        graphics: str = "",
        thumbnail: tuple[int, int] = (0, 0),
        shown: int = 0,
    ) -> str | None:
        """Record a judgement of the current comparison; None when there is none."""
        comparison = self.current
        if comparison is None:
            return None
        event = self._save(
            comparison,
            choice,
            repeated=comparison.repeated,
            seconds=seconds,
            graphics=graphics,
            thumbnail_width=thumbnail[0],
            thumbnail_height=thumbnail[1],
            shown=shown or self.k,
        )
        self._history.append((self.position, event))
        return event

    def undo(self) -> Comparison | None:
        """Take the last judgement of this session back and return to it; None at the start."""
        if not self._history:
            return None
        self.position, event = self._history.pop()
        self.grader.undo_vote(event)
        return self.current

    @property
    def judged(self) -> int:
        """Return how many judgements of this session stand."""
        return len(self._history)

    def caption(self, row: int) -> str:
        """Return the title of a product."""
        table = self.master.table
        found: str = table.column("clean_title")[row].as_py() or table.column("title")[row].as_py()
        return found

    def picture(self, item: int | Path) -> Image.Image:
        """Load a product's thumbnail or a query photo as RGB."""
        source = self.master.thumbnail(item) if isinstance(item, int) else item
        return load_image(source, fit=512).image

    def _save(self, comparison: Comparison, choice: str, **details: object) -> str:
        models = self.master.models
        return self.grader.save_vote(
            comparison.query.name,
            comparison.baseline,
            comparison.challenger,
            choice,
            baseline_is_row_a=comparison.baseline_is_row_a,
            baseline_sha=models[comparison.baseline].sha,
            challenger_sha=models[comparison.challenger].sha,
            **details,
        )


def _judged(votes: list[Vote], rater: str, master: MasterVectors) -> set[tuple[str, str, str]]:
    """Return (query, model, model) that the rater judged, in both directions.

    A vote counts for the weights it was given on: a model trained again is asked about again.
    """
    shas = {label: model.sha for label, model in master.models.items()}
    done = set()
    for vote in votes:
        models = {vote.baseline: vote.baseline_sha, vote.challenger: vote.challenger_sha}
        same = all(shas.get(label) == sha for label, sha in models.items())
        if vote.rater == rater and vote.choice != "skip" and same:
            done.add((vote.query, vote.baseline, vote.challenger))
            done.add((vote.query, vote.challenger, vote.baseline))
    return done
