"""YAML text to plain data, with bounds on what a short text can become."""

from pathlib import Path
from typing import Any

import yaml

from geoseg.errors import ConfigError

_YAML_CHARS = 2**20
_YAML_VALUE_CHARS = 10_000
_YAML_VALUES = 100_000
_YAML_DEPTH = 32
"""Bounds on a configuration, each far beyond what one needs: a line for each of ten thousand scenes fits."""


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Raises:
        ConfigError: The file cannot be read, is no YAML mapping, or too much of it.
    """
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: expected a YAML file, got a directory or device")
        with path.open("rb") as stream:
            # No more than is looked at, however large the file is.
            text = stream.read(4 * _YAML_CHARS + 1).decode("utf-8")
        values = load_yaml(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path}: expected a readable YAML file: {reason}") from error
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: a date or number that is none, too much of it
        raise ConfigError(f"{path}: expected YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got {type(values).__name__}")
    return values


def load_yaml(text: str) -> Any:  # noqa: ANN401  # whatever the text says; a model checks it
    """Plain data from YAML (`yaml.safe_load`), with bounds on what a short text can become.

    Aliases let a text of a few lines stand for billions of values ("billion laughs"), so the values are counted
    with aliases written out, before anything is built.

    Raises:
        ValueError: The text is too long, nested too deeply, or stands for too many or too long values.
        yaml.YAMLError: It is no YAML.
    """
    if len(text) > _YAML_CHARS:
        raise ValueError(f"at most {_YAML_CHARS} characters, got {len(text)}")
    count = _Count()
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        count.add(event)
    return yaml.safe_load(text)


class _Count:
    """Counts the values that a YAML text stands for, event by event, with aliases written out."""

    def __init__(self) -> None:
        self._values = 0
        # For each collection that is open its anchor and what was counted before it; for each anchor its values.
        self._opened: list[tuple[str | None, int]] = []
        self._anchored: dict[str | None, int] = {}

    def add(self, event: yaml.Event) -> None:
        match event:
            case yaml.AliasEvent():
                if event.anchor not in self._anchored:
                    raise ValueError(f"alias *{event.anchor} names no finished value")
                self._values += self._anchored[event.anchor]
            case yaml.ScalarEvent():
                if len(event.value) > _YAML_VALUE_CHARS:
                    raise ValueError(f"at most {_YAML_VALUE_CHARS} characters a value, got {len(event.value)}")
                self._values += 1
                self._anchored[event.anchor] = 1
            case yaml.CollectionStartEvent():
                self._opened.append((event.anchor, self._values))
                self._values += 1
            case yaml.CollectionEndEvent():
                anchor, before = self._opened.pop()
                self._anchored[anchor] = self._values - before
        if len(self._opened) > _YAML_DEPTH:
            raise ValueError(f"at most {_YAML_DEPTH} levels of nesting")
        if self._values > _YAML_VALUES:
            raise ValueError(f"at most {_YAML_VALUES} values, aliases written out")
