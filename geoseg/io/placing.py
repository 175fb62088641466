"""Where a scene's pixels are put: the grid, and how it lies over the file."""

from dataclasses import dataclass

from affine import Affine

from geoseg.grid import Grid, parse_crs
from geoseg.io.resample import Axis
from geoseg.io.slant import Slant, is_slanted, north_up
from geoseg.io.warp import MOST_ERROR_PX, Warp, grid_in

_DISTORTED = 0.02
"""A CRS whose metre is this much longer or shorter on the ground is warned about."""


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
    if crs is not None and parse_crs(crs) != parse_crs(source.crs):
        grid = grid_in(crs, source, resolution_m, align=align)
        return Placed(grid, reduced_yx, Warp.between(grid, source), (False, False))
    slanted = is_slanted(t, height, width)
    if align or (slanted and not keep_slant):
        grid = grid_in(source.crs, source, resolution_m, align=True) if align else north_up(source, resolution_m)
        return Placed(grid, reduced_yx, Slant(~t @ grid.transform, height, width), (False, False))
    if not slanted:
        t = Affine(t.a, 0, t.c, 0, t.e, t.f)
    flip_x = not slanted and t.a < 0
    flip_y = t.determinant > 0 if slanted else t.e > 0
    if flip_y:
        t = t @ Affine.translation(0, height) @ Affine.scale(1, -1)
    if flip_x:
        t = t @ Affine.translation(width, 0) @ Affine.scale(-1, 1)
    axes = Axis(height, scale_yx[0]), Axis(width, scale_yx[1])
    grid = Grid(source.crs, t @ Affine.scale(scale_yx[1], scale_yx[0]), axes[0].size, axes[1].size)
    return Placed(grid, scale_yx, None, (flip_y, flip_x))


def warp_notes(placed: Placed) -> list[str]:
    """What the user should know about a grid in another CRS than the file's, a sentence each."""
    if not isinstance(placed.warp, Warp):
        return []
    source, target = parse_crs(placed.warp.source_crs), parse_crs(placed.grid.crs)
    how = f"its pixels are resampled (bilinear, placed to {MOST_ERROR_PX:g} px)"
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
