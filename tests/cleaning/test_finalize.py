"""The cleaned CSV holds what was read and what was answered, whatever the text."""

import csv
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from furnclip.catalogue import CLEANED_COLUMNS, CLEANED_FIELDS
from furnclip.cleaning.finalize import finalize
from furnclip.cleaning.outside import import_outside
from furnclip.state import StateStore
from furnclip.state.cleaning import RequestRow, RunRow, SourceRow, record_run, row_results

_AWKWARD = st.text(st.sampled_from(" ab,;\"'\r\n\tü\u2028#="), max_size=6)
_HEADER = ("product_id", "name", "color", "local_path", "note")


def laid_out(folder: Path, cells: list[tuple[str, str]], *, errors: dict[int, str]) -> RunRow:
    """Record a run over a CSV with ``cells`` in two of its columns; rows from 1."""
    source = folder / "products.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(_HEADER)
        writer.writerows(
            (n, name, "of a former cleaning", f"{n}.jpg", note)
            for n, (name, note) in enumerate(cells, start=1)
        )
    run = RunRow(
        "run0000000", datetime.now(UTC), source.resolve(),
        hashlib.sha256(source.read_bytes()).hexdigest(), folder, "name", "local_path",
        "product_id", "openai", "gpt-6-luna", None, folder / "batches", len(cells),
    )  # fmt: skip
    rows = [
        SourceRow(
            n, "title", f"{n}.jpg", None if n in errors else f"key-{n}",
            "image_missing" if n in errors else "ready", errors.get(n),
        )
        for n in range(1, len(cells) + 1)
    ]  # fmt: skip
    requests = [
        RequestRow(row.request_key, f"row-{row.number}", "gpt-6-luna", 9, 9)
        for row in rows
        if row.request_key
    ]
    record_run(StateStore(folder / "state.duckdb"), run, rows, requests, [])
    return run


def answer(number: int, fields: list[str | None]) -> str:
    content = json.dumps(dict(zip(CLEANED_FIELDS, fields, strict=True)))
    body = {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
    return json.dumps(
        {"custom_id": f"row-{number}", "response": {"status_code": 200, "body": body}}
    )


@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    cells=st.lists(st.tuples(_AWKWARD, _AWKWARD), min_size=1, max_size=8),
    fields=st.lists(
        st.tuples(st.just("A title"), *[st.none() | _AWKWARD] * 4), min_size=8, max_size=8
    ),
    error=_AWKWARD,
)
def test_every_cell_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    cells: list[tuple[str, str]],
    fields: list[tuple[str, ...]],
    error: str,
) -> None:
    folder = tmp_path_factory.mktemp("run")
    run = laid_out(folder, cells, errors={2: error} if len(cells) > 2 else {})
    store = StateStore(folder / "state.duckdb")
    answers = folder / "answers.jsonl"
    answers.write_text("\n".join(answer(n, list(f)) for n, f in enumerate(fields, start=1)))
    import_outside(store, run, answers, max_attempts=3)
    finalize(store, run, folder / "out.csv", allow_partial=True)
    with (folder / "out.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file, strict=True))
    kept = [name for name in _HEADER if name not in CLEANED_COLUMNS]
    assert found[0] == [*kept, *CLEANED_COLUMNS]
    expected = [
        [str(n), name, f"{n}.jpg", note, *("" if v is None else v for v in result[3:])]
        for n, ((name, note), result) in enumerate(
            zip(cells, row_results(store, run.run), strict=True), start=1
        )
    ]
    assert found[1:] == expected
    assert {row[-2] for row in found[1:]} <= {"ok", "failed", "pending", "image_missing"}
