"""The API document's classes: thin views of the settings, read when an attribute is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from furnclip.config.load import load_settings


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
