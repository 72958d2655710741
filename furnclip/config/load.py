"""Reading the settings from the command line, the environment, ``.env`` and ``furnclip.toml``."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
    TomlConfigSettingsSource,
)

from furnclip.config.sections import Section, Settings
from furnclip.errors import ConfigError

CONFIG_FILE = "furnclip.toml"


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
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(
            f"cannot read {toml} or the .env beside it: {error}", hint="save both as UTF-8 text"
        ) from error
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
    name = ".".join(location).removeprefix("FURNCLIP_").lower()
    where = _origin(location, toml, overrides)
    if first["type"] == "extra_forbidden":
        return ConfigError(f"{where}: no setting named {name}", hint=_right_name(location))
    if first["type"].startswith("model_"):
        return ConfigError(
            f"{where}: {name} is a table of settings",
            hint=f"write [{name}], and its settings on the lines below",
        )
    return ConfigError(f"{where}: {name}: {first['msg'].removeprefix('Value error, ')}")


def _right_name(location: Sequence[str]) -> str:
    """Say which name was meant, or which section a setting without one belongs to."""
    sections = {
        name: cast("type[Section]", entry.annotation).model_fields
        for name, entry in Settings.model_fields.items()
        if isinstance(entry.default, Section)
    }
    name = location[-1]
    if len(location) > 1 and location[0] in sections:
        known: Iterable[str] = sections[location[0]]
    else:
        known = Settings.model_fields
        homes = [f"[{section}]" for section, names in sections.items() if name in names]
        if homes:
            return f"it belongs under {' or '.join(homes)}"
    return _nearest(name, known) or f"known names: {', '.join(known)}"


def _origin(location: Sequence[str], toml: Path, overrides: Mapping[str, Mapping[str, Any]]) -> str:
    if len(location) > 1 and location[1] in overrides.get(location[0], {}):
        return f"option --{location[1].replace('_', '-')}"
    joined = "__".join(location[:2]).upper().removeprefix("FURNCLIP_")
    for variable in os.environ:  # the key has two names, one without the prefix
        if variable.upper() in {joined, f"FURNCLIP_{joined}"}:
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
