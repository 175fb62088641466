"""What must be the same on all machines of a training: software, data, and a place for checkpoints."""

import hashlib
import platform
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import rasterio
from pyarrow import ArrowException
from pyarrow.fs import FileSystem

from geoseg.datasets.label_files import ChipFile, RasterFile, VectorFiles
from geoseg.errors import ConfigError
from geoseg.io.addresses import is_remote
from geoseg.train.scenes import Source

_HEAD_BYTES = 2**16
"""Of a file's beginning that is compared: the header of a raster, and its first pixels."""


def software() -> dict[str, str]:
    """What computes here: by name, the version."""
    packages = ("geoseg", "torch", "numpy", "rasterio", "ray")
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name) for name in packages},
        "GDAL": rasterio.__gdal_version__,
    }


def refuse_software(expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Refuse to train with other versions: the same words and weights would come to mean other numbers.

    Args:
        expected: The driver's.
        found: Here.

    Raises:
        ConfigError: They differ; names the first and counts the others.
    """
    others = [name for name, one in expected.items() if found.get(name) != one]
    if others:
        first = others[0]
        raise ConfigError(
            f"expected {first} {expected[first]}, as where the command runs, got {found.get(first, 'none')}"
            f"{_more(len(others) - 1, 'other package')}: install the same versions everywhere"
        )


def files_of(sources: Iterable[Source]) -> tuple[str, ...]:
    """The files on disk that scenes are made of, each once; what lies on servers is the same for all."""
    paths: dict[str, None] = {}
    for source in sources:
        match source.labels:
            case RasterFile(path=path):
                labels = [path]
            case VectorFiles(files=files):
                labels = [file.path for file in files]
            case ChipFile(chip=chip):  # what it holds travels with it, or is a file beside the image
                labels = [chip.where]
            case path:
                labels = [path]
        objects = [] if source.instances is None else [source.instances]
        paths |= dict.fromkeys([source.image, *labels, *objects])
    return tuple(path for path in paths if not is_remote(path) and Path(path).is_file())


def stamps(paths: Iterable[str]) -> dict[str, str]:
    """For each file its size and the sha256 of its first 64 KiB; "missing" where it is not there.

    Raises:
        ConfigError: A file is there and cannot be read.
    """
    return {path: _stamp(Path(path)) for path in paths}


def refuse_data(expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Refuse to train on other files than the driver's.

    Args:
        expected: The driver's stamps.
        found: Those here, of the same files.

    Raises:
        ConfigError: A file is missing or another one; names the first and counts the others.
    """
    others = [path for path, stamp in expected.items() if found[path] != stamp]
    if others:
        first = others[0]
        came = "there is none" if found[first] == _MISSING else f"got another one ({found[first]})"
        raise ConfigError(
            f"expected the file {first} ({expected[first]}), {came}{_more(len(others) - 1, 'other file')}: copy or "
            "mount the data at the same path on every machine"
        )


def check_storage(storage: str) -> None:
    """Refuse a place for checkpoints that cannot be written to; nothing stays there.

    Args:
        storage: A folder, or an address such as s3://bucket/path.

    Raises:
        ConfigError: It cannot be written.
    """
    with _refusing(storage):
        files, path = FileSystem.from_uri(storage)
        files.create_dir(path, recursive=True)
        name = f"{path}/.geoseg-{uuid.uuid4().hex}"
        with files.open_output_stream(name) as stream:
            stream.write(b"")
        files.delete_file(name)


def try_storage(storage: str, run: str) -> tuple[str, str]:
    """Write a file to where checkpoints are to be kept, and leave it there.

    Args:
        storage: A folder, or an address such as s3://bucket/path.
        run: Name of the run's folder there.

    Returns:
        The file's name and what it holds, for `refuse_storage` elsewhere.

    Raises:
        ConfigError: It cannot be written.
    """
    name, content = ".written-by-driver", uuid.uuid4().hex
    _write(storage, run, name, content)
    return name, content


def refuse_storage(storage: str, run: str, mark: tuple[str, str], worker: int) -> None:
    """Refuse a storage that this machine cannot write to, or that is not the driver's.

    Args:
        storage: As for `try_storage`.
        run: Likewise.
        mark: What `try_storage` gave.
        worker: Number of this one.

    Raises:
        ConfigError: It cannot be written, or what the driver wrote is not there.
    """
    _write(storage, run, f".written-by-{worker}", "")
    try:
        files, path = FileSystem.from_uri(storage)
        with files.open_input_stream(f"{path}/{run}/{mark[0]}") as stream:
            shared = stream.read().decode() == mark[1]
    except (OSError, ValueError, ArrowException):
        shared = False
    if not shared:
        raise ConfigError(
            f"expected {storage} to be a place that all machines share, this one does not see what the command "
            "wrote there: name one with --storage, such as a network folder or s3://BUCKET/PATH"
        )


_MISSING = "missing"


def _stamp(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            head = hashlib.sha256(stream.read(_HEAD_BYTES)).hexdigest()[:12]
        return f"{path.stat().st_size} bytes, head {head}"
    except FileNotFoundError:
        return _MISSING
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; let geoseg read it there, too") from error


def _write(storage: str, run: str, name: str, content: str) -> None:
    with _refusing(storage):
        files, path = FileSystem.from_uri(storage)
        files.create_dir(f"{path}/{run}", recursive=True)
        with files.open_output_stream(f"{path}/{run}/{name}") as stream:
            stream.write(content.encode())


@contextmanager
def _refusing(storage: str) -> Iterator[None]:
    """Turn what pyarrow raises on a storage into our error."""
    try:
        yield
    except (OSError, ValueError, ArrowException) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--storage {storage} cannot be written ({reason}): name another place") from error


def _more(count: int, what: str) -> str:
    return f" (and {count} {what}{'' if count == 1 else 's'})" if count else ""
