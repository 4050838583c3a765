"""The TOML file as a source of settings."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from gateway.settings_problems import SettingsError, unknown_key


class TomlFile(PydanticBaseSettingsSource):
    """Reads settings from one flat TOML file; every key is a setting's name in lower case.

    pydantic-settings has a TOML source of its own, which takes a missing file for an empty one and lets the parser's
    bare error through.
    """

    def __init__(self, settings_cls: type[BaseSettings], path: Path | str | None) -> None:
        """Read the file; None means that there is none.

        Raises:
            SettingsError: The file is missing, unreadable or no TOML, or has a key that is no setting.
        """
        super().__init__(settings_cls)
        self._content = _read(Path(path).expanduser()) if path else {}
        unknown = [name for name in self._content if name not in settings_cls.model_fields or name == "config"]
        if unknown:
            raise SettingsError(unknown_key(f"{name} in {path}", name, settings_cls.model_fields) for name in unknown)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - the base's
        """The value of one setting, its key, and that it needs no decoding."""
        return self._content.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All settings that the file names."""
        return self._content


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError([f"TOLLGATE_CONFIG: {path} cannot be read ({reason}); correct the path"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"TOLLGATE_CONFIG: {path} is no valid TOML: {error}; correct the file"]) from error
