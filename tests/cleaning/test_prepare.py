import json
from datetime import date
from pathlib import Path

import openai
import pytest

from furnclip.cleaning.profiles import model_profile
from furnclip.cleaning.prompts import read_question
from furnclip.cleaning.schema import CleanedProduct, strict_schema
from furnclip.errors import ConfigError, DataError
from tests.cleaning.conftest import MakeCleaner, write_rows


def lines_of(folder: Path) -> list[list[dict[str, object]]]:
    files = sorted(folder.rglob("batch_input_*.jsonl"))
    return [[json.loads(line) for line in file.read_bytes().splitlines()] for file in files]


def test_same_title_and_photo_is_asked_once(make_cleaner: MakeCleaner, catalogue: Path) -> None:
    row = ("Chair", "images/1.png", "")
    write_rows(catalogue, [(str(n), *row) for n in range(4)] + [("5", "Desk", "images/1.png", "")])
    result = make_cleaner().prepare(catalogue, catalogue.parent)
    assert (result.rows, result.requests, result.deduplicated) == (5, 2, 3)


def test_preparing_again_asks_nothing_new(make_cleaner: MakeCleaner, catalogue: Path) -> None:
    cleaner = make_cleaner()
    first = cleaner.prepare(catalogue, catalogue.parent)
    again = cleaner.prepare(catalogue, catalogue.parent)
    assert (again.run, again.requests, again.known) == (first.run, 0, 6)


def test_changed_row_is_the_only_new_request(make_cleaner: MakeCleaner, catalogue: Path) -> None:
    cleaner = make_cleaner()
    first = cleaner.prepare(catalogue, catalogue.parent)
    catalogue.write_text(catalogue.read_text("utf-8").replace("Kestrel Desk", "Kestrel table"))
    second = cleaner.prepare(catalogue, catalogue.parent)
    assert second.run != first.run
    assert (second.requests, second.known) == (1, 5)


def test_other_model_or_prompt_is_another_question(
    make_cleaner: MakeCleaner, catalogue: Path
) -> None:
    make_cleaner().prepare(catalogue, catalogue.parent)
    other = make_cleaner(model="gpt-5-nano").prepare(catalogue, catalogue.parent)
    assert other.requests == 6


def test_parts_keep_the_limits(make_cleaner: MakeCleaner, catalogue: Path, tmp_path: Path) -> None:
    by_rows = make_cleaner(max_requests_per_part=4).prepare(
        catalogue, catalogue.parent, folder=tmp_path / "rows"
    )
    assert by_rows.parts == 2
    assert [len(lines) for lines in lines_of(tmp_path / "rows")] == [4, 2]
    tokens = by_rows.est_tokens // 6 + 50
    by_tokens = make_cleaner(max_enqueued_tokens=2 * tokens, image_size=500).prepare(
        catalogue, catalogue.parent, folder=tmp_path / "tokens"
    )
    assert by_tokens.parts == 3
    size = max(path.stat().st_size for path in (tmp_path / "rows").iterdir()) // 2
    by_bytes = make_cleaner(max_part_bytes=size, image_size=400).prepare(
        catalogue, catalogue.parent, folder=tmp_path / "bytes"
    )
    assert by_bytes.parts > 1
    assert all(path.stat().st_size <= size for path in (tmp_path / "bytes").iterdir())


def test_request_is_a_strict_chat_completion_with_title_and_photo(
    make_cleaner: MakeCleaner, catalogue: Path, tmp_path: Path
) -> None:
    make_cleaner().prepare(catalogue, catalogue.parent, folder=tmp_path / "out")
    [[first, *_]] = lines_of(tmp_path / "out")
    body = first["body"]
    assert isinstance(body, dict)
    assert (first["method"], first["url"]) == ("POST", "/v1/chat/completions")
    assert body["response_format"]["json_schema"]["strict"] is True
    assert body["messages"][1]["content"][1]["image_url"]["detail"] == "high"
    title, jpeg = read_question(body)
    assert title.startswith("Acme SKU-1234")
    assert jpeg.startswith(b"\xff\xd8")


def test_schema_sent_has_the_fields_of_the_product() -> None:
    generated = openai.pydantic_function_tool(CleanedProduct)["function"]["parameters"]
    sent = strict_schema()
    assert list(sent["properties"]) == list(generated["properties"])  # type: ignore[call-overload]
    assert sent["required"] == generated["required"]


def test_dry_run_writes_nothing(make_cleaner: MakeCleaner, catalogue: Path, tmp_path: Path) -> None:
    cleaner = make_cleaner()
    result = cleaner.prepare(catalogue, catalogue.parent, dry_run=True)
    assert (result.run, result.requests) == (None, 6)
    assert result.est_usd is not None
    assert result.est_usd > 0
    assert not (tmp_path / "batches").exists()
    assert cleaner.runs() == []


def test_limit_takes_the_first_rows(make_cleaner: MakeCleaner, catalogue: Path) -> None:
    assert make_cleaner().prepare(catalogue, catalogue.parent, limit=2).rows == 2


def test_image_tokens_follow_the_patch_rule() -> None:
    nano = model_profile("gpt-5-nano")
    assert nano.image_tokens(512, 512) == 630
    assert nano.image_tokens(4096, 4096) == 3779


def test_shutdown_is_warned_of_then_refused() -> None:
    nano = model_profile("gpt-5-nano")
    assert nano.shutdown_warning(date(2026, 9, 1)) is None
    assert "in 17 days" in str(nano.shutdown_warning(date(2026, 11, 24)))
    with pytest.raises(ConfigError, match="switched off"):
        nano.shutdown_warning(date(2026, 12, 11))
    luna = model_profile("gpt-6-luna")
    assert luna.shutdown_warning(date(2026, 11, 24)) is None
    announced = luna.shutdown_warning(date(2026, 11, 24), announced=date(2026, 12, 1))
    assert "in 7 days" in str(announced)


def test_unknown_model_has_no_price(make_cleaner: MakeCleaner, catalogue: Path) -> None:
    result = make_cleaner(model="my-own-vlm").prepare(catalogue, catalogue.parent)
    assert (result.requests, result.est_usd) == (6, None)


def test_missing_folder_and_column_are_named(make_cleaner: MakeCleaner, catalogue: Path) -> None:
    with pytest.raises(DataError, match="no such image folder"):
        make_cleaner().prepare(catalogue, catalogue.parent / "nowhere")
    with pytest.raises(DataError, match="no column 'nam'"):
        make_cleaner(title_column="nam").prepare(catalogue, catalogue.parent)
