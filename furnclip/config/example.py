"""The commented settings file that ``furnclip init`` writes."""

import json
from pathlib import Path
from typing import Any

from furnclip.config.sections import Section, Settings
from furnclip.errors import ConfigError
from furnclip.files import write_text_atomic


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
