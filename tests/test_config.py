import re
import tomllib
from pathlib import Path

import pytest

from furnclip.config import (
    DataPaths,
    ModelConfig,
    PrepConfig,
    Settings,
    TrainingConfig,
    example_toml,
    load_settings,
    write_example,
)
from furnclip.errors import ConfigError

ROOT = Path(__file__).parents[1]


def test_precedence_is_option_environment_dotenv_toml_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().training.lr == 1e-4
    Path("furnclip.toml").write_text("[training]\nlr = 0.1\nepochs = 2\n")
    assert load_settings().training.lr == 0.1
    Path(".env").write_text("FURNCLIP_TRAINING__LR=0.2\nOTHER_PROGRAM=1\n")
    assert load_settings().training.lr == 0.2
    monkeypatch.setenv("FURNCLIP_TRAINING__LR", "0.3")
    assert load_settings().training.lr == 0.3
    typed = load_settings(overrides={"training": {"lr": 0.4}}).training
    assert (typed.lr, typed.epochs) == (0.4, 2)


def test_typo_in_toml_names_file_and_nearest_name() -> None:
    Path("furnclip.toml").write_text("[training]\nepoch = 2\n")
    with pytest.raises(ConfigError, match=r"furnclip\.toml: no setting named training\.epoch") as e:
        load_settings()
    assert e.value.hint == "did you mean epochs?"
    assert e.value.exit_code == 2


def test_typo_in_a_section_of_the_environment_is_not_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FURNCLIP_TRAINNING__LR", "1")
    with pytest.raises(ConfigError, match="FURNCLIP_TRAINNING__LR") as e:
        load_settings()
    assert e.value.hint == "did you mean training?"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("toml", r"furnclip\.toml: training\.lr"),
        ("environment", r"environment variable FURNCLIP_TRAINING__LR: training\.lr"),
        ("option", r"option --lr: training\.lr"),
    ],
)
def test_wrong_value_names_where_it_came_from(
    source: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = {}
    if source == "toml":
        Path("furnclip.toml").write_text("[training]\nlr = -1\n")
    elif source == "environment":
        monkeypatch.setenv("FURNCLIP_TRAINING__LR", "-1")
    else:
        overrides = {"training": {"lr": -1}}
    with pytest.raises(ConfigError, match=expected):
        load_settings(overrides=overrides)


def test_file_named_explicitly_must_exist_and_invalid_toml_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no such settings file: nope\.toml"):
        load_settings(Path("nope.toml"))
    Path("furnclip.toml").write_text("lr ==")
    with pytest.raises(ConfigError, match=r"furnclip\.toml is not valid TOML"):
        load_settings()


def test_relative_paths_start_at_the_settings_file() -> None:
    Path("project/models/base").mkdir(parents=True)
    config = Path("project/furnclip.toml")
    config.write_text('[model]\nname = "models/base"\n[paths]\nruns_dir = "/abs"\n')
    settings = load_settings(config)
    assert settings.paths.raw_csv == Path("project/data/raw/furniture.csv")
    assert settings.paths.runs_dir == Path("/abs")
    assert settings.model.name == "project/models/base"


def test_the_key_is_read_from_the_usual_variable_and_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    settings = load_settings()
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(settings) + settings.model_dump_json()


def test_the_example_in_the_repository_is_the_generated_one() -> None:
    assert (ROOT / "furnclip.toml.example").read_text() == example_toml()


def test_the_example_uncommented_is_the_defaults() -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", example_toml(), flags=re.MULTILINE)
    optional = {'""'}
    lines = [line for line in text.splitlines() if line.split(" = ")[-1] not in optional]
    Path("furnclip.toml").write_text("\n".join(lines))
    assert tomllib.loads("\n".join(lines))["training"]["epochs"] == 10
    assert load_settings().model_dump() == Settings().model_dump()


def test_init_never_overwrites_without_force() -> None:
    path = write_example(Path("furnclip.toml"))
    path.write_text("# mine")
    with pytest.raises(ConfigError, match=r"furnclip\.toml exists"):
        write_example(path)
    write_example(path, force=True)
    assert Path("furnclip.toml.bak").read_text() == "# mine"


def test_documented_views_read_the_settings_when_used() -> None:
    assert DataPaths.RAW_CSV_PATH == Path("data/raw/furniture.csv")
    Path("furnclip.toml").write_text(
        '[paths]\nraw_csv = "x.csv"\n[training]\neffective_batch_size = 8\n'
    )
    assert DataPaths.RAW_CSV_PATH == Path("x.csv")
    assert TrainingConfig.BATCH_SIZE == 8
    assert (TrainingConfig.INITIAL_LR, TrainingConfig.WARMUP_STEPS) == (1e-4, 0)
    assert (TrainingConfig.EMBEDDING_BATCH_SIZE, TrainingConfig.DEVICE) == (32, "auto")
    assert (ModelConfig.IMAGE_SIZE, ModelConfig.MAX_TEXT_LENGTH) == (224, 77)
    assert PrepConfig.SAMPLES_PER_SHARD == 10_000
    with pytest.raises(AttributeError, match="NO_SUCH"):
        _ = DataPaths.NO_SUCH
    DataPaths.ensure_dirs()
    assert Path("data/processed").is_dir()
