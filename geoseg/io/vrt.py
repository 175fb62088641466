"""What a .vrt may hold that the user vouches for: rasters on this machine, put together, and nothing else."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from geoseg.errors import SceneError

_MOST_BYTES = 16 * 2**20

_DATASETS = (None, "VRTDataset", "VRTWarpedDataset")
_BANDS = (None, "VRTSourcedRasterBand", "VRTWarpedRasterBand")

_SOURCE_NAMES = frozenset({"SourceFilename", "SourceDataset"})
_REFUSED = frozenset(
    {"MaskBand", "Overview", "OverviewList", "PixelFunctionType", "PixelFunctionCode", "ArraySource"}
)
"""Elements that lead to files that GDAL does not list, or to code."""


def vrt_sources(path: str) -> list[str]:
    """The files that a VRT names, whether GDAL lists them or not.

    Args:
        path: The .vrt.

    Raises:
        SceneError: It is no VRT of rasters put together: it computes pixels, has masks or overviews of its own,
            or is of a kind that is not known to be harmless.
    """
    file = Path(path)
    with file.open("rb") as stream:
        data = stream.read(_MOST_BYTES + 1)
    # Without the zeros of two and four bytes a letter, a DOCTYPE reads the same in every encoding that XML knows.
    plain = data.replace(b"\0", b"")
    if len(data) > _MOST_BYTES or b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:
        raise SceneError(f"{path}: expected a VRT of at most {_MOST_BYTES >> 20} MiB without a DOCTYPE")
    try:
        root = ET.fromstring(data)  # noqa: S314  # without a DOCTYPE there are no entities to expand
    except ET.ParseError as error:
        raise SceneError(f"{path} cannot be read as a VRT ({error}): expected XML") from error
    if root.tag != "VRTDataset" or root.get("subClass") not in _DATASETS:
        raise SceneError(
            f"{path}: expected a VRT that puts rasters together, got {root.tag} {root.get('subClass')}"
        )
    return [_resolved(file, element) for element in _harmless(path, root) if element.tag in _SOURCE_NAMES]


def _harmless(path: str, root: ET.Element) -> Iterator[ET.Element]:
    """All elements, unless one of them leads elsewhere."""
    for element in root.iter():
        kind = element.get("subClass")
        if element.tag in _REFUSED or (element.tag == "VRTRasterBand" and kind not in _BANDS):
            raise SceneError(
                f"{path} has {element.tag} {kind or ''}".rstrip() + ": expected a VRT that only puts rasters "
                "together, without masks, overviews or computed pixels of its own; write it out first, for "
                "example with gdal_translate -of COG"
            )
        yield element


def _resolved(file: Path, element: ET.Element) -> str:
    name = (element.text or "").strip()
    beside = element.get("relativeToVRT") == "1" and not name.startswith(("/", "<")) and "://" not in name
    return str(file.parent / name) if beside else name
