"""How the options of a run are written: from a user's words to values."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import get_args

from geoseg.errors import GeosegError
from geoseg.export import ExportFormat
from geoseg.io.scene import PercentStretch, Resolution
from geoseg.plan import LayerFormat


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
    formats: tuple[ExportFormat, ...] = (*get_args(LayerFormat), "cog")
    for known in formats:
        if known == name:
            return known
    raise GeosegError(f"expected a format of {', '.join(formats)}, got {name}")
