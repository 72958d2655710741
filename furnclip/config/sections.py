"""Every setting of furnclip: its section, default and meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

Scenario = Literal[
    "zero_shot", "linear_probe", "vision_lora", "text_lora", "dual_lora", "unfrozen_targets"
]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16", "fp64"]


class Section(BaseModel):
    """One table of ``furnclip.toml``; a name it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _blank_is_unset(cls, values: Any) -> Any:
        """Take ``""`` for an optional setting as not set: TOML has no null."""
        if not isinstance(values, dict):
            return values
        optional = {name for name, entry in cls.model_fields.items() if entry.default is None}
        return {k: v for k, v in values.items() if not (v == "" and k in optional)}


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

    @field_validator("*")
    @classmethod
    def _home(cls, value: Path) -> Path:
        return value.expanduser() if value.parts[:1] == ("~",) else value


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
    base_url: str | None = Field(
        None, pattern=r"^https?://", description="API root; default: OPENAI_BASE_URL or OpenAI"
    )
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
        None, gt=0, description="prompt tokens in the provider's queue; default: learned from it"
    )
    max_usd: float | None = Field(
        None, gt=0, description="refuse to submit when a run would cost more"
    )
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
    max_pixels: int = Field(
        64_000_000,
        gt=0,
        le=178_956_970,
        description="larger images are rejected; Pillow reads no more",
    )
    max_aspect: float = Field(20.0, gt=1, description="longer images are rejected")
    allow_truncated: bool = Field(default=False, description="accept JPEGs that are cut short")
    strict: bool = Field(
        default=False, description="reject JPEGs with damage a decoder can conceal"
    )
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
    precision: TrainingPrecision = Field("auto", description="fp64: to compare runs exactly")
    patience: int = Field(3, ge=0, description="epochs without a better nDCG@10; 0: never stop")
    checkpoint_steps: int = Field(200, gt=0)
    workers: int = Field(
        2, ge=0, description="threads that decode ahead; for remote shards, processes"
    )
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
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        "auto", description="int8: CPU only, extra `fast`, refused where it finds other products"
    )
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

    @field_validator("openai_api_key")
    @classmethod
    def _can_be_sent(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse here what the HTTP library would refuse with the key in its message."""
        if value is None:
            return None
        key = value.get_secret_value().strip()
        if not all("!" <= letter <= "~" for letter in key):
            raise ValueError("the key holds a space, a line break or a letter that no key has")
        return SecretStr(key)
