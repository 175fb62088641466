"""Entries of a configuration's data that are chips: which format they are in, and where their images are."""

import glob
from pathlib import Path

from geoseg.config.data import SourceConfig
from geoseg.datasets.chips import Chip
from geoseg.datasets.formats import FORMATS, ChipFormat, read_chips, tell_format
from geoseg.datasets.telling import is_panoptic_folder
from geoseg.errors import ConfigError
from geoseg.io.drivers import open_raster

_WITH_LAYOUT = frozenset({"voc", "cityscapes", "ade20k", "coco-stuff"})
"""Formats that say where their images are."""

OF_PIXELS = _WITH_LAYOUT | {"folders"}
"""Formats whose labels are rasters: their categories are numbers or colours."""

_WITH_LINES = frozenset({"labelme", "cvat", "supervisely"})

_PICTURES = frozenset({".png", ".jpg", ".jpeg"})

_HEAD = 2**16

_GLOB = frozenset("*?[")


def chip_format(entry: SourceConfig, root: Path) -> ChipFormat | None:
    """The format of an entry's chips; None where its labels are rasters or vectors on the ground.

    Raises:
        ConfigError: Labels look like no format.
        SceneError: They cannot be read.
    """
    if isinstance(entry.labels, dict) or entry.format in ("raster", "vector"):
        return None
    if entry.format != "auto":
        return next(one for one in FORMATS if one == entry.format)
    path, images = root / entry.labels, root / entry.image
    if path.is_dir() and is_panoptic_folder(path):
        return "coco-panoptic"
    if path.is_dir():
        # Rasters and vectors of the scenes' names lie in a folder too; pictures are chips.
        pictures = images.is_dir() and any(one.suffix.lower() in _PICTURES for one in images.iterdir())
        own = images == path or not images.exists()
        return tell_format(path, None if own else images) if pictures or own else None
    if path.is_file() and path.suffix.lower() in (".json", ".xml") and not _is_geojson(path):
        return tell_format(path)
    return None


def _is_geojson(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    return b'"Feature' in head or b'"coordinates"' in head or b"<kml" in head


def matches(root: Path, name: str) -> list[Path] | None:
    """The files that a glob matches; None where the name is none, or stands for a file or folder as it is.

    Args:
        root: Where it starts.
        name: The name.
    """
    if not _GLOB & set(name) or (root / name).exists():
        return None
    pattern = str(Path(glob.escape(str(root))) / name)
    return [Path(one) for one in glob.iglob(pattern, recursive=True)]  # noqa: PTH207


def _matching(root: Path, name: str) -> tuple[Path, frozenset[Path]] | None:
    """The folder that a glob looks in, and the files that it matches; None where it is none."""
    found = matches(root, name)
    if found is None:
        return None
    parts = Path(name).parts
    fixed = next(number for number, part in enumerate(parts) if _GLOB & set(part))
    return root.joinpath(*parts[:fixed]), frozenset(one.resolve() for one in found)


def chips_of_entry(entry: SourceConfig, form: ChipFormat, key: str, root: Path) -> tuple[Chip, ...]:
    """The chips of an entry.

    Args:
        entry: What is said of them.
        form: Their format.
        key: Of the entry, for messages.
        root: Where paths start.

    Raises:
        ConfigError: There are none, one has no partner, or they have no place on earth and no ground resolution.
        SceneError: They cannot be read.
    """
    assert isinstance(entry.labels, str)  # a mapping is of vector files
    line_px = None
    if entry.width_m is not None and form in _WITH_LINES:
        if entry.ground_resolution_m is None:
            raise ConfigError(f"{key}.ground_resolution_m: expected it, to know how many pixels width_m is")
        line_px = entry.width_m / entry.ground_resolution_m
    own = entry.image == entry.labels or form in _WITH_LAYOUT
    matching = None if own else _matching(root, entry.image)
    chips = read_chips(
        root / entry.labels,
        form,
        images=None if own else (root / entry.image if matching is None else matching[0]),
        subset=entry.subset,
        line_width_px=line_px,
    )
    if matching is not None:
        chips = tuple(chip for chip in chips if chip.image.resolve() in matching[1])
    if not chips:
        raise ConfigError(f"{key}.labels: expected chips in the format {form} in {entry.labels}, found none")
    if entry.ground_resolution_m is None:
        with open_raster(str(chips[0].image)) as dataset:
            placed = dataset.crs is not None or entry.assume_crs is not None or bool(dataset.gcps[0])
        if not placed:
            raise ConfigError(
                f"{key}.ground_resolution_m: {chips[0].image} has no place on earth, expected the length of its "
                "pixels in metres, for example ground_resolution_m: 0.3"
            )
    return chips
