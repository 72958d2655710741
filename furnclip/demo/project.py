"""The folder that the demo leaves behind: an ordinary furnclip project with a furnclip.toml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from furnclip.config import CONFIG_FILE, Settings, load_settings
from furnclip.demo.tiny_clip import IMAGE_SIZE
from furnclip.errors import UsageError
from furnclip.files import write_text_atomic
from furnclip.state import StateStore

BASE, TUNED = "demo-base", "demo-tuned"
_TITLE = "# furnclip.toml of the demo"
_TOML = f"""\
{_TITLE}: a drawn catalogue and a tiny model. `furnclip init` in another
# folder writes one with every setting and its default.

[model]
name = "models/{BASE}"
image_size = {IMAGE_SIZE}

[cleaning]
backend = "rules"

[prep]
image_size = 256

# For a tiny model from scratch; the defaults are for a large pretrained one.
[training]
epochs = 24
effective_batch_size = 64
lr = 1e-3
patience = 8
precision = "fp32"
"""


@dataclass(frozen=True)
class Project:
    """The demo's folder, its settings and its state file."""

    folder: Path
    settings: Settings
    state: StateStore

    @property
    def key(self) -> Path:
        """The answer key, which no stage reads."""
        return self.folder / "answer_key.csv"

    @property
    def random_model(self) -> Path:
        """The untrained CLIP that the base starts from."""
        return self.settings.paths.models_dir / "demo-random"

    @property
    def coarse_shards(self) -> Path:
        """Shards whose captions name the kind of furniture and nothing else."""
        return self.settings.paths.shards_dir.with_name("shards-coarse")


def open_project(folder: Path) -> Project:
    """Make the folder and its furnclip.toml, or open what an earlier demo made.

    Raises ``UsageError`` for a folder that has another project in it.
    """
    folder = folder.absolute()
    toml = folder / CONFIG_FILE
    if not toml.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(
                f"{folder} is not empty", hint="name a new folder with --dir, or empty this one"
            )
        write_text_atomic(toml, _TOML)
    elif not toml.read_text("utf-8").startswith(_TITLE):
        raise UsageError(
            f"{folder} has a furnclip project of your own", hint="name a new folder with --dir"
        )
    settings = load_settings(toml)
    return Project(folder, settings, StateStore(settings.paths.state_file))
