"""The bulk reader must say of every line what the line reader says."""

import json
from pathlib import Path
from typing import Any

import duckdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from furnclip.cleaning.harvest import classify
from furnclip.state import cleaning_ingest
from furnclip.state.cleaning_results import Answer

FIELDS = ("clean_title", "style", "material", "color", "object_type")


def output_line(content: object, **changes: Any) -> bytes:
    message = {"role": "assistant", "content": content, "refusal": changes.pop("refusal", None)}
    choice = {"index": 0, "finish_reason": changes.pop("finish_reason", "stop"), "message": message}
    body = {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    response = {"status_code": changes.pop("status_code", 200), "body": body}
    line = {"custom_id": changes.pop("custom_id", "fc-1"), "response": response, "error": None}
    return json.dumps({**line, **changes}, ensure_ascii=False).encode()


def both_ways(lines: list[bytes], folder: Path) -> tuple[list[Any], list[Any], int]:
    """Return the rows of the bulk reader, of the line reader, and how many lines were unusual."""
    path, parsed = folder / "output.jsonl", folder / "output.parquet"
    path.write_bytes(b"\n".join(lines) + b"\n")
    unusual: list[bytes] = []

    def counted(line: bytes) -> Answer:
        unusual.append(line)
        return classify(line)

    cleaning_ingest._parse(path, parsed, counted)
    query = f"SELECT * FROM read_parquet('{parsed}') ORDER BY position"
    bulk = duckdb.connect().execute(query).fetchall()
    single = [classify(line).row(position) for position, line in enumerate(lines)]
    return bulk, single, len(unusual)


def product(**changes: object) -> str:
    fields = {"clean_title": "Oak chair", "style": None, "material": "oak", "color": "brown"}
    return json.dumps({**fields, "object_type": "chair", **changes}, ensure_ascii=False)


def test_usual_and_unusual_lines_read_the_same(tmp_path: Path) -> None:
    lines = [
        output_line(product()),
        output_line(product(color="Unknown", style="N/A")),
        output_line(product(clean_title="  padded\t")),
        output_line(product(clean_title="\u3000wide space")),
        output_line(product(clean_title="")),
        output_line(product(clean_title="x" * 201)),
        output_line(product(clean_title="é" * 200)),
        output_line(product(color="x" * 81)),
        output_line(product(color=5)),
        output_line(product(extra=1)),
        output_line('{"clean_title": "only a title"}'),
        output_line('{"clean_title": "a", "clean_title": "b"}'),
        output_line("```json\n" + product() + "\n```"),
        output_line("not JSON"),
        output_line(product(clean_title="\x0b")),
        output_line(product(color="unknow\u017f")),
        output_line(product().replace("Oak", "\\ud800")),
        output_line(product().replace("Oak", "\\u0000")),
        output_line(None),
        output_line(""),
        output_line(product(), finish_reason="length"),
        output_line(product(), refusal="no"),
        output_line(product(), status_code=500),
        output_line(product(), response=None, error={"code": "batch_expired", "message": "late"}),
        b'{"custom_id": "fc-1", "response"',
        b"[1, 2]",
        b'"text"',
    ]
    bulk, single, unusual = both_ways(lines, tmp_path)
    assert bulk == single
    assert unusual < len(lines)
    assert cleaning_ingest.broken_lines(tmp_path / "output.jsonl") == 1


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.fixed_dictionaries(
            {name: st.one_of(st.none(), st.text(max_size=90)) for name in FIELDS}
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_text_reads_the_same(tmp_path: Path, products: list[dict[str, str | None]]) -> None:
    lines = [output_line(json.dumps(fields)) for fields in products]
    bulk, single, _ = both_ways(lines, tmp_path)
    assert bulk == single
