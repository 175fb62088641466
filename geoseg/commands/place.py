"""RUN as an argument of commands: a folder on a disk, or one in an object store."""

from pathlib import Path

import click

from geoseg.errors import GeosegError
from geoseg.io.bucket import BucketPath
from geoseg.io.place import Place, parse_place


class RunPlace(click.ParamType[Place]):
    """A path, made absolute (workers may be in another folder), or an address."""

    name = "RUN"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """The place."""
        if isinstance(value, Path | BucketPath):
            return value
        try:
            return parse_place(str(value))
        except GeosegError as error:
            self.fail(str(error), param, ctx)


class RunPath(click.ParamType[Path]):
    """A path, for commands that read a RUN on a disk alone."""

    name = "RUN"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path as it is."""
        if "://" in str(value):
            self.fail(f"expected a RUN folder on this machine, got {value}: copy it here first", param, ctx)
        return Path(str(value))
