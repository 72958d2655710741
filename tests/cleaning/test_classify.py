"""Every line a server could send is one answer, and a file reads the same in one share or many."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from furnclip.cleaning import reading
from furnclip.cleaning.classify import _plain_fields, classify, classify_slowly
from furnclip.cleaning.reading import read_answers
from furnclip.cleaning.schema import CleanedProduct
from furnclip.errors import DataError

GONE = object()
FIELDS = ("clean_title", "style", "material", "color", "object_type")


def output_line(content: object, **changes: Any) -> bytes:
    message = {"role": "assistant", "content": content, "refusal": changes.pop("refusal", None)}
    choice = {"index": 0, "finish_reason": changes.pop("finish_reason", "stop"), "message": message}
    usage = changes.pop("usage", {"prompt_tokens": 7, "completion_tokens": 3})
    body = {"choices": [choice], "usage": usage}
    response = {"status_code": changes.pop("status_code", 200), "body": body}
    line = {"custom_id": changes.pop("custom_id", "fc-1"), "response": response, "error": None}
    return json.dumps({**line, **changes}).encode()


def product(**changes: object) -> str:
    fields = {"clean_title": "Oak chair", "style": None, "material": "oak", "color": "brown"}
    return json.dumps({**fields, "object_type": "chair", **changes})


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        (output_line(product()), "ok"),
        (output_line("```json\n" + product() + "\n```"), "ok"),
        (output_line('{"clean_title": "only a title"}'), "ok"),
        (output_line(product(clean_title="é" * 200)), "ok"),
        (output_line(product(clean_title="")), "invalid_fields"),
        (output_line(product(clean_title="x" * 201)), "invalid_fields"),
        (output_line(product(color="x" * 81)), "invalid_fields"),
        (output_line(product(color=5)), "invalid_fields"),
        (output_line(product(extra=1)), "invalid_fields"),
        (output_line("not JSON"), "invalid_json"),
        (output_line(product().replace("Oak", "\\ud800")), "invalid_json"),
        (output_line(None), "empty"),
        (output_line(""), "empty"),
        (output_line(product(), finish_reason="length"), "length"),
        (output_line(None, finish_reason="content_filter"), "refusal"),
        (output_line(product(), refusal="no \ud800"), "refusal"),
        (output_line(product(), status_code=500), "http_error"),
        (output_line(product(), status_code=429), "http_error"),
        (output_line(product(), status_code=400), "bad_request"),
        (output_line(product(), status_code="soon"), "invalid_json"),
        (output_line(product(), response=None, error={"code": "batch_expired"}), "expired"),
        (output_line(product(), response=None, error={"code": "batch_cancelled"}), "cancelled"),
        (output_line(product(), response=None), "http_error"),
        (output_line(product(), usage="free"), "invalid_json"),
        (b'{"custom_id": "fc-1", "response"', "invalid_json"),
        (b"[1, 2]", "invalid_json"),
        (b'"text"', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
    ],
)
def test_line_has_its_outcome(line: bytes, outcome: str) -> None:
    assert classify(line).outcome == outcome


def test_good_answer_carries_fields_and_tokens() -> None:
    answer = classify(output_line(product(color=" Unknown ", material="N/A")))
    assert answer.fields == ("Oak chair", None, None, None, "chair")
    assert answer[5:] == (7, 0, 3)


@pytest.mark.parametrize("count", [-1, 10**30, "7", 1.5, None, True, False])
def test_absurd_token_counts_are_nothing(count: object) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 3}
    assert classify(output_line(product(), usage=usage))[5:] == (0, 0, 3)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
# now and then what a server does send, else nonsense
some_changes = st.fixed_dictionaries(
    {},
    optional={
        "status_code": st.sampled_from((200, 400, 429, 500)) | anything,
        "finish_reason": st.sampled_from(("stop", "length", "content_filter")) | anything,
        "refusal": st.sampled_from((None, "I cannot see it")) | anything,
        "usage": st.fixed_dictionaries({}, optional={"prompt_tokens": anything}) | anything,
        "response": anything,
        "error": anything,
        "custom_id": anything,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(some_changes, anything)
def test_whatever_the_line_holds_it_is_an_answer_that_can_be_stored(
    tmp_path: Path, changes: dict[str, Any], content: object
) -> None:
    path = tmp_path / "output.jsonl"
    path.write_bytes(output_line(content, **changes) + b"\n")
    with read_answers(path) as answers:
        assert len(stored(answers.files())) == 1


def vendor_line() -> bytes:
    """An output line with all that the vendor says, needed or not."""
    details = {"cached_tokens": 5, "audio_tokens": 0}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": details}
    line = json.loads(output_line(product(color="Brown"), usage=usage, id="batch_req_1"))
    body = line["response"]["body"] | {"id": "chatcmpl-é", "service_tier": None}
    body["choices"][0] |= {"logprobs": None}
    body["choices"][0]["message"] |= {"annotations": [{"a": [1.5, True]}]}
    return json.dumps(line | {"response": {"status_code": 200, "body": body}}).encode()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every member of a parsed line."""
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in members:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def test_vendors_line_is_read_in_full() -> None:
    assert classify(vendor_line())[5:] == (7, 5, 3)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(list(places(json.loads(vendor_line())))), st.just(GONE) | anything)
def test_the_short_cut_says_what_the_long_way_says(path: tuple[Any, ...], value: object) -> None:
    line = json.loads(vendor_line())
    *above, last = path
    inner = line
    for key in above:
        inner = inner[key]
    inner[last] = value
    if value is GONE:
        del inner[last]
    encoded = json.dumps(line).encode()
    assert classify(encoded) == classify_slowly(encoded)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, len(vendor_line())), st.integers(0, 3), st.binary(max_size=3))
def test_the_short_cut_sees_the_same_damage(place: int, lost: int, found: bytes) -> None:
    line = vendor_line()
    damaged = line[:place] + found + line[place + lost :]
    assert classify(damaged) == classify_slowly(damaged)


def test_columns_are_those_of_the_rows(tmp_path: Path) -> None:
    lines = [output_line(product(style="modern")), vendor_line(), b"[]", output_line(None)]
    path = tmp_path / "output.jsonl"
    path.write_bytes(b"\n".join(lines))
    with read_answers(path) as answers:
        assert stored(answers.files()) == [classify(line).row(0)[1:] for line in lines]


def stored(files: Iterable[Path]) -> list[tuple[Any, ...]]:
    query = "SELECT * EXCLUDE position FROM read_parquet(?) ORDER BY position"
    return duckdb.connect().execute(query, [[str(path) for path in files]]).fetchall()


def test_shares_together_read_what_one_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [output_line(product(clean_title=f"Chair {n}"), custom_id=f"fc-{n}") for n in range(50)]
    path = tmp_path / "output.jsonl"
    path.write_bytes(b"\n".join([*lines, b"", b"broken", lines[0]]))
    with read_answers(path) as whole:
        assert (whole.count, whole.broken()) == (1, 1)
        expected = stored(whole.files())
    assert [row[0] for row in expected] == [*(f"fc-{n}" for n in range(50)), "", "fc-0"]
    monkeypatch.setattr(reading, "_SPAN_BYTES", 1000)
    folder = tmp_path / "shares"
    folder.mkdir()
    broken = sum(reading.read_share(path, folder, worker, 3) for worker in range(3))
    files = tuple(sorted(folder.glob("*.parquet")))
    assert (stored(files), broken, len(files) > 3) == (expected, 1, True)


@pytest.fixture
def four_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reading, "_SPAN_BYTES", 1000)
    monkeypatch.setattr(reading, "cores", lambda: 2)
    # a worker is another process, which does not see the patch
    monkeypatch.setattr(sys, "executable", str(worker_with_small_spans(tmp_path)))
    path = tmp_path / "output.jsonl"
    lines = [output_line(product(), custom_id=f"fc-{n}") for n in range(9)]
    path.write_bytes(b"\n".join([*lines, b"broken"]))
    return path


def worker_with_small_spans(folder: Path) -> Path:
    program = folder / "python"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from pathlib import Path\n"
        "from furnclip.cleaning import reading\n"
        "reading._SPAN_BYTES = 1000\n"
        "file, folder, worker, workers = sys.argv[3:]\n"
        "if Path(file).with_suffix('.poison').exists(): sys.exit(7)\n"
        "print(reading.read_share(Path(file), Path(folder), int(worker), int(workers)))\n"
    )
    program.chmod(0o755)
    return program


def test_large_file_is_read_by_several_processes(four_spans: Path) -> None:
    with read_answers(four_spans) as answers:
        found = stored(answers.files())
        assert (answers.count, len(answers.running), answers.broken()) == (4, 2, 1)
    assert [row[0] for row in found] == [*(f"fc-{n}" for n in range(9)), ""]


def test_death_of_a_reader_is_an_error(four_spans: Path) -> None:
    four_spans.with_suffix(".poison").touch()
    with (
        pytest.raises(DataError, match=r"output\.jsonl could not be read to its end"),
        read_answers(four_spans) as answers,
    ):
        list(answers.files())


def test_a_file_that_becomes_shorter_meanwhile_is_named(four_spans: Path) -> None:
    with read_answers(four_spans) as answers:
        for process in answers.running:
            process.wait()
        (answers.folder / "000002.parquet").unlink()
        with pytest.raises(DataError, match="changed while it was read"):
            list(answers.files())


def test_readers_stop_with_who_reads(four_spans: Path) -> None:
    with pytest.raises(KeyboardInterrupt), read_answers(four_spans) as answers:
        raise KeyboardInterrupt
    assert all(process.returncode is not None for process in answers.running)
    assert not answers.folder.exists()


_VALUES = (
    st.none()
    | st.text(st.sampled_from(" ab\t\x1c\x85\u2003Ünkow/"), max_size=9)
    | st.sampled_from(["Unknown", "N/A", "none ", "oak" * 30, "x" * 80, "x" * 201, "\ud800"])
    | anything
)


@settings(max_examples=400)
@given(
    st.dictionaries(st.sampled_from([*FIELDS, "brand"]), _VALUES, max_size=6),
    st.sampled_from(["oak", " x", "", "x" * 200, "x" * 201]) | _VALUES,
    st.integers(0, 9),
)
def test_an_answer_taken_as_it_is_is_what_the_schema_says(
    others: dict[str, Any], title: Any, cut: int
) -> None:
    content = json.dumps({**others, "clean_title": title})[: -cut or None]
    if fields := _plain_fields(content):
        product = CleanedProduct.model_validate_json(content)
        assert fields == tuple(getattr(product, name) for name in FIELDS)


def test_a_plain_answer_is_taken_as_it_is() -> None:
    content = json.dumps(
        dict(zip(FIELDS, ("Oak table", None, "oak", "brown", "table"), strict=True))
    )
    assert _plain_fields(content) == ("Oak table", None, "oak", "brown", "table")
