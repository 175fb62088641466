"""Entries of a configuration's data become scenes with their labels."""

from collections.abc import Iterator
from pathlib import Path

from geoseg.config import TrainConfig
from geoseg.config.data import IGNORE, OTHERS, UNKNOWN, ClassFileConfig, Conditions, SourceConfig
from geoseg.datasets.features import file_values
from geoseg.datasets.label_files import REST, ChipFile, LabelFiles, RasterFile, VectorFile, VectorFiles
from geoseg.errors import ConfigError, GeosegError
from geoseg.io.assets import RASTER_SUFFIXES
from geoseg.io.features_file import attribute_text
from geoseg.io.polygons import read_polygons, vector_kind
from geoseg.io.regions import Region, read_region
from geoseg.io.scene import PercentStretch, SceneOptions
from geoseg.labels import NODATA_CLASS
from geoseg.train.chip_entries import OF_PIXELS, chip_format, chips_of_entry, matches
from geoseg.train.scenes import Source

_ENDINGS = ("_image", "_img", "_rgb")
_LABELS = RASTER_SUFFIXES | {".geojson", ".json", ".gpkg", ".fgb", ".shp", ".parquet", ".geoparquet"}


def sources_of_entry(config: TrainConfig, number: int, root: Path) -> Iterator[Source]:
    """The scenes of one entry.

    Args:
        config: The configuration.
        number: Of the entry in `data`, from 0.
        root: Where its paths start.

    Yields:
        Each scene; of split train where the entry is still to be divided.

    Raises:
        ConfigError: A file is missing or cannot mean what it must; names the key.
        GeosegError: A file cannot be read.
    """
    entry, key = config.data[number], f"data.{number}"
    labelled_images = list(_labelled(config, entry, key, root))
    region = _region(entry, key, root)
    ignored = None
    if entry.ignore is not None:
        ignored = read_polygons(_file(root, entry.ignore, f"{key}.ignore"))
    options = SceneOptions(
        bands=entry.bands,
        stretch=_stretch(entry),
        assume_crs=entry.assume_crs,
        ground_resolution_m=entry.ground_resolution_m,
    )
    for image, labels, labelled, instances in labelled_images:
        yield Source(
            name=image.with_suffix("").name,
            image=str(image),
            labels=labels,
            split="train" if entry.split == "auto" else entry.split,
            region=region,
            labelled=labelled,
            ignored=ignored,
            weight=entry.weight,
            options=options,
            instances=instances,
        )


def _labelled(
    config: TrainConfig, entry: SourceConfig, key: str, root: Path
) -> Iterator[tuple[Path, LabelFiles, frozenset[int] | None, str | None]]:
    """Each image with its labels, the ids of the classes that they label (None: all), and the raster of objects."""
    labels = _Labels(config, entry, key, root)
    form = chip_format(entry, root)
    if form is not None:
        meaning = labels.of_chips(of_pixels=form in OF_PIXELS)
        for chip in chips_of_entry(entry, form, key, root):
            file = ChipFile(chip, *meaning[:2])
            yield chip.image, file, meaning[2], labels.instances(chip.image, file)
        return
    for image in _images(root, entry.image, f"{key}.image"):
        files, labelled = labels.of(image)
        yield image, files, labelled, labels.instances(image, files)


def _region(entry: SourceConfig, key: str, root: Path) -> Region | None:
    if entry.region is None:
        return None
    path = root / entry.region.file
    if path.suffix.lower() in (".geojson", ".json") or entry.region.where:
        return read_region(path, entry.region.where)
    return read_polygons(_file(root, entry.region.file, f"{key}.region.file"))


def _stretch(entry: SourceConfig) -> tuple[float, float] | PercentStretch | None:
    limits = entry.stretch_limits()
    if limits is None:
        return None
    return PercentStretch(*limits[0]) if limits[1] else limits[0]


def _file(root: Path, name: str, key: str) -> Path:
    if not (root / name).is_file():
        raise ConfigError(f"{key}: expected a file, got {name}, not found in {root}")
    return root / name


def _images(root: Path, name: str, key: str) -> list[Path]:
    """A scene, those of a folder or those that a glob matches, by name."""
    path = root / name
    if path.is_dir():
        found = sorted(one for one in path.iterdir() if _is_image(one))
    elif (matched := matches(root, name)) is not None:
        found = sorted(one for one in matched if _is_image(one))
    else:
        return [_file(root, name, key)]
    if not found:
        raise ConfigError(f"{key}: expected rasters ({', '.join(sorted(RASTER_SUFFIXES))}) in {name}, found none")
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in RASTER_SUFFIXES and not path.name.startswith(".") and path.is_file()


class _Labels:
    """What an entry says of labels, for each of its scenes."""

    def __init__(self, config: TrainConfig, entry: SourceConfig, key: str, root: Path) -> None:
        self._config, self._entry, self._key, self._root = config, entry, key, root
        self._names = config.label_set().names

    def of(self, image: Path) -> tuple[LabelFiles, frozenset[int] | None]:
        """The labels of a scene, and the ids of the classes that they label; None for all."""
        entry = self._entry
        if isinstance(entry.labels, dict):
            files = tuple(
                self._of_class(name, self._path(image, file.file, f"{self._key}.labels.{name}"), file)
                for name, file in entry.labels.items()
            )
            return VectorFiles(files, self._rest(REST)), self._ids(frozenset(entry.labels))
        path = self._path(image, entry.labels, f"{self._key}.labels")
        if entry.format == "vector" or (entry.format == "auto" and _is_vector(path)):
            return self._vector(path)
        return self._raster(path)

    def of_chips(self, *, of_pixels: bool) -> tuple[dict[str, int], int, frozenset[int] | None]:
        """What categories of chips mean, what is not annotated, and the ids of the classes that they label."""
        entry, config, names = self._entry, self._config, self._names
        given = entry.values
        if given is None and entry.reads_label_values:
            given = {str(value): name for value, name in config.label_values.items()}
        if OTHERS in (given or {}):
            raise ConfigError(
                f"{self._key}.values.{OTHERS}: it stands for values of attributes, name the categories"
            )
        ids = {value: self._meaning(name) for value, name in (given or {}).items()}
        if not of_pixels:
            # Annotations name categories: those that are called as classes are these.
            ids = {name: number for number, name in enumerate(names)} | ids
        elif not given:
            raise ConfigError(
                f"{self._key}.values: expected what the labels' values mean, for example 1: {names[0]}"
            )
        ignored = config.ignore_values if entry.ignore_values is None else entry.ignore_values
        ids = {str(value): NODATA_CLASS for value in ignored} | ids
        return ids, self._rest(REST), self._ids(frozenset(given.values() if given else names))

    def instances(self, image: Path, labels: LabelFiles) -> str | None:
        """The raster of a scene's objects, if one is named."""
        name, key = self._entry.instances, f"{self._key}.instances"
        if name is None:
            return None
        if isinstance(labels, VectorFiles | ChipFile):
            what = "each feature is an object" if isinstance(labels, VectorFiles) else "the format says what is one"
            raise ConfigError(f"{key}: it goes with labels in a class raster, of these {what}: remove it")
        return str(self._path(image, name, key))

    def _path(self, image: Path, name: str, key: str) -> Path:
        """The file of labels of a scene: as it is named, or the one of the scene's name in a folder."""
        stem = image.stem
        short = next((stem.removesuffix(ending) for ending in _ENDINGS if stem.endswith(ending)), stem)
        meant = name.replace("{stem}", stem).replace("{name}", short)
        path = self._root / meant
        if not path.is_dir():
            return _file(self._root, meant, key)
        found = [one for one in sorted(path.iterdir()) if one.stem == stem and one.suffix.lower() in _LABELS]
        if len(found) != 1:
            raise ConfigError(
                f"{key}: expected one file in {name} of the name of {image.name} "
                f"({', '.join(sorted(_LABELS))}), found {len(found)}; name the files, for example "
                f"{name}/{{stem}}_label.tif"
            )
        return found[0]

    def _raster(self, path: Path) -> tuple[LabelFiles, frozenset[int] | None]:
        entry, config = self._entry, self._config
        rest = self._rest(NODATA_CLASS)
        if entry.values is None and entry.ignore_values is None and config.label_values:
            plain = entry.rest is None
            labelled = self._ids(frozenset(config.label_values.values()))
            return (str(path) if plain else RasterFile(str(path), None, rest)), labelled
        values = entry.values or {str(value): name for value, name in config.label_values.items()}
        if not values:
            raise ConfigError(
                f"{self._key}.values: expected what the values of {path} mean, for example values: "
                f"{{1: {self._names[0]}}}; or label_values for all rasters"
            )
        ignored = config.ignore_values if entry.ignore_values is None else entry.ignore_values
        ids = {self._number(value, path): self._meaning(name) for value, name in values.items()}
        ids = dict.fromkeys(ignored, NODATA_CLASS) | ids
        return RasterFile(str(path), tuple(sorted(ids.items())), rest), self._ids(frozenset(values.values()))

    def _number(self, value: str, path: Path) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ConfigError(
                f"{self._key}.values.{value}: expected whole numbers, {path} is a raster; or say format: vector"
            ) from None
        if not 0 <= number <= 2**31 - 2:
            raise ConfigError(f"{self._key}.values.{value}: expected a number from 0 on")
        return number

    def _vector(self, path: Path) -> tuple[LabelFiles, frozenset[int] | None]:
        entry, names = self._entry, self._names
        attribute = entry.class_attribute or "class"
        known = file_values(path, attribute)
        if known is None and entry.class_attribute is None and len(entry.classes or ()) == 1:
            # No attribute is needed where all features are of one class.
            only = ClassFileConfig(file=entry.labels if isinstance(entry.labels, str) else "")
            name = (entry.classes or names)[0]
            return VectorFiles((self._of_class(name, path, only),), self._rest(REST)), self._ids(frozenset({name}))
        ids = {name: number for number, name in enumerate(names)}
        ids |= {value: self._meaning(name) for value, name in (entry.values or {}).items()}
        file = VectorFile(
            path=str(path),
            ids=tuple(ids.items()),
            attribute=attribute,
            width_m=entry.width_m,
            width_attribute=entry.width_attribute,
            where=_conditions(entry.where),
            layer=entry.layer,
        )
        if entry.values is None:
            labelled = (known or frozenset()) & frozenset(names)
        else:
            labelled = frozenset(entry.values.values())
        return VectorFiles((file,), self._rest(REST)), self._ids(labelled)

    def _of_class(self, name: str, path: Path, file: ClassFileConfig) -> VectorFile:
        entry = self._entry
        return VectorFile(
            path=str(path),
            only=self._names.index(name),
            width_m=file.width_m or entry.width_m,
            width_attribute=file.width_attribute or entry.width_attribute,
            where=_conditions(file.where or entry.where),
            layer=file.layer or entry.layer,
        )

    def _meaning(self, name: str) -> int:
        """A class id, `REST` or `NODATA_CLASS`; a class that is called as one of these is the class."""
        if name in self._names:
            return self._names.index(name)
        return {UNKNOWN: REST, IGNORE: NODATA_CLASS}[name]

    def _rest(self, otherwise: int) -> int:
        return otherwise if self._entry.rest is None else self._meaning(self._entry.rest)

    def _ids(self, labelled: frozenset[str]) -> frozenset[int] | None:
        """The classes that are labelled; `classes` of the entry goes before what its labels say."""
        entry = self._entry
        some = frozenset(entry.classes) if entry.classes is not None else labelled & frozenset(self._names)
        some |= frozenset(self._names) & {entry.rest}
        if not some:
            raise ConfigError(
                f"{self._key}: expected labels of one of {', '.join(self._names)}, its files name none of them; "
                "say in values what theirs mean, or in classes which of them they label"
            )
        return None if len(some) == len(self._names) else frozenset(self._names.index(name) for name in some)


def _conditions(where: Conditions) -> tuple[tuple[str, str | None], ...]:
    return tuple((attribute, attribute_text(value)) for attribute, value in where.items())


def _is_vector(path: Path) -> bool:
    try:
        vector_kind(path)
    except GeosegError:
        return path.suffix.lower() not in RASTER_SUFFIXES
    return True
