"""What a user names on the command line: files, folders, globs, lists and STAC documents become scenes."""

import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from geoseg.errors import GeosegError, SceneError
from geoseg.io.addresses import is_remote
from geoseg.io.assets import RASTER_SUFFIXES
from geoseg.io.sources import SceneSource
from geoseg.io.stac import is_stac, read_stac

_SUFFIXES = RASTER_SUFFIXES | {".j2k"}
"""What a raster of a folder or a glob is called; what else lies there is left alone."""

_LISTS = frozenset({".txt", ".lst"})
_LIST_BYTES = 64 * 2**20
_GLOB = frozenset("*?[")


def find_sources(
    given: Sequence[str],
    bands: tuple[str, ...],
    *,
    assets: tuple[str, ...] | None = None,
    trust_vrt: bool = False,
) -> list[SceneSource]:
    """What arguments name, in their order, each file once.

    An argument is a raster on this machine or at an address, a folder (its rasters by name, not those of folders in
    it), a glob (`**` goes into folders), a STAC Item, ItemCollection, Catalog or Collection, or a text file (.txt,
    .lst) with one of these a line, relative to the text file; lines that are empty or begin with # are left out.

    Args:
        given: The arguments.
        bands: Names of the model's bands.
        assets: Keys or roles of the STAC assets to read; None to go by their bands.
        trust_vrt: Whether .vrt files of folders and globs are scenes.

    Raises:
        SceneError: A folder or glob holds no raster, or a list cannot be read or holds nothing.
    """
    suffixes = _SUFFIXES | ({".vrt"} if trust_vrt else frozenset())
    found: dict[tuple[tuple[str, ...], str], SceneSource] = {}
    for argument in given:
        for path in _paths(argument, suffixes):
            if is_stac(path):
                for source in read_stac(path, assets, bands, keep_bad=True):
                    # Bad items of one document differ by their names alone.
                    found.setdefault((source.files, (source.name or "") if source.problem else ""), source)
            else:
                found.setdefault(((path,), ""), SceneSource((path,)))
    if not found:
        raise SceneError("expected a scene, got none")
    return list(found.values())


def of_band_files(files: Mapping[str, str], bands: tuple[str, ...]) -> SceneSource:
    """A scene of one file for each band that a model knows.

    Args:
        files: The file of each band, by the band's name.
        bands: Names of the model's bands.

    Raises:
        GeosegError: A band has no file, or a name is no band of the model.
    """
    if set(files) != set(bands):
        raise GeosegError(f"expected --bands with a file for each of {', '.join(bands)}, got {', '.join(files)}")
    return SceneSource(tuple(files[band] for band in bands))


def _paths(argument: str, suffixes: frozenset[str]) -> Iterator[str]:
    path = Path(argument)
    if is_remote(argument):
        yield argument
    elif path.is_dir():
        inside = sorted(str(file) for file in path.iterdir() if _is_raster(file, suffixes))
        if not inside:
            raise SceneError(f"{argument} is a folder without rasters ({', '.join(sorted(suffixes))})")
        yield from inside
    elif path.suffix.lower() in _LISTS and path.is_file():
        yield from _listed(path, suffixes)
    elif _GLOB & set(argument) and not path.exists():
        every = glob.iglob(argument, recursive=True)  # noqa: PTH207  # Path.glob takes no pattern from the root
        matches = sorted(match for match in every if _is_raster(Path(match), suffixes))
        if not matches:
            raise SceneError(f"{argument} matches no raster ({', '.join(sorted(suffixes))})")
        yield from matches
    else:
        yield argument


def _listed(path: Path, suffixes: frozenset[str]) -> Iterator[str]:
    try:
        with path.open("rb") as stream:
            text = stream.read(_LIST_BYTES + 1)
        if len(text) > _LIST_BYTES:
            raise SceneError(f"{path} is no list of scenes: it is longer than {_LIST_BYTES // 2**20} MiB")
        lines = [line.strip() for line in text.decode("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SceneError(f"{path} cannot be read as a list of scenes: {reason}") from error
    entries = [line for line in lines if line and not line.startswith("#")]
    if not entries:
        raise SceneError(f"{path} lists no scene: expected a path, folder or glob on each line")
    for entry in entries:
        if Path(entry).suffix.lower() in _LISTS:
            raise SceneError(f"{path} lists another list, {entry}: name its scenes themselves")
        yield from _paths(entry if is_remote(entry) else str(path.parent / entry), suffixes)


def _is_raster(path: Path, suffixes: frozenset[str]) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
