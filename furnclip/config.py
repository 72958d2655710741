"""Every setting of furnclip, where it may come from, and the API document's views of it.

Precedence: command line > environment (``FURNCLIP_TRAINING__LR``) > ``.env`` > ``furnclip.toml``
> default. Relative paths are taken from the folder of ``furnclip.toml`` (else the current one).
``Settings`` stops at the command line: a stage takes its own section.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from furnclip.errors import ConfigError
from furnclip.files import write_text_atomic

Scenario = Literal[
    "zero_shot", "linear_probe", "vision_lora", "text_lora", "dual_lora", "unfrozen_targets"
]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
CONFIG_FILE = "furnclip.toml"


class Section(BaseModel):
    """One table of ``furnclip.toml``; a name it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PathsSettings(Section):
    """Where things are kept. Relative paths start at the folder of furnclip.toml."""

    raw_dir: Path = Field(Path("data/raw"), description="raw data")
    raw_csv: Path = Field(Path("data/raw/furniture.csv"), description="the raw product table")
    image_dir: Path = Field(Path("data/raw"), description="root of the image paths in the CSV")
    processed_dir: Path = Field(Path("data/processed"), description="cleaned data")
    cleaned_csv: Path = Field(
        Path("data/processed/cleaned.csv"), description="written by `clean finalize`"
    )
    shards_dir: Path = Field(
        Path("data/shards"), description="WebDataset shards, one folder a split"
    )
    embeddings_dir: Path = Field(Path("data/embeddings"), description="vector files")
    evaluation_dir: Path = Field(Path("data/evaluation"), description="query photos for the arena")
    runs_dir: Path = Field(Path("runs"), description="training runs: checkpoints and adapters")
    models_dir: Path = Field(Path("models"), description="merged models, ordinary CLIP folders")
    batches_dir: Path = Field(Path(".furnclip/batches"), description="Batch API request files")
    state_file: Path = Field(Path(".furnclip/state.duckdb"), description="the state file")


class ModelSettings(Section):
    """The base CLIP model and its preprocessing."""

    name: str = Field("openai/clip-vit-base-patch32", description="hub id or folder of the base")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    image_size: int = Field(224, gt=0, description="pixels a side")
    image_mean: tuple[float, float, float] = Field(
        (0.48145466, 0.4578275, 0.40821073), description="CLIP's own mean"
    )
    image_std: tuple[float, float, float] = Field(
        (0.26862954, 0.26130258, 0.27577711), description="CLIP's own standard deviation"
    )
    max_text_length: int = Field(77, gt=0, description="tokens, start and end included")


class CleaningSettings(Section):
    """Cleaning product data with a vision model."""

    backend: Literal["openai", "endpoint", "rules"] = Field(
        "openai", description="openai (any Batch API), endpoint (any chat server), rules (offline)"
    )
    model: str = Field("gpt-6-luna", description="the vision model asked")
    base_url: str | None = Field(None, description="API root; default: OPENAI_BASE_URL or OpenAI")
    title_column: str = Field("name", description="CSV column of the raw titles")
    image_column: str = Field("local_path", description="CSV column of the image paths")
    id_column: str | None = Field(
        None, description="CSV column of the product ids; default: product_id, id or sku"
    )
    image_size: int = Field(512, gt=0, description="pixels a side of the letterboxed image sent")
    jpeg_quality: int = Field(90, ge=1, le=95)
    reasoning_effort: str | None = Field(None, description="default: the model profile's")
    max_completion_tokens: int = Field(512, ge=16, description="a row; includes reasoning")
    max_requests_per_part: int = Field(50_000, gt=0, le=50_000)
    max_part_bytes: int = Field(190_000_000, gt=0, le=200_000_000)
    max_enqueued_tokens: int | None = Field(
        None, gt=0, description="prompt tokens in the provider's queue at once; default: no window"
    )
    max_usd: float | None = Field(None, gt=0, description="refuse to submit above this estimate")
    max_attempts: int = Field(3, ge=1, description="tries for one row, the first included")
    concurrency: int = Field(8, gt=0, description="requests at once with backend endpoint")
    reconcile_seconds: float = Field(
        60.0, ge=0, description="between the two looks that prove a batch was never created"
    )
    poll_seconds: float = Field(30.0, gt=0, description="between two polls of a batch")
    workers: int = Field(0, ge=0, description="threads for images; 0: one per core")


class PrepSettings(Section):
    """Splits, captions and WebDataset shards."""

    image_size: int = Field(224, gt=0, description="pixels a side of the letterboxed image stored")
    jpeg_quality: int = Field(95, ge=1, le=100)
    samples_per_shard: int = Field(10_000, gt=0)
    max_shard_bytes: int = Field(1_000_000_000, gt=0)
    val_fraction: float = Field(0.1, ge=0, lt=1)
    test_fraction: float = Field(0.1, ge=0, lt=1)
    mini_fraction: float = Field(0.1, ge=0, le=1, description="of train, written as mini_train")
    split_salt: str = Field("furnclip", description="changing it moves every product")
    group_column: str | None = Field(
        None, description="CSV column whose rows stay in one split; default: the product id"
    )
    captions: tuple[str, ...] = Field(
        ("{clean_title}", "a {style} {color} {material} {object_type}"),
        description="caption templates, tried in order; an empty slot is dropped",
    )
    max_pixels: int = Field(64_000_000, gt=0, description="larger images are rejected")
    max_aspect: float = Field(20.0, gt=1, description="longer images are rejected")
    allow_truncated: bool = Field(False, description="accept JPEGs that are cut short")
    strict: bool = Field(False, description="reject JPEGs with damage a decoder can conceal")
    max_reject_rate: float = Field(0.2, ge=0, le=1, description="more rejected rows: exit 3")
    near_duplicate_bits: int = Field(6, ge=0, le=64, description="of 256 dHash bits; 0: exact only")
    workers: int = Field(0, ge=0, description="0: one per core")


class TrainingSettings(Section):
    """Fine-tuning CLIP."""

    scenario: Scenario = Field("dual_lora", description="what is trained")
    epochs: int = Field(10, gt=0)
    effective_batch_size: int = Field(1024, gt=0, description="pairs the loss sees at once")
    micro_batch_size: int = Field(0, ge=0, description="pairs in memory at once; 0: probed")
    val_batch_size: int = Field(64, gt=0)
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.1, ge=0, description="none for biases, norms and logit_scale")
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="of all steps")
    warmup_steps: int = Field(0, ge=0, description="when given, instead of warmup_fraction")
    grad_clip: float = Field(1.0, gt=0)
    loss: Literal["clip", "siglip"] = Field("clip")
    lora_r: int = Field(16, gt=0)
    lora_alpha: int = Field(32, gt=0)
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    lora_targets: tuple[str, ...] = Field(("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"))
    unfrozen_targets: tuple[str, ...] = Field(
        (r"encoder\.layers\.(10|11)\.",),
        description="regular expressions on parameter names, for scenario unfrozen_targets",
    )
    augmentation: Literal["none", "simple", "advanced"] = Field("simple")
    precision: Precision = Field("auto")
    patience: int = Field(3, ge=0, description="epochs without a better nDCG@10; 0: never stop")
    checkpoint_steps: int = Field(200, gt=0)
    workers: int = Field(2, ge=0, description="data loading processes")
    cache_mib: int = Field(
        1024, ge=0, description="for decoded images, kept when a split fits; 0: decode each time"
    )
    seed: int = Field(0, ge=0)
    track: Literal["none", "wandb", "tensorboard"] = Field("none")
    compile: bool = Field(default=False, description="torch.compile the towers")
    gradient_checkpointing: bool = Field(default=False, description="less memory, more time")


class EmbeddingSettings(Section):
    """Vectors for the catalogue."""

    batch_size: int = Field(32, gt=0)
    precision: Precision = Field("auto")
    workers: int = Field(0, ge=0, description="threads that decode images; 0: one per core")


class SearchSettings(Section):
    """Searching the catalogue."""

    k: int = Field(10, gt=0, description="results")
    image_weight: float = Field(0.5, ge=0, le=1, description="when text and image are both given")


class ArenaSettings(Section):
    """Blind comparison in the terminal."""

    k: int = Field(5, gt=0, description="thumbnails a row")
    queries: int = Field(200, gt=0, description="in one session, at the most")
    repeat_fraction: float = Field(0.1, ge=0, lt=1, description="shown twice, rows swapped")
    graphics: Literal["auto", "kitty", "sixel", "cells", "text"] = Field("auto")
    user: str | None = Field(None, description="stored with each vote; default: the login name")


class Settings(BaseSettings):
    """All sections, as ``load_settings`` fills them from files and the environment."""

    model_config = SettingsConfigDict(
        env_prefix="FURNCLIP_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        env_ignore_empty=True,
    )

    paths: PathsSettings = PathsSettings()
    model: ModelSettings = ModelSettings()
    cleaning: CleaningSettings = CleaningSettings()
    prep: PrepSettings = PrepSettings()
    training: TrainingSettings = TrainingSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    search: SearchSettings = SearchSettings()
    arena: ArenaSettings = ArenaSettings()
    openai_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("FURNCLIP_OPENAI_API_KEY", "OPENAI_API_KEY"),
        description="keep it in the environment or .env, not in a file you share",
    )


def load_settings(
    config: Path | None = None, *, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> Settings:
    """Read the settings; ``overrides`` (section to name to value) is what was typed as options.

    Raises ``ConfigError`` naming the file, variable or option, and the nearest right name;
    also when ``config`` was given and does not exist.
    """
    if config is not None and not config.is_file():
        raise ConfigError(f"no such settings file: {config}", hint="write one with `furnclip init`")
    toml = config or Path(CONFIG_FILE)
    _check_environment()

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                init_settings,
                env_settings,
                _DotEnv(settings_cls, env_file=toml.parent / ".env"),
                TomlConfigSettingsSource(settings_cls, toml_file=toml),
            )

    try:
        typed: dict[str, Any] = {name: dict(values) for name, values in (overrides or {}).items()}
        settings = Loaded(**typed)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{toml} is not valid TOML: {error}") from error
    except SettingsError as error:
        raise ConfigError(f"cannot read the settings: {error}") from error
    except ValidationError as error:
        raise _explain(error, toml, overrides or {}) from None
    return _anchored(settings, toml.parent)


class _DotEnv(DotEnvSettingsSource):
    """``.env`` also holds other programs' variables: only ours are looked at."""

    def _read_env_files(self) -> Mapping[str, str | None]:
        known = ("furnclip_", "openai_api_key")
        values = super()._read_env_files()
        return {k: v for k, v in values.items() if k.lower().startswith(known)}


def _check_environment() -> None:
    """Refuse ``FURNCLIP_X__Y`` with an unknown section, which would be ignored silently."""
    for variable in os.environ:
        if not variable.upper().startswith("FURNCLIP_"):
            continue
        section = variable[len("FURNCLIP_") :].split("__")[0].lower()
        if section not in Settings.model_fields:
            raise ConfigError(
                f"environment variable {variable}: no setting of that name",
                hint=_nearest(section, Settings.model_fields)
                or "variables look like FURNCLIP_TRAINING__LR",
            )


def _explain(
    error: ValidationError, toml: Path, overrides: Mapping[str, Mapping[str, Any]]
) -> ConfigError:
    first = error.errors(include_url=False, include_input=False)[0]
    location = [str(part) for part in first["loc"]]
    name = ".".join(location)
    where = _origin(location, toml, overrides)
    if first["type"] == "extra_forbidden":
        section = Settings.model_fields.get(location[0])
        known: Iterable[str] = Settings.model_fields
        if len(location) > 1 and section is not None:
            known = cast("type[Section]", section.annotation).model_fields
        hint = _nearest(location[-1], known) or f"known names: {', '.join(known)}"
        return ConfigError(f"{where}: no setting named {name}", hint=hint)
    return ConfigError(f"{where}: {name}: {first['msg']}")


def _origin(location: Sequence[str], toml: Path, overrides: Mapping[str, Mapping[str, Any]]) -> str:
    if len(location) > 1 and location[1] in overrides.get(location[0], {}):
        return f"option --{location[1].replace('_', '-')}"
    variable = "FURNCLIP_" + "__".join(location[:2]).upper()
    if variable in {name.upper() for name in os.environ}:
        return f"environment variable {variable}"
    if toml.is_file():
        node: Any = tomllib.loads(toml.read_text("utf-8"))
        for part in location[:2]:
            node = node.get(part) if isinstance(node, dict) else None
        if node is not None:
            return str(toml)
    return str(toml.parent / ".env") if (toml.parent / ".env").is_file() else str(toml)


def _nearest(name: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else None


def _anchored(settings: Settings, root: Path) -> Settings:
    """Take relative paths from the settings file's folder, so --config works from anywhere."""
    if root == Path():
        return settings
    paths = {name: root / value for name, value in settings.paths}
    update: dict[str, Any] = {"paths": settings.paths.model_copy(update=paths)}
    if (root / settings.model.name).is_dir():
        name = str(root / settings.model.name)
        update["model"] = settings.model.model_copy(update={"name": name})
    return settings.model_copy(update=update)


def example_toml() -> str:
    """``furnclip.toml.example``: every setting with its default, commented out."""
    lines = [
        "# furnclip.toml: every setting with its default. Uncomment what you change.",
        "# The command line beats the environment (FURNCLIP_TRAINING__LR=1e-4), which beats .env,",
        "# which beats this file. Keys such as OPENAI_API_KEY belong in the environment or .env.",
    ]
    for section_name, field in Settings.model_fields.items():
        if not isinstance(field.default, Section):
            continue
        lines += ["", f"# {type(field.default).__doc__}", f"[{section_name}]"]
        for name, entry in type(field.default).model_fields.items():
            lines += [f"# {entry.description}"] if entry.description else []
            lines += [f"# {name} = {_toml_value(entry.default)}"]
    return "\n".join(lines) + "\n"


def write_example(path: Path, *, force: bool = False) -> Path:
    """Write ``example_toml`` to ``path``; with ``force`` an existing file is kept as ``.bak``.

    Raises ``ConfigError`` when the file exists and ``force`` is not given.
    """
    if path.exists():
        if not force:
            raise ConfigError(f"{path} exists", hint="--force replaces it and keeps a .bak")
        path.replace(path.with_name(f"{path.name}.bak"))
    write_text_atomic(path, example_toml())
    return path


def _toml_value(value: Any) -> str:
    if value is None:
        return '""'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    return f"'{value}'" if "\\" in str(value) else json.dumps(str(value))


class _View(type):
    """Upper-case class attributes that read one section of the settings when they are used."""

    _section: str
    _names: Mapping[str, str]

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_") or not name.isupper():
            raise AttributeError(name)
        target = cls._names.get(name, f"{cls._section}.{name.lower()}")
        section_name, _, field = target.partition(".")
        section = getattr(load_settings(), section_name)
        if field not in type(section).model_fields:
            raise AttributeError(f"{cls.__name__} has no attribute {name}")
        return getattr(section, field)

    def section(cls) -> Any:
        """Return the whole section, read now."""
        return getattr(load_settings(), cls._section)


class DataPaths(metaclass=_View):
    """Data folders and files, e.g. ``DataPaths.RAW_CSV_PATH``; read from the settings when used."""

    _section = "paths"
    _names: Mapping[str, str] = {
        "RAW_CSV_PATH": "paths.raw_csv",
        "CLEANED_CSV_PATH": "paths.cleaned_csv",
    }

    @classmethod
    def ensure_dirs(cls) -> None:
        """Make every data folder that is missing."""
        for name, value in cls.section():
            if name.endswith("_dir"):
                value.mkdir(parents=True, exist_ok=True)


class ModelConfig(metaclass=_View):
    """The base model and its preprocessing, e.g. ``ModelConfig.MODEL_NAME``."""

    _section = "model"
    _names: Mapping[str, str] = {"MODEL_NAME": "model.name"}


class TrainingConfig(metaclass=_View):
    """Training hyperparameters, e.g. ``TrainingConfig.INITIAL_LR``.

    ``WARMUP_STEPS`` is 0 unless set: the warm-up is then ``WARMUP_FRACTION`` of all steps.
    """

    _section = "training"
    _names: Mapping[str, str] = {
        "BATCH_SIZE": "training.effective_batch_size",
        "EMBEDDING_BATCH_SIZE": "embedding.batch_size",
        "INITIAL_LR": "training.lr",
        "DEVICE": "model.device",
    }


class PrepConfig(metaclass=_View):
    """Shard settings, e.g. ``PrepConfig.SAMPLES_PER_SHARD``; ``write_dataset`` takes it."""

    _section = "prep"
    _names: Mapping[str, str] = {}
