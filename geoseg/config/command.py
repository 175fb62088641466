"""What configurations of commands share: keys are options, and become what a user would have typed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Discriminator, Tag, ValidationError

from geoseg.config.sections import CHOICE, Section, explain
from geoseg.config.text import read_mapping
from geoseg.errors import ConfigError


def _kind_of(value: object) -> str:
    """How a value is written: its name among the alternatives of `Words`."""
    match value:
        case Mapping():
            return CHOICE + "mapping"
        case list() | tuple():
            return CHOICE + "list"
        case str():
            return CHOICE + "text"
    return CHOICE + "number"


NumberOrByClass = Annotated[
    Annotated[float, Tag(CHOICE + "number")] | Annotated[dict[str, float], Tag(CHOICE + "mapping")],
    Discriminator(_kind_of),
]
"""A number for all classes, or one for each that is named."""

NumberOrWord = Annotated[
    Annotated[float, Tag(CHOICE + "number")] | Annotated[str, Tag(CHOICE + "text")], Discriminator(_kind_of)
]
"""A number, or a word that stands for one."""

PairOrText = Annotated[
    Annotated[tuple[float, float], Tag(CHOICE + "list")] | Annotated[str, Tag(CHOICE + "text")],
    Discriminator(_kind_of),
]
"""Two numbers, or text for them."""

NumbersOrFiles = Annotated[
    Annotated[tuple[int, ...], Tag(CHOICE + "list")] | Annotated[dict[str, str], Tag(CHOICE + "mapping")],
    Discriminator(_kind_of),
]
"""Numbers, or files by name."""

FilesOrByClass = Annotated[
    Annotated[str, Tag(CHOICE + "text")]
    | Annotated[tuple[str, ...], Tag(CHOICE + "list")]
    | Annotated[dict[str, str], Tag(CHOICE + "mapping")],
    Discriminator(_kind_of),
]
"""A file, several, or one for each class that is named."""


class CommandConfig(Section):
    """The options of a command in a file: a key is an option without its dashes, what is left out stays usual."""

    data_keys: ClassVar[frozenset[str]] = frozenset()
    """Keys with files that start from the data root."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a configuration.

        Args:
            path: A YAML file; only plain data is read from it (`yaml.safe_load`).

        Raises:
            ConfigError: The file cannot be read, is no YAML mapping, or has a wrong key or value; the message names
                the key, what was expected and what came.
        """
        values = read_mapping(path)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{path}: {explain(cls, error)}") from error

    def words(self, root: Path) -> dict[str, Any]:
        """What the file says, as the command's options take it, by key: a value, or a list of words.

        Args:
            root: Where files of `data_keys` start from; absolute ones and addresses stay as they are.
        """
        said = {key: getattr(self, key) for key in sorted(self.model_fields_set - {"kind"})}
        return {
            key: _in_words(_from(root, value) if key in self.data_keys else value)
            for key, value in said.items()
            if value is not None
        }


def _in_words(value: Any) -> Any:  # noqa: ANN401  # whatever a key holds
    """Pairs as NAME=VALUE, several values as text each."""
    match value:
        case Mapping():
            return [f"{name}={one}" for name, one in value.items()]
        case tuple():
            return [str(one) for one in value]
    return value


def _from(root: Path, value: Any) -> Any:  # noqa: ANN401  # the same
    match value:
        case Mapping():
            return {name: _from(root, one) for name, one in value.items()}
        case tuple():
            return tuple(_from(root, one) for one in value)
        case str() if not ("://" in value or value.startswith("/vsi")):
            return str(root / value)
    return value
