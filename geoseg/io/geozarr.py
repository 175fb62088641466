"""What tells readers of a Zarr group where it lies: attributes for GDAL, and of the GeoZarr conventions."""

from typing import Any

from pyproj import CRS

from geoseg.grid import Grid, parse_crs


def _convention(name: str, uuid: str) -> dict[str, str]:
    home = f"zarr-conventions/{name}"
    return {
        "uuid": uuid,
        "schema_url": f"https://raw.githubusercontent.com/{home}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/{home}/blob/v0.1/README.md",
        "name": name,
    }


# The GeoZarr conventions that the attributes below follow, by their permanent ids.
_SPATIAL = _convention("spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4")
_PROJ = _convention("proj", "f17cb550-5864-4468-aeb7-f3180cfb622f")
_MULTISCALES = _convention("multiscales", "d35379db-88df-4056-af3a-620245f8e347")


def placing(grid: Grid, crs: CRS) -> dict[str, Any]:
    """Attributes that place an array for GDAL (`_CRS`) and by the GeoZarr conventions (`proj:`, `spatial:`)."""
    authority = crs.to_authority(min_confidence=100)
    t = grid.transform
    x = [(t @ corner)[0] for corner in _corners(grid)]
    y = [(t @ corner)[1] for corner in _corners(grid)]
    return {
        "zarr_conventions": [_SPATIAL, _PROJ],
        "_CRS": {"wkt": crs.to_wkt()},
        **({"proj:code": ":".join(authority)} if authority else {"proj:wkt2": crs.to_wkt()}),
        "spatial:dimensions": ["y", "x"],
        "spatial:transform": [float(value) for value in tuple(t)[:6]],
        "spatial:bbox": [min(x), min(y), max(x), max(y)],
        "spatial:shape": [grid.height, grid.width],
    }


def root_attributes(levels: tuple[Grid, ...]) -> dict[str, Any]:
    """Attributes of the group, by which readers find the levels.

    Args:
        levels: Their grids, full resolution first.
    """
    place = placing(levels[0], parse_crs(levels[0].crs))
    layout: list[dict[str, Any]] = [
        {
            "asset": str(level),
            **({"derived_from": str(level - 1), "transform": {"scale": [2.0, 2.0]}} if level else {}),
            "spatial:shape": [grid.height, grid.width],
            "spatial:transform": [float(value) for value in tuple(grid.transform)[:6]],
        }
        for level, grid in enumerate(levels)
    ]
    return {
        "zarr_conventions": [_MULTISCALES, _SPATIAL, _PROJ],
        "multiscales": {"layout": layout, "resampling_method": "mode"},
        **{key: value for key, value in place.items() if key not in {"_CRS", "zarr_conventions"}},
    }


def _corners(grid: Grid) -> tuple[tuple[int, int], ...]:
    return (0, 0), (grid.width, 0), (0, grid.height), (grid.width, grid.height)
