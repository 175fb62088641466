"""Where a scene's pixels are put: the grid, and how it lies over the file."""

import math
from dataclasses import dataclass

from affine import Affine

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window, parse_crs
from geoseg.io.gcps import GcpGrid, Polynomial
from geoseg.io.resample import Axis
from geoseg.io.slant import Slant, is_slanted, north_up
from geoseg.io.warp import MOST_ERROR_PX, Warp, bounds_in, grid_in, turned_to

_DISTORTED = 0.02
"""A CRS whose metre is this much longer or shorter on the ground is warned about."""

_SAME_PX = 0.01
"""A file whose pixels lie nowhere further from the grid's than this is read as it is; so much is rounding."""

_REDUCED = 1.02
"""Pixels this much finer than the grid's are averaged before the grid is sampled from them."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a scene's pixels are put, in the words of `SceneRef`."""

    grid: Grid
    scale_yx: tuple[float, float]
    warp: Slant | Warp | None
    flip_yx: tuple[bool, bool]


def place(source: Grid, scale_yx: tuple[float, float], *, crs: str | None, align: bool, keep_slant: bool) -> Placed:
    """The grid of a scene, and how it lies over the file.

    A file whose rows and columns follow the axes keeps them, turned to run south and east; so does a slanted
    one that is read on its own pixels. Else the grid is north-up (`geoseg.io.slant.north_up`), and the file is
    reduced along its own rows and columns to the grid's resolution, then sampled. So it is where the user wants
    another CRS, or edges on whole multiples of the pixel.

    Args:
        source: The file's own pixels.
        scale_yx: File pixels per grid pixel along rows and columns.
        crs: CRS of the grid; None for the file's own.
        align: Whether the grid's edges lie on whole multiples of its pixel.
        keep_slant: Whether a slanted file keeps its own rows and columns.

    Raises:
        SceneError: The scene has no place in the CRS, or there is no such CRS.
    """
    t, height, width = source.transform, source.height, source.width
    # Along each axis the scale is the wanted resolution over the file's own.
    resolution_m = None if scale_yx == (1, 1) else scale_yx[0] * source.ground_resolution_m()[0]
    reduced_yx = max(1.0, scale_yx[0]), max(1.0, scale_yx[1])
    by_points = isinstance(source, GcpGrid) and not keep_slant
    if by_points or (crs is not None and parse_crs(crs) != parse_crs(source.crs)):
        grid = grid_in(crs or source.crs, source, resolution_m, align=align)
        return Placed(grid, reduced_yx, Warp.between(grid, source), (False, False))
    slanted = is_slanted(t, height, width)
    if align or (slanted and not keep_slant):
        grid = grid_in(source.crs, source, resolution_m, align=True) if align else north_up(source, resolution_m)
        return Placed(grid, reduced_yx, Slant(~t @ grid.transform, height, width), (False, False))
    t, flip_yx = _turned(source, slanted=slanted)
    axes = Axis(height, scale_yx[0]), Axis(width, scale_yx[1])
    grid = Grid(source.crs, t @ Affine.scale(scale_yx[1], scale_yx[0]), axes[0].size, axes[1].size)
    return Placed(grid, scale_yx, None, flip_yx)


def lay(source: Grid, grid: Grid, within: Window | None = None) -> tuple[Placed, Window]:
    """A scene on a grid that others share: on the grid's pixels as they are, or resampled onto them.

    Args:
        source: The file's own pixels.
        grid: The grid, north-up.
        within: The window of the grid that it shall have; None for the smallest that holds all of it.

    Returns:
        How it lies, and its window on the grid; the `grid` of the one is the pixels of the other.

    Raises:
        SceneError: The scene has no place in the grid's CRS, or does not meet the grid.
    """
    affine = parse_crs(grid.crs) == parse_crs(source.crs) and not isinstance(source, GcpGrid)
    if affine:
        # From here on the numbers of the two are compared, and 180 is -180.
        source = turned_to(grid, source)
    g = grid.transform
    if affine and not is_slanted(source.transform, source.height, source.width):
        t, flip_yx = _turned(source, slanted=False)
        row, col = (t.f - g.f) / g.e, (t.c - g.c) / g.a
        drift = max(abs(t.a / g.a - 1) * source.width, abs(t.e / g.e - 1) * source.height)
        if max(drift, abs(row - round(row)), abs(col - round(col))) < _SAME_PX:
            window = Window(round(row), round(col), source.height, source.width)
            if window == (within or window.intersection(grid.window)):
                return Placed(grid.part(window), (1.0, 1.0), None, flip_yx), window
    left, bottom, right, top = bounds_in(grid.crs, source, near_x=grid.middle_xy[0])
    rows = math.floor((top - g.f) / g.e + 1e-6), math.ceil((bottom - g.f) / g.e - 1e-6)
    cols = math.floor((left - g.c) / g.a + 1e-6), math.ceil((right - g.c) / g.a - 1e-6)
    window = Window(rows[0], cols[0], max(1, rows[1] - rows[0]), max(1, cols[1] - cols[0]))
    common = within or window.intersection(grid.window)
    if common is None:
        raise SceneError("the scene does not meet the grid")
    part = grid.part(common)
    pairs = zip(part.ground_resolution_m(), source.ground_resolution_m(), strict=True)
    down, right_ = (wanted / native if wanted > _REDUCED * native else 1.0 for wanted, native in pairs)
    if affine:
        warp: Slant | Warp = Slant(~source.transform @ part.transform, source.height, source.width)
    else:
        warp = Warp.between(part, source)
    return Placed(part, (down, right_), warp, (False, False)), common


def _turned(source: Grid, *, slanted: bool) -> tuple[Affine, tuple[bool, bool]]:
    """A file's transform with rows to the south and columns to the east, and which of the two ran otherwise."""
    t = source.transform
    if not slanted:
        t = Affine(t.a, 0, t.c, 0, t.e, t.f)
    flip_x = not slanted and t.a < 0
    flip_y = t.determinant > 0 if slanted else t.e > 0
    if flip_y:
        t = t @ Affine.translation(0, source.height) @ Affine.scale(1, -1)
    if flip_x:
        t = t @ Affine.translation(source.width, 0) @ Affine.scale(-1, 1)
    return t, (flip_y, flip_x)


def warp_notes(placed: Placed) -> list[str]:
    """What the user should know about a grid in another CRS than the file's, a sentence each."""
    if not isinstance(placed.warp, Warp):
        return []
    source, target = parse_crs(placed.warp.source_crs), parse_crs(placed.grid.crs)
    how = f"its pixels are resampled (bilinear, placed to {MOST_ERROR_PX:g} px)"
    if isinstance(placed.warp.to_source, Polynomial):
        order = "second" if len(placed.warp.to_source.coefficients[0]) > 3 else "first"
        notes = [f"ground control points place the scene by a polynomial of {order} order: {how}"]
    else:
        notes = [f"the scene is in {source.name}: {how} onto a grid in {target.name}"]
    t = placed.grid.transform
    height_m, width_m = placed.grid.ground_resolution_m()
    unit_m = height_m / abs(t.e) if abs(height_m / abs(t.e) - 1) > abs(width_m / t.a - 1) else width_m / t.a
    in_metres = target.is_projected and target.axis_info[0].unit_conversion_factor == 1
    if in_metres and abs(unit_m - 1) > _DISTORTED:
        notes.append(
            f"{target.name} distorts: its metre is {unit_m:.3g} m on the ground here; area_m2 is on the ellipsoid, "
            "what a GIS measures in the plane is not"
        )
    return notes
