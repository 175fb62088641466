"""A folder that is there with all that is in it, or not at all."""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeVar

from geoseg.errors import ConfigError, StoppedError
from geoseg.runner import is_disk_full

_ResultT = TypeVar("_ResultT")


def whole_folder(output: Path, write: Callable[[Path], _ResultT], replaced: Collection[str] = ()) -> _ResultT:
    """Let a folder be written beside its place and move it there when all is in it.

    Args:
        output: Its place; nothing, or an empty folder.
        write: Writes to another folder.
        replaced: Names of what a folder at its place may hold: it is then removed, with nothing else in it.

    Returns:
        What `write` gave.

    Raises:
        ConfigError: Something else is there, or the place cannot be written to.
        StoppedError: The disk is full.
    """
    try:
        _refuse_other(output, replaced)
        output.parent.mkdir(parents=True, exist_ok=True)
        part = Path(mkdtemp(prefix=f".{output.name}.", suffix=".partial", dir=output.parent))
        try:
            written = write(part)
            part.chmod(0o755)
            if output.exists() and any(output.iterdir()):
                # What came there meanwhile is not ours to remove.
                _refuse_other(output, replaced)
                output.rename(part.with_name(f"{part.name}.old.partial"))
            part.rename(output)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(part.with_name(f"{part.name}.old.partial"), ignore_errors=True)
    except OSError as error:
        if is_disk_full(error):
            raise StoppedError(f"the disk of {output} is full: make room and begin again") from error
        raise ConfigError(f"cannot write to {output}: {error.strerror or error}; name another with -o") from error
    return written


def _refuse_other(output: Path, replaced: Collection[str]) -> None:
    """Refuse a place where something lies that may not be replaced.

    Raises:
        ConfigError: There is.
    """
    if not output.exists():
        return
    if not output.is_dir() or (not replaced and any(output.iterdir())):
        raise ConfigError(f"expected a new or empty folder, {output} holds something: name another with -o")
    others = sorted({path.name for path in output.iterdir()} - set(replaced))
    if others:
        raise ConfigError(
            f"{output} holds {others[0]}, which no earlier export wrote, and would be lost: name another folder "
            "with -o, or remove it"
        )
