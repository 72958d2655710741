"""``furnclip clean`` from the outside: exit codes, output, JSON."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner, Result

from furnclip.cleaning.batch_names import shortened
from furnclip.cli import app
from furnclip.cli.clean_view import board
from furnclip.errors import ConfigError, FurnclipError
from furnclip.state import StateStore
from furnclip.state.cleaning_parts import list_batches
from tests.cleaning.batch_server import KEY, BatchServer, running


def clean(*arguments: str, ok: bool = True) -> Result:
    result = CliRunner().invoke(app, ["clean", *arguments])
    if ok:
        assert result.exit_code == 0, (result.output, result.exception)
    return result


def failure(*arguments: str) -> FurnclipError:
    result = clean(*arguments, ok=False)
    assert isinstance(result.exception, FurnclipError), result.output
    return result.exception


@pytest.fixture
def products(tmp_path: Path) -> str:
    (tmp_path / "photos").mkdir()
    rows = [("product_id", "name", "local_path")]
    for number, color in enumerate(("red", "green", "blue")):
        Image.new("RGB", (64, 64), color).save(tmp_path / "photos" / f"{number}.png")
        rows.append((f"P{number}", f"Acme Oak Chair SKU-{number}99", f"photos/{number}.png"))
    with (tmp_path / "products.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (tmp_path / "truth.csv").write_text("product_id,object_type\nP0,Chair\nP1,Table\nP2,chair\n")
    return "products.csv"


def test_rules_from_csv_to_cleaned_csv(products: str) -> None:
    assert "furnclip-rules" in clean("prepare", products, "--backend", "rules").stdout
    uploaded = json.loads(clean("upload", "--json").stdout)
    [batch] = uploaded["batches"]
    assert (batch["status"], batch["done"], batch["total"]) == ("completed", 3, 3)
    result = clean("finalize", "--truth", "truth.csv")
    assert "3 cleaned, 0 failed" in result.stdout
    assert "accuracy of object_type: 0.667 (2 of 3; 3 answered)" in result.stdout
    with Path("data/processed/cleaned.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["clean_title"] for row in rows] == ["Oak Chair"] * 3
    assert [row["color"] for row in rows] == ["Red", "Green", "Blue"]


def test_status_of_one_batch_by_id(products: str) -> None:
    clean("prepare", products, "--backend", "rules")
    [batch] = json.loads(clean("upload", "--json").stdout)["batches"]
    shown = json.loads(clean("status", batch["id"], "--json").stdout)
    assert [b["id"] for b in shown["batches"]] == [batch["id"]]
    assert batch["id"] in clean("status", "--no-refresh").stdout
    clean("status", "--watch")


@pytest.mark.parametrize("columns", [30, 60, 80, 110, 160])
def test_batches_fit_the_width_of_the_screen(products: str, columns: int) -> None:
    clean("prepare", products, "--backend", "rules")
    clean("upload")
    [batch] = list_batches(StateStore(Path(".furnclip/state.duckdb")))
    long = [replace(batch, batch_id=f"batch_{n:032x}", total=5_000) for n in (7, 1 << 40)]
    out = Console(width=columns, file=io.StringIO())
    out.print(board(long))
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= columns
    if columns == 30:  # folded, not cut
        assert sum(line.count("…") for line in lines) == 2
        return
    rows = [line.split() for line in lines if "completed" in line]
    whole = [row.batch_id for row in long]
    assert [row[0] for row in rows] == (whole if columns == 160 else [f"…{i[-8:]}" for i in whole])
    assert all(row[3:6] == ["3", "0", "5,000"][: 1 if columns == 60 else 3] for row in rows)
    assert "6 of 10,000 answers" in out.file.getvalue()  # type: ignore[attr-defined]


def test_ends_of_ids_that_are_shown_differ() -> None:
    assert shortened(["batch_1", "batch_2"]) == ["batch_1", "batch_2"]
    assert shortened(["file_a_0123456789abcdef", "file_b_0123456789abcdef"]) == [
        "…a_0123456789abcdef", "…b_0123456789abcdef",
    ]  # fmt: skip
    assert shortened(["batch_00001234567800000000", "batch_00001234567900000000"]) == [
        "…800000000", "…900000000",
    ]  # fmt: skip


def test_the_end_of_an_id_names_a_batch(products: str) -> None:
    clean("prepare", products, "--backend", "rules")
    [batch] = json.loads(clean("upload", "--json").stdout)["batches"]
    for name in (batch["id"], batch["id"][-8:], f"…{batch['id'][-8:]}"):
        found = json.loads(clean("status", name, "--json").stdout)["batches"]
        assert [row["id"] for row in found] == [batch["id"]]
        clean("cancel", name)
    assert "knows no batch" in failure("cancel", batch["id"][-7:]).message
    assert "no batch has an id that ends in" in failure("status", "…ffffffff_").message
    store = StateStore(Path(".furnclip/state.duckdb"))
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO cleaning_batch SELECT * REPLACE ('x' || batch_id AS batch_id) "
            "FROM cleaning_batch"
        )
    assert "2 batches have ids that end in" in failure("cancel", batch["id"][-8:]).message
    clean("status", batch["id"])


def test_commands_say_what_to_do_first() -> None:
    error = failure("upload")
    assert (error.exit_code, error.hint) == (3, "furnclip clean prepare CSV --images DIR")
    assert clean("status").exit_code == 0
    assert clean("list").exit_code == 0


def test_openai_without_key_is_exit_2_naming_the_variable(products: str) -> None:
    clean("prepare", products)
    for arguments in (("upload",), ("status", "batch_123")):
        error = failure(*arguments)
        assert error.exit_code == 2
        assert "OPENAI_API_KEY" in error.message


def test_openai_with_a_wrong_key_is_exit_4(products: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(BatchServer()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-and-secret")
        clean("prepare", products)
        error = failure("upload")
    assert error.exit_code == 4
    assert "sk-wrong" not in f"{error.message}{error.hint}"


def test_openai_plain_path(products: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(BatchServer()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        clean("prepare", products)
        clean("upload", "--yes")
        assert "batch_1" in clean("status", "batch_1").stdout
        clean("wait", "--poll", "0.01")
        assert "3 cleaned" in clean("finalize").stdout
        assert len(server.batches) == 1
        foreign = json.loads(clean("status", "batch_1", "--json").stdout)
        assert foreign["batches"][0]["cost"] > 0


def test_estimate_over_the_limit_is_refused(products: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(BatchServer()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        clean("prepare", products)
        error = failure("upload", "--max-usd", "0.00001")
        assert error.exit_code == 2
        assert "over the limit" in error.message
        assert server.batches == {}


def test_finalize_before_answers_is_exit_3(products: str) -> None:
    clean("prepare", products, "--backend", "rules")
    assert failure("finalize").exit_code == 3
    clean("finalize", "--allow-partial")


def test_what_is_not_uploaded_points_to_upload(products: str) -> None:
    assert "Next: furnclip clean prepare" in clean("status").stderr
    assert "Next: furnclip clean prepare" in clean("list").stderr
    for _ in range(2):
        prepared = clean("prepare", products, "--backend", "rules")
        assert "Next: furnclip clean upload" in prepared.stderr
    assert "`furnclip clean upload` sends them" in str(failure("finalize").hint)
    assert "furnclip clean upload" in str(failure("wait").hint)
    assert "Next: furnclip clean upload" in clean("status").stderr


def test_a_plan_without_any_photo_points_to_the_image_options(products: str) -> None:
    Path("empty").mkdir()
    prepared = clean("prepare", products, "--images", "empty", "--backend", "rules")
    assert "check --images and --image-column" in prepared.stderr


def test_a_catalogue_without_rows_is_refused() -> None:
    Path("empty.csv").write_text("product_id,name,local_path\n")
    assert "no rows below its header" in failure("prepare", "empty.csv").message


def test_request_files_deleted_before_they_were_sent_are_written_again(products: str) -> None:
    clean("prepare", products, "--backend", "rules")
    shutil.rmtree(".furnclip/batches")
    assert "furnclip clean prepare" in str(failure("upload").hint)
    plan = json.loads(clean("prepare", products, "--backend", "rules", "--json").stdout)
    assert (plan["requests"], plan["parts"]) == (3, 1)
    clean("upload")
    assert "3 cleaned, 0 failed" in clean("finalize").stdout


def test_request_files_of_rows_to_retry_are_written_again(
    products: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(BatchServer()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        clean("prepare", products)
        clean("upload", "--yes")
        server.batches.clear()
        waited = clean("wait", "--poll", "0.01", ok=False)
        assert (waited.exit_code, "furnclip clean retry" in waited.stderr) == (1, True)
        assert "furnclip clean retry" in str(failure("finalize").hint)
        clean("status", "--watch")
        clean("retry")
        shutil.rmtree(".furnclip/batches")
        assert failure("upload").exit_code == 3
        clean("prepare", products)
        clean("upload", "--yes")
        clean("wait", "--poll", "0.01")
        assert "3 cleaned, 0 failed" in clean("finalize").stdout


def test_the_raw_catalogue_and_folders_are_never_written_over(products: str) -> None:
    clean("prepare", products, "--backend", "rules")
    clean("upload")
    raw = Path(products).read_bytes()
    for command in ("finalize", "inspect"):
        assert "is the raw CSV itself" in failure(command, "--output", products).message
        assert "is a folder" in failure(command, "--output", "photos").message
        assert "cannot write" in failure(command, "--output", f"{products}/x").message
    assert Path(products).read_bytes() == raw


def test_a_missing_answer_key_is_found_before_anything_is_written(products: str) -> None:
    clean("prepare", products, "--backend", "rules")
    clean("upload")
    assert "no such file: none.csv" in failure("finalize", "--truth", "none.csv").message
    assert not Path("data/processed/cleaned.csv").exists()


def test_a_file_that_answers_nothing_leaves_no_trace(products: str) -> None:
    clean("prepare", products, "--backend", "rules")
    clean("upload")
    before = clean("status", "--json").stdout
    assert "answers no question" in failure("finalize", "--from", products).message
    assert clean("status", "--json").stdout == before
    assert "cost $0.00" in clean("finalize").stdout


def test_batches_can_be_asked_for_by_run(products: str) -> None:
    run = json.loads(clean("prepare", products, "--backend", "rules", "--json").stdout)["run"]
    [batch] = json.loads(clean("upload", "--json").stdout)["batches"]
    [shown] = json.loads(clean("status", run[:6], "--json").stdout)["batches"]
    assert shown["id"] == batch["id"]


def test_cancelling_a_finished_batch_changes_nothing(products: str) -> None:
    clean("prepare", products, "--backend", "rules")
    [batch] = json.loads(clean("upload", "--json").stdout)["batches"]
    assert f"{batch['id']}: completed" in clean("cancel", batch["id"]).stdout


def test_watching_has_no_json_and_polls_need_a_pause() -> None:
    assert failure("status", "--watch", "--json").exit_code == 2
    refused = clean("wait", "--poll", "0", ok=False)
    assert (refused.exit_code, "'--poll'" in refused.stderr) == (2, True)


def test_a_state_file_that_cannot_be_made_is_named(
    products: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FURNCLIP_PATHS__STATE_FILE", f"{products}/state.duckdb")
    assert "cannot make the folder of the state file" in failure("prepare", products).message


def test_another_projects_settings_and_key_are_not_read(
    products: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("shop").mkdir()
    Path("shop/furnclip.toml").touch()
    shop = ["--config", "shop/furnclip.toml", "clean"]
    assert CliRunner().invoke(app, [*shop, "prepare", products]).exit_code == 0
    Path(".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    refused = CliRunner().invoke(app, [*shop, "upload"]).exception
    assert isinstance(refused, ConfigError)
    assert "OPENAI_API_KEY" in refused.message


def test_dry_run_prints_the_plan_and_records_nothing(products: str) -> None:
    plan = json.loads(clean("prepare", products, "--dry-run", "--json").stdout)
    assert (plan["rows"], plan["requests"], plan["run"]) == (3, 3, None)
    assert plan["est_usd"] > 0
    assert json.loads(clean("list", "--json").stdout) == {"runs": []}


def test_model_near_its_end_is_warned_of(products: str) -> None:
    result = clean("prepare", products, "--model", "gpt-5-nano", ok=False)
    text = result.stderr or str(result.exception)
    assert "gpt-5-nano" in text
    assert "switched off" in text


def test_inspect_writes_one_page_with_escaped_titles(products: str) -> None:
    text = Path(products).read_text().replace("Acme Oak Chair SKU-099", "<script>alert(1)</script>")
    Path(products).write_text(text)
    clean("prepare", products, "--backend", "rules")
    clean("upload")
    clean("inspect", "--output", "page.html")
    page = Path("page.html").read_text("utf-8")
    assert page.count("<article") == 3
    assert page.count("data:image/jpeg;base64,") == 3
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_status_imports_no_model_library(products: str) -> None:
    clean("prepare", products, "--backend", "rules")
    clean("upload")
    code = (
        "import sys; sys.argv = ['furnclip', 'clean', 'status']\n"
        "from furnclip.cli import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'openai', 'pandas', 'pyarrow', 'numpy', 'PIL') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, env={**os.environ},
    )  # fmt: skip
    assert done.stdout.strip().endswith("[]")


def test_folder_that_may_not_be_read_is_named_with_the_way_to_mend_it(tmp_path: Path) -> None:
    prefix: list[str] = []
    if os.geteuid() == 0:  # root reads everything, unless it gives that up
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root, and no setpriv")
        dropped = "-dac_override,-dac_read_search"
        prefix = [setpriv, f"--bounding-set={dropped}", f"--inh-caps={dropped}"]
    folder = tmp_path / "photos"
    folder.mkdir(mode=0o000)
    (tmp_path / "products.csv").write_text("product_id,name,local_path\n1,Sofa,1.jpg\n")
    command = "clean prepare products.csv --images photos --backend rules"
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "furnclip", *command.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "cannot read the image folder photos: permission denied" in done.stderr
    assert "chmod u+rx photos" in done.stderr


def test_server_address_without_a_scheme_is_a_usage_error() -> None:
    with pytest.raises(ConfigError, match=r"option --base-url: .*https\?://"):
        CliRunner().invoke(
            app, ["clean", "upload", "--base-url", "localhost:8000"], catch_exceptions=False
        )
