"""How a training is carried out: options of `geoseg train` in its configuration."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError

from geoseg.config.command import CommandConfig
from geoseg.config.sections import explain
from geoseg.config.text import read_mapping
from geoseg.errors import ConfigError


class RunConfig(CommandConfig):
    """How a training is carried out; each key is the option of `geoseg train` of that name.

    Attributes:
        output: Folder of the model to write, from the working folder.
        device: "cpu", "cuda" or "cuda:N".
        threads: CPU threads of the model, of each worker.
        workers: Processes that train together, with Ray.
        address: Of workers: a running Ray cluster, "auto" or HOST:PORT.
        storage: Of workers: where checkpoints are kept, a folder or an address such as s3://bucket/path.
        tensorboard: Whether events are written.
        skip_bad: Whether to go on without scenes that are damaged.
    """

    output: str | None = None
    device: str | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    address: str | None = None
    storage: str | None = None
    tensorboard: bool | None = None
    skip_bad: bool | None = None

    @classmethod
    def load(cls, path: Path) -> Self:
        """The section `run` of a training's configuration; the rest of the file is not looked at.

        Raises:
            ConfigError: The file cannot be read, is no YAML mapping, or the section has a wrong key or value.
        """
        values = read_mapping(path).get("run")
        if not isinstance(values, dict):
            return cls()  # what is no section is refused with the whole
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{path}: run.{explain(cls, error)}") from error
