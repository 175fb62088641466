"""The one grid that scenes of different CRSs, resolutions and places share."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.errors import SceneError
from geoseg.grid import Grid, parse_crs
from geoseg.io.gcps import GcpGrid
from geoseg.io.slant import is_slanted
from geoseg.io.warp import bounds_in, centre_in, grid_over, near, pixel_in

_UTM_LATITUDES = (-80, 84)
_UPS = {True: "EPSG:32661", False: "EPSG:32761"}
"""Where UTM ends, the polar stereographic CRSs that go with it: north and south."""

_PHASE_STEPS = 1024
"""Pixels that begin within this part of one another lie on one lattice."""

_MOST_PX = 2**31 - 1
"""Along a side; GDAL counts pixels so far."""


@dataclass(frozen=True, slots=True)
class GridRule:
    """What the user says about the grid.

    Attributes:
        crs: Its CRS; None for that of most scenes, or where that counts degrees the UTM zone of their middle.
        resolution_m: Ground length of a pixel; None to keep the pixels of most scenes.
        align: Whether its edges lie on whole multiples of its pixel.
    """

    crs: str | None
    resolution_m: float | None
    align: bool


def common_grid(scenes: Sequence[Grid], rule: GridRule) -> tuple[Grid, str]:
    """The smallest grid that holds all scenes; it does not depend on their order.

    Where the pixels of scenes are kept, it is on the lattice that most scenes of its CRS lie on, which are then
    read as they are.

    Args:
        scenes: Each scene's own pixels, at least one.
        rule: What the user says.

    Returns:
        The grid, and in words how its CRS was chosen.

    Raises:
        SceneError: A scene has no place in the CRS, or the grid would be too large to count its pixels.
    """
    crs, words = common_crs(scenes, rule)
    native = [scene for scene in scenes if parse_crs(scene.crs) == parse_crs(crs) and _follows_axes(scene)]
    middle_x = _middle_x(crs, scenes)
    bounds = [bounds_in(crs, scene, near_x=middle_x) for scene in scenes]
    left, bottom = min(b[0] for b in bounds), min(b[1] for b in bounds)
    right, top = max(b[2] for b in bounds), max(b[3] for b in bounds)
    anchor: tuple[float, float] | None
    if rule.resolution_m is None and native:
        counts = Counter(map(_lattice, native))
        height, width, row, col = min(counts, key=lambda lattice: (-counts[lattice], lattice))
        of_lattice = [scene for scene in native if _lattice(scene) == (height, width, row, col)]
        # Any of them will do but for the last bits of its numbers: the first from the north-west.
        chosen = min(of_lattice, key=lambda scene: (-scene.transform.f, scene.transform.c, scene.transform[:6]))
        pixel_yx = abs(chosen.transform.e), abs(chosen.transform.a)
        anchor = chosen.transform.c, chosen.transform.f
    else:
        commonest = _commonest(scenes)
        centre = (left + right) / 2, (bottom + top) / 2
        pixel_yx, anchor = pixel_in(crs, centre, commonest, rule.resolution_m), None
    if rule.align:
        anchor = 0.0, 0.0
    sides = (top - bottom) / pixel_yx[0], (right - left) / pixel_yx[1]
    if max(sides) > _MOST_PX:
        raise SceneError(
            f"the scenes lie {max(sides):.3g} px apart in {parse_crs(crs).name}, expected a grid of at most "
            f"{_MOST_PX} px a side: leave out what is far away, or name a coarser --resolution"
        )
    return grid_over(crs, (left, bottom, right, top), pixel_yx, anchor), words


def kept_resolution_m(scenes: Sequence[Grid]) -> float:
    """Ground length of a pixel of most scenes, in metres; among as many of each the finest."""
    return max(_commonest(scenes).ground_resolution_m())


def utm_crs(lon: float, lat: float) -> str:
    """The UTM zone of a place on WGS 84 in degrees; beyond UTM's latitudes the polar stereographic CRS."""
    if not _UTM_LATITUDES[0] <= lat <= _UTM_LATITUDES[1]:
        return _UPS[lat > 0]
    zone = int((lon + 180) // 6) % 60 + 1
    return f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"


def common_crs(scenes: Sequence[Grid], rule: GridRule) -> tuple[str, str]:
    """The CRS of the grid, and in words how it was chosen."""
    if rule.crs is not None:
        return rule.crs, "as asked"
    counts = Counter(scene.crs for scene in scenes)
    most = max(counts.values())
    # Among equals the choice must not depend on the order of scenes.
    crs = min(name for name, count in counts.items() if count == most)
    of_all = f"the CRS of {most} of {len(scenes)} scenes"
    if not parse_crs(crs).is_geographic:
        return crs, of_all
    # The mean of places on the unit sphere has no trouble with the antimeridian.
    x, y, z = middles_on_sphere(scenes).T
    middle_lon = math.degrees(math.atan2(math.fsum(y), math.fsum(x)))
    middle_lat = math.degrees(math.atan2(math.fsum(z), math.hypot(math.fsum(x), math.fsum(y))))
    utm = utm_crs(middle_lon, middle_lat)
    return utm, f"around the scenes' middle; {of_all}, {CRS.from_user_input(crs).name}, counts degrees"


def middles_on_sphere(scenes: Sequence[Grid]) -> NDArray[np.float64]:
    """The middles of scenes as points (n, 3), x, y and z, of the unit sphere."""
    lon, lat = np.radians([centre_in("EPSG:4326", scene) for scene in scenes]).T
    return np.column_stack((np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)))


def _middle_x(crs: str, scenes: Sequence[Grid]) -> float | None:
    """A longitude amid the scenes, where a geographic CRS would else tear them apart at its edge."""
    if not parse_crs(crs).is_geographic:
        return None
    x = sorted(centre_in(crs, scene)[0] for scene in scenes)
    around = near(np.asarray(x), x[0], crs)
    return float((around.min() + around.max()) / 2)


def _follows_axes(scene: Grid) -> bool:
    return not isinstance(scene, GcpGrid) and not is_slanted(scene.transform, scene.height, scene.width)


def _lattice(scene: Grid) -> tuple[float, float, int, int]:
    """What scenes that lie on one lattice of pixels have in common: size of a pixel, and where one begins."""
    t = scene.transform
    height, width = (float(f"{abs(side):.9g}") for side in (t.e, t.a))
    row, col = round(t.f / height * _PHASE_STEPS), round(t.c / width * _PHASE_STEPS)
    return height, width, row % _PHASE_STEPS, col % _PHASE_STEPS


def _commonest(scenes: Sequence[Grid]) -> Grid:
    """A scene with the pixel size on the ground that most have; among equals the finest."""
    sizes = [float(f"{max(scene.ground_resolution_m()):.3g}") for scene in scenes]
    counts = Counter(sizes)
    size = min(counts, key=lambda one: (-counts[one], one))
    of_size = [scene for scene, own in zip(scenes, sizes, strict=True) if own == size]
    return min(of_size, key=lambda scene: (scene.crs, scene.transform[:6], scene.height, scene.width))
