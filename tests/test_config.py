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


@pytest.mark.parametrize("key", ["sk-se cret", "sk-se\ncret", "sk-secrét"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match=r"variable OPENAI_API_KEY: .* the key holds") as e:
        load_settings()
    assert "sk-se" not in f"{e.value.message}{e.value.hint}"


def test_white_space_around_the_key_is_not_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " sk-secret\n")
    key = load_settings().openai_api_key
    assert key is not None
    assert key.get_secret_value() == "sk-secret"


@pytest.mark.parametrize(
    ("toml", "message", "hint"),
    [
        ("lr = 1", "no setting named lr", "it belongs under [training]"),
        ("training = 3", "training is a table", "write [training]"),
        ("[trainning]", "no setting named trainning", "did you mean training?"),
    ],
)
def test_a_setting_in_the_wrong_place_is_told_its_place(toml: str, message: str, hint: str) -> None:
    Path("furnclip.toml").write_text(toml)
    with pytest.raises(ConfigError, match=message) as e:
        load_settings()
    assert hint in str(e.value.hint)


@pytest.mark.parametrize("name", ["furnclip.toml", ".env"])
def test_a_settings_file_that_is_not_utf8_is_named(name: str) -> None:
    Path(name).write_bytes(b'# caf\xe9\nOTHER="\xe9"\n')
    with pytest.raises(ConfigError, match=r"cannot read furnclip\.toml or the \.env beside it"):
        load_settings()


def test_a_path_may_start_at_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    Path("furnclip.toml").write_text('[paths]\nraw_dir = "~/shop"\n')
    assert load_settings().paths.raw_dir == Path("/home/somebody/shop")


def test_the_example_in_the_repository_is_the_generated_one() -> None:
    assert (ROOT / "furnclip.toml.example").read_text() == example_toml()


def test_the_example_uncommented_is_the_defaults() -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", example_toml(), flags=re.MULTILINE)
    Path("furnclip.toml").write_text(text)
    assert tomllib.loads(text)["training"]["epochs"] == 10
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
