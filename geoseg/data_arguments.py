"""A configuration of a training run from what a user says on the command line: a scene and its labels."""

import colorsys
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioIOError

from geoseg.catalog import load_model
from geoseg.config import TrainConfig
from geoseg.config.data import IGNORE, UNKNOWN
from geoseg.config.options import TrainOptions
from geoseg.config.sections import explain
from geoseg.datasets.features import file_values
from geoseg.errors import ConfigError, GeosegError, SceneError
from geoseg.imagery import Imagery
from geoseg.io.drivers import open_raster
from geoseg.io.inputs import find_sources
from geoseg.io.polygons import vector_kind
from geoseg.io.scene import SceneOptions, look_at
from geoseg.labels import LabelClass
from geoseg.models.package import LoadedModel

OTHER = "other"
"""What ground without a label is where the labels are of features."""

_MOST_CLASSES = 64
"""A raster of more values, or an attribute of more names, is not one of classes."""

_THINGS = ("building", "buildings", "house", "houses", "car", "cars", "tree", "trees", "pool", "pools")

_COLORS = (
    "#b2182b",
    "#737373",
    "#7fbc41",
    "#2171b5",
    "#e6ab02",
    "#7570b3",
    "#1b9e77",
    "#d95f02",
    "#a6761d",
    "#e7298a",
)
_OTHER_COLOR = "#f0e6d0"

_ARCHITECTURE = {"name": "unet_resnet18", "width": 0.5}
_FROM_CHANCE = {"iterations": 1300, "validate_every": 50, "early_stop": {"patience": 8}}
_AUGMENTATION = {"color_jitter": 0.2, "rotate_deg": 45, "scale": [0.8, 1.25]}
"""What is trained where the user says nothing of it; further from a package by the recipe of fine-tuning."""


@dataclass(frozen=True, slots=True)
class DataArguments:
    """What a user says of scenes and labels in place of a configuration.

    Attributes:
        images: Files, folders or globs.
        labels: (class name or None, file); None for a class raster, or a vector file that names the class of each
            feature.
        class_attribute: The attribute that names the class; "class" when not given.
        width_m: Width of lines, diameter of points, in metres on the ground.
        values: (value of the raster or attribute, class name, "unknown" or "ignore").
        rest: What ground without a label is: a class name, "unknown" or "ignore"; when not given a class of its own
            where labels are of features, and no class where they are a raster.
        start_from: The package to begin from, by name or folder.
        ground_resolution_m: Of the model; the scenes' own, or that of `start_from`, when not given.
    """

    images: tuple[str, ...]
    labels: tuple[tuple[str | None, str], ...]
    class_attribute: str | None = None
    width_m: float | None = None
    values: tuple[tuple[str, str], ...] = ()
    rest: str | None = None
    start_from: str | None = None
    ground_resolution_m: float | None = None


def config_from_arguments(arguments: DataArguments, name: str, options: TrainOptions | None = None) -> TrainConfig:
    """A configuration that trains on scenes with labels, divided in blocks of ground (`split: auto`).

    Classes are those that the labels name; ground without a feature is of a class `other`. The model's bands, data
    type and ground resolution are the first scene's, or those of the package to begin from; so is the network, a
    U-Net with a ResNet-18 of half the width otherwise. All paths are absolute.

    Args:
        arguments: What the user says.
        name: Of the model.
        options: What the user says of the recipe.

    Raises:
        ConfigError: The labels name no classes, too many, or only one, or a name is no class.
        SceneError: A scene or label raster cannot be read or used.
        GeosegError: A vector file cannot be read, or there is no such package.
    """
    model = None if arguments.start_from is None else load_model(arguments.start_from)
    bands = () if model is None else model.imagery.bands
    images = [str(Path(source.files[0]).absolute()) for source in find_sources(arguments.images, bands)]
    if not arguments.labels:
        raise ConfigError("expected labels: give --labels FILE or --labels CLASS=FILE")
    imagery = _imagery(images, arguments.ground_resolution_m) if model is None else _imagery_of(model, arguments)
    entry, names = _labels(arguments)
    known = {} if model is None else {label.name: label for label in model.labels.classes}
    values = {
        "kind": "train",
        "name": _slug(name).replace("_", "-") if not _SLUG.fullmatch(name) else name,
        "description": f"{', '.join(names)}; trained on the user's own labels",
        "licence": "not stated",
        "attribution": "not stated" if model is None else "; ".join(model.card.attribution),
        **({"architecture": _ARCHITECTURE} if model is None else {"start_from": arguments.start_from}),
        "imagery": imagery,
        "classes": [_class(number, one, known) for number, one in enumerate(names)],
        "data": [{"image": image, "split": "auto", **entry} for image in images],
        "sampling": {"balance": "class"},
        "training": {**(_FROM_CHANCE if model is None else {}), "augmentation": _AUGMENTATION},
    }
    try:
        return TrainConfig.model_validate(values if options is None else options.over(values))
    except ValidationError as error:
        raise ConfigError(f"from the command line: {explain(TrainConfig, error)}") from error


_SLUG = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def _slug(text: str) -> str:
    """A class name out of any text: lower-case letters, digits and _."""
    slug = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return slug[:48] if slug[:1].isalpha() else f"class_{slug}"[:48]


def _labels(arguments: DataArguments) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the entry says of its labels, and the classes, the rest last."""
    if any(name is not None for name, _ in arguments.labels):
        entry, found = _by_class(arguments), [name for name, _ in arguments.labels if name is not None]
        of_features = True
    elif len(arguments.labels) > 1:
        raise ConfigError("expected one --labels FILE, or --labels CLASS=FILE for each class, got several files")
    else:
        path = Path(arguments.labels[0][1]).absolute()
        of_features = _is_vector(path)
        meanings = _meanings(path, arguments, of_features=of_features)
        entry = {"labels": str(path), "values": meanings}
        if of_features and arguments.class_attribute is not None:
            entry["class_attribute"] = arguments.class_attribute
        found = list(meanings.values())
    names = list(dict.fromkeys(name for name in found if name not in (UNKNOWN, IGNORE)))
    rest = arguments.rest
    if rest is None and (of_features or len(names) == 1):
        rest = OTHER
    if rest is not None:
        if of_features or len(set(found)) == 1:
            # A raster of several values says by nodata that nothing is known, a mask that nothing is there.
            entry["rest"] = rest
        # The rest comes last, as background does in legends.
        names = [one for one in names if one != rest] + ([rest] if rest not in (UNKNOWN, IGNORE) else [])
    if len(names) < 2:
        raise ConfigError(
            f"expected two classes or more, the labels name {', '.join(names) or 'none'}; say what ground without "
            "a label is with --rest CLASS"
        )
    if arguments.width_m is not None:
        entry["width_m"] = arguments.width_m
    return entry, tuple(names)


def _meanings(path: Path, arguments: DataArguments, *, of_features: bool) -> dict[str, str]:
    """What each value of a file means, as the user or the file says, or by its own name."""
    given = dict(arguments.values)
    values = _attribute_values(path, arguments) if of_features else _raster_values(path)
    if len(values) > _MOST_CLASSES:
        raise ConfigError(
            f"{path} has {len(values)} values: expected at most {_MOST_CLASSES} classes; name another "
            "attribute with --class-attribute, or say what values mean with --value VALUE=CLASS"
        )
    # What `geoseg pseudo-labels` writes says itself what its values are.
    if not of_features and not given:
        given = {value: name for value, name in _tagged(path).items() if value in values}
    meanings = {value: given.get(value, given.get("*", "")) or _named(value, arguments) for value in values}
    return meanings | {value: name for value, name in given.items() if value != "*" or of_features}


def _by_class(arguments: DataArguments) -> dict[str, Any]:
    files: dict[str, str] = {}
    for name, path in arguments.labels:
        if name is None:
            raise ConfigError(f"expected --labels CLASS=FILE for every file, got {path} without a class")
        if name in files:
            raise ConfigError(f"expected one file for each class, {name} has {files[name]} and {path}: join them")
        files[name] = str(Path(path).absolute())
    if arguments.values or arguments.class_attribute:
        raise ConfigError("expected no --value and --class-attribute beside --labels CLASS=FILE: the files say it")
    return {"labels": files}


def _named(value: str, arguments: DataArguments) -> str:
    """What a value means that the user did not speak of: the rest where others were, else a class of its name."""
    if any(name not in (UNKNOWN, IGNORE) for _, name in arguments.values):
        if arguments.rest is not None:
            return arguments.rest
        raise ConfigError(
            f"the labels hold the value {value}: say what it means with --value {value}=CLASS, --value "
            f"{value}={IGNORE} or --rest CLASS"
        )
    return _slug(value)


def _is_vector(path: Path) -> bool:
    try:
        vector_kind(path)
    except GeosegError:
        if not path.is_file():
            raise
        return False
    return True


def _attribute_values(path: Path, arguments: DataArguments) -> tuple[str, ...]:
    found = file_values(path, arguments.class_attribute)
    if found is None:
        attribute = arguments.class_attribute or "class"
        raise ConfigError(
            f"{path} has no attribute {attribute!r}: name the one that says the class with --class-attribute, or "
            f"the class of all features with --labels CLASS={path.name}"
        )
    if not found:
        raise ConfigError(f"{path} holds no features with a class: expected labels")
    # With a wildcard the names themselves do not matter.
    named = [value for value in found if not dict(arguments.values).get("*") or value in dict(arguments.values)]
    return tuple(sorted(named))


def _tagged(path: Path) -> dict[str, str]:
    """The class names of values that the raster's tags say, as class_0=building."""
    with open_raster(str(path)) as dataset:
        tags = dataset.tags()
    return {key.removeprefix("class_"): name for key, name in tags.items() if re.fullmatch(r"class_\d+", key)}


def _raster_values(path: Path) -> tuple[str, ...]:
    """The values of a class raster, in order, without nodata."""
    with open_raster(str(path)) as dataset:
        if dataset.count != 1 or np.dtype(dataset.dtypes[0]).kind not in "ui":
            raise SceneError(
                f"labels must be one band of whole numbers: {path} has {dataset.count} band(s) "
                f"of {dataset.dtypes[0]}"
            )
        found: set[int] = set()
        try:
            for _, window in dataset.block_windows(1):
                values_hw = dataset.read(1, window=window)
                valid_hw = dataset.read_masks(1, window=window) != 0
                found |= set(np.unique(values_hw[valid_hw]).tolist())
                if len(found) > 10 * _MOST_CLASSES:
                    break
        except RasterioIOError as error:
            raise SceneError(f"{path} cannot be read ({error}): copy or download it again") from error
    return tuple(str(value) for value in sorted(found))


def _imagery(images: Sequence[str], ground_resolution_m: float | None) -> dict[str, Any]:
    """What the first scene says of a model's pixels."""
    with open_raster(images[0]) as dataset:
        dtype = str(dataset.dtypes[0])
        colors = [color.name for color in dataset.colorinterp]
        opaque = [color for color in dataset.colorinterp if color is not ColorInterp.alpha]
    if {"red", "green", "blue"} <= set(colors) or len(opaque) == 3:
        bands: tuple[str, ...] = ("red", "green", "blue")
    elif len(opaque) == 1:
        bands = ("gray",)
    else:
        bands = tuple(f"band_{number}" for number in range(1, len(opaque) + 1))
    if dtype not in ("uint8", "uint16", "int16"):
        raise ConfigError(
            f"{images[0]} holds {dtype}: expected uint8, uint16 or int16; write a configuration with the "
            "value_range and stretch of such imagery"
        )
    limits = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    if ground_resolution_m is None:
        plain = Imagery(bands, dtype, limits, (0.0,) * len(bands), (1.0,) * len(bands), 1.0)
        sides = [look_at(image, plain, SceneOptions()).ref.native_resolution_m for image in images]
        ground_resolution_m = float(f"{np.median([np.mean(side) for side in sides]):.3g}")
    return {"bands": bands, "dtype": dtype, "value_range": limits, "ground_resolution_m": ground_resolution_m}


def _imagery_of(model: LoadedModel, arguments: DataArguments) -> dict[str, Any]:
    imagery = model.imagery
    return {
        "bands": imagery.bands,
        "dtype": imagery.dtype,
        "value_range": imagery.value_range,
        "ground_resolution_m": arguments.ground_resolution_m or imagery.ground_resolution_m,
        # What the weights were trained on goes on meaning the same.
        "mean": imagery.mean,
        "std": imagery.std,
    }


def _class(number: int, name: str, known: Mapping[str, LabelClass]) -> dict[str, Any]:
    """A class as the base model has it, or a new one with a colour of its own."""
    if name in known:
        label = known[name]
        return {"name": label.name, "layer": label.layer, "kind": label.kind, "color": label.color}
    kind = "thing" if name in _THINGS else "stuff"
    countable = kind == "thing" or name == "road"
    layer = None if name == OTHER else f"{name}s" if countable and not name.endswith("s") else name
    return {"name": name, "layer": layer, "kind": kind, "color": _OTHER_COLOR if name == OTHER else _color(number)}


def _color(number: int) -> str:
    """Colours that differ: ten by hand, then hues by the golden ratio."""
    if number < len(_COLORS):
        return _COLORS[number]
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.65, 0.85)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
