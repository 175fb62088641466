"""A small grid, and files of labels on it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import shapely
from affine import Affine

from geoseg.grid import Grid
from geoseg.io.plane import Plane

WriteLabels = Callable[..., Path]


@pytest.fixture(scope="session")
def grid() -> Grid:
    """100 x 120 px of 1 m in UTM zone 40N."""
    return Grid("EPSG:32640", Affine(1, 0, 320000, 0, -1, 2770000), 100, 120)


@pytest.fixture(scope="session")
def plane(grid: Grid) -> Plane:
    return Plane.of(grid)


@pytest.fixture
def write_labels(tmp_path: Path) -> WriteLabels:
    """Write (geometry in the grid's CRS, properties) to a GeoJSON file that names its CRS."""

    def write(
        features: Sequence[tuple[shapely.Geometry, dict[str, Any]]],
        name: str = "labels.geojson",
        crs: str = "EPSG:32640",
    ) -> Path:
        document = {
            "type": "FeatureCollection",
            "crs": {"type": "name", "properties": {"name": crs}},
            "features": [
                {"type": "Feature", "properties": properties, "geometry": json.loads(shapely.to_geojson(geometry))}
                for geometry, properties in features
            ],
        }
        path = tmp_path / name
        path.write_text(json.dumps(document))
        return path

    return write
