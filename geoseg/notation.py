"""How the options of a run are written: from a user's words to values."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from geoseg.data_arguments import DataArguments
from geoseg.errors import GeosegError
from geoseg.export import ExportFormat
from geoseg.io.scene import PercentStretch, Resolution
from geoseg.layering import LayerFormat, LayerOptions

_MIN_AREA_M2 = 20.0
"""Smaller objects are left out unless the user says otherwise."""


def parse_resolution(value: object) -> Resolution:
    """model, native, finest, or a positive number of metres.

    Raises:
        GeosegError: It is none of them.
    """
    match value:
        case "model" | "native" | "finest":
            return value
    try:
        metres = float(str(value))
    except ValueError:
        raise GeosegError(f"expected a resolution of model, native, finest or metres, got {value}") from None
    if not 1e-4 <= metres <= 1e6:
        raise GeosegError(f"expected 0.0001 to 1000000 metres as resolution, got {value}")
    return metres


def parse_stretch(value: str | tuple[float, float] | PercentStretch) -> tuple[float, float] | PercentStretch:
    """LO,HI in the scene's own numbers, or LO%,HI% as percentiles; in text, or two numbers.

    Raises:
        GeosegError: It is neither, or LO is not below HI.
    """
    if isinstance(value, PercentStretch):
        value = f"{value.low}%,{value.high}%"
    parts = value.split(",") if isinstance(value, str) else [str(part) for part in value]
    percent = len(parts) == 2 and all(part.strip().endswith("%") for part in parts)
    try:
        low, high = (float(part.strip().removesuffix("%") if percent else part) for part in parts)
    except ValueError:
        raise GeosegError(f"expected a stretch LO,HI such as 200,3000 or 2%,98%, got {value}") from None
    if not -math.inf < low < high < math.inf or (percent and not (low >= 0 and high <= 100)):
        raise GeosegError(f"expected a stretch with LO below HI (and 0% to 100%), got {value}")
    return PercentStretch(low, high) if percent else (low, high)


def parse_band_files(text: str) -> dict[str, str]:
    """The file of each band of a scene from red=A.tif,green=B.tif,...

    Raises:
        GeosegError: A part is not NAME=FILE, or a name comes twice.
    """
    # What follows a comma without a name of its own belongs to the file before it.
    parts = re.split(r",(?=[\w ]+=)", text)
    pairs = [part.partition("=") for part in parts]
    files = {name.strip(): file for name, _, file in pairs}
    if len(files) < len(pairs) or not all(name and file for name, file in files.items()):
        raise GeosegError(f"expected a file for each band, red=A.tif,green=B.tif,..., got {text}")
    return files


def parse_thresholds(given: Mapping[str, float] | Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Least probabilities of classes by name, or from CLASS=P each.

    Raises:
        GeosegError: One is not of this form, or a class comes twice.
    """
    if isinstance(given, Mapping):
        return tuple((name, float(share)) for name, share in given.items())
    least: dict[str, float] = {}
    for text in given:
        name, _, share = text.partition("=")
        try:
            twice = name.strip() in least
            least[name.strip()] = float(share)
        except ValueError:
            raise GeosegError(f"expected --threshold CLASS=P such as building=0.6, got {text}") from None
        if twice:
            raise GeosegError(f"expected one --threshold a class, got several for {name.strip()}")
    return tuple(least.items())


def layer_options(
    min_area: float | Mapping[str, float] | Sequence[str] | None,
    simplify: float,
    classes: Sequence[str] | None,
    formats: Sequence[str],
    thresholds: Mapping[str, float] | Sequence[str],
    *,
    min_hole: float | Mapping[str, float] | Sequence[str] | None,
    smooth: bool | None,
    regularize: bool | None,
    network: bool | None,
) -> LayerOptions:
    """How objects become features, as a user wrote it.

    Raises:
        GeosegError: Something cannot be read.
    """
    min_area_m2, min_area_of = parse_areas("--min-area", () if min_area is None else min_area, _MIN_AREA_M2)
    min_hole_m2, min_hole_of = (None, ()) if min_hole is None else parse_areas("--min-hole", min_hole, None)
    return LayerOptions(
        _MIN_AREA_M2 if min_area_m2 is None else min_area_m2,
        float(simplify),
        None if classes is None else tuple(classes),
        parse_formats(tuple(formats)),
        parse_thresholds(thresholds),
        min_area_of,
        min_hole_m2,
        min_hole_of,
        smooth,
        regularize,
        network,
    )


def parse_areas(
    option: str, given: float | Mapping[str, float] | Sequence[str], usual_m2: float | None
) -> tuple[float | None, tuple[tuple[str, float], ...]]:
    """An area for all classes, and those of some by name; or from M2 and CLASS=M2.

    Args:
        option: What it is for, as the user writes it.
        given: A number, areas by class name, or words.
        usual_m2: The area for all classes where none is given.

    Raises:
        GeosegError: One is not of this form, or comes twice.
    """
    if isinstance(given, Mapping):
        return usual_m2, tuple((name, float(area)) for name, area in given.items())
    if not isinstance(given, Sequence):
        return float(given), ()
    areas: dict[str, float] = {}
    for text in given:
        name, _, area = text.rpartition("=")
        try:
            twice = name.strip() in areas
            areas[name.strip()] = float(area)
        except ValueError:
            raise GeosegError(f"expected {option} M2 or CLASS=M2 such as building=20, got {text}") from None
        if twice:
            raise GeosegError(f"expected one {option} for {name.strip() or 'all classes'}, got several")
    return areas.pop("", usual_m2), tuple(areas.items())


def parse_formats(names: Sequence[str]) -> tuple[LayerFormat, ...]:
    """Vector formats by their names.

    Raises:
        GeosegError: There is none, or one is not known.
    """
    formats: dict[str, LayerFormat] = {kind: kind for kind in get_args(LayerFormat)}
    unknown = [name for name in names if name not in formats]
    if unknown or not names:
        raise GeosegError(f"expected formats of {', '.join(formats)}, got {', '.join(unknown) or 'none'}")
    return tuple(formats[name] for name in names)


def parse_export_format(name: str) -> ExportFormat:
    """A format of `geoseg export` by its name.

    Raises:
        GeosegError: It is not known.
    """
    formats: tuple[ExportFormat, ...] = (*get_args(LayerFormat), "cog", "instances", "coco-panoptic")
    for known in formats:
        if known == name:
            return known
    raise GeosegError(f"expected a format of {', '.join(formats)}, got {name}")


def class_files(given: Sequence[str]) -> tuple[tuple[str | None, Path], ...]:
    """Files with the class that each is of; a file may have an = in its name."""
    files: list[tuple[str | None, Path]] = []
    for text in given:
        named = re.fullmatch(r"([a-z][a-z0-9_]*)=(.+)", text)
        if named is None or Path(text).exists():
            files.append((None, Path(text)))
        else:
            files.append((named[1], Path(named[2])))
    return tuple(files)


def value_pairs(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Values, with the class that each means, or with nothing.

    Raises:
        GeosegError: There is no = in one.
    """
    pairs = [text.rpartition("=") for text in given]
    for text, (value, sign, _) in zip(given, pairs, strict=True):
        if not (value and sign):
            raise GeosegError(f"expected --value VALUE=CLASS such as 3=road, or 0= for nothing, got {text}")
    return tuple((value.strip(), name.strip()) for value, _, name in pairs)


def data_arguments(
    images: Sequence[str],
    labels: Sequence[str],
    class_attribute: str | None,
    values: Sequence[str],
    width_m: float | None,
    rest: str | None,
    start_from: str | None,
    ground_resolution_m: float | None,
) -> DataArguments:
    """Scenes and labels to train on, in place of a configuration.

    Args:
        images: Files, folders or globs.
        labels: FILE or CLASS=FILE.
        class_attribute: As `DataArguments`.
        values: VALUE=CLASS.
        width_m: As `DataArguments`.
        rest: Likewise.
        start_from: Likewise.
        ground_resolution_m: Likewise.

    Raises:
        GeosegError: One is not written so.
    """
    files = tuple((name, str(path)) for name, path in class_files(labels))
    return DataArguments(
        tuple(images), files, class_attribute, width_m, value_pairs(values), rest, start_from, ground_resolution_m
    )
