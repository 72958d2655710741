import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from furnclip.cli import app
from furnclip.config import load_settings
from furnclip.doctor import Check, run_checks
from tests.tiny import build_tiny_clip


def _checks() -> dict[str, Check]:
    return {check.name: check for check in run_checks(load_settings())}


def test_a_ready_project_has_no_errors_and_never_shows_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_tiny_clip(Path("base"))
    monkeypatch.setenv("FURNCLIP_MODEL__NAME", "base")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    checks = _checks()
    assert not [check for check in checks.values() if check.status == "error"]
    assert checks["model"].status == "ok"
    assert checks["API key"].finding == "present (not shown)"
    assert "sk-secret" not in str(checks)


def test_what_is_missing_is_said_with_the_way_to_mend_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".furnclip").mkdir()
    Path(".furnclip/state.duckdb").write_bytes(b"garbage" * 1000)
    monkeypatch.setenv("FURNCLIP_MODEL__DEVICE", "cuda:99")
    checks = _checks()
    assert checks["state file"].status == "error"
    assert checks["torch"].status == "error"
    assert checks["model"].status == "warning"
    assert "OPENAI_API_KEY" in checks["API key"].mend
    assert all(check.mend for check in checks.values() if check.status != "ok")
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1
    assert {check["name"] for check in json.loads(done.stdout)["checks"]} == set(checks)
