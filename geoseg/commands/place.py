"""Paths as arguments of commands, some of which may be addresses in an object store."""

from pathlib import Path

import click

from geoseg.errors import GeosegError
from geoseg.io.bucket import BucketPath
from geoseg.io.place import Place, disk_path, parse_place


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


class DiskPath(click.ParamType[Path]):
    """A path, where an address will not do.

    Args:
        remedy: What to do about an address; by default to copy what is written.
    """

    name = "path"

    def __init__(self, **remedy: str) -> None:
        self._remedy = remedy

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path as it is."""
        try:
            return disk_path(str(value), **self._remedy)
        except GeosegError as error:
            self.fail(str(error), param, ctx)


COPIED_HERE = DiskPath(remedy="copy it here first")
"""A RUN folder that is read by what can only read a disk."""
