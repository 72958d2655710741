"""Every setting of furnclip, where it may come from, and the API document's views of it.

Precedence: command line > environment (``FURNCLIP_TRAINING__LR``) > ``.env`` > ``furnclip.toml``
> default. Relative paths are taken from the folder of ``furnclip.toml`` (else the current one).
``Settings`` stops at the command line: a stage takes its own section.
"""

from furnclip.config.example import example_toml, write_example
from furnclip.config.load import CONFIG_FILE, load_settings
from furnclip.config.sections import (
    ArenaSettings,
    CleaningSettings,
    EmbeddingSettings,
    ModelSettings,
    PathsSettings,
    Precision,
    PrepSettings,
    Scenario,
    SearchSettings,
    Section,
    Settings,
    TrainingSettings,
)
from furnclip.config.views import DataPaths, ModelConfig, PrepConfig, TrainingConfig

__all__ = [
    "CONFIG_FILE",
    "ArenaSettings",
    "CleaningSettings",
    "DataPaths",
    "EmbeddingSettings",
    "ModelConfig",
    "ModelSettings",
    "PathsSettings",
    "Precision",
    "PrepConfig",
    "PrepSettings",
    "Scenario",
    "SearchSettings",
    "Section",
    "Settings",
    "TrainingConfig",
    "TrainingSettings",
    "example_toml",
    "load_settings",
    "write_example",
]
