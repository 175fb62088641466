"""Labels drawn from vector files, against rasterio and shapely on whole scenes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from geoseg.datasets.label_files import REST, VectorFile, VectorFiles
from geoseg.datasets.vector_labels import VectorLabels
from geoseg.errors import ConfigError, GeosegError, SceneError
from geoseg.grid import Grid, Window
from geoseg.labels import NODATA_CLASS

WEST, NORTH = 320000.0, 2770000.0
GRID = Grid("EPSG:32640", Affine(0.5, 0, WEST, 0, -0.5, NORTH), 700, 900)


def write(path: Path, features: Sequence[tuple[shapely.Geometry, dict[str, Any]]], crs: str) -> Path:
    path.write_text(
        json.dumps(
            {
                "type": "FeatureCollection",
                "crs": {"type": "name", "properties": {"name": crs}},
                "features": [
                    {"type": "Feature", "properties": properties, "geometry": shapely.geometry.mapping(shape)}
                    for shape, properties in features
                ],
            }
        )
    )
    return path


def on_ground(pixels: shapely.Geometry, crs: str = "EPSG:32640") -> shapely.Geometry:
    """Pixel coordinates of the grid in a CRS."""
    move = Transformer.from_crs("EPSG:32640", crs, always_xy=True)
    return shapely.transform(
        pixels,
        lambda at: np.column_stack(move.transform(WEST + 0.5 * at[:, 0], NORTH - 0.5 * at[:, 1])),
    )


def stars(seed: int) -> list[tuple[shapely.Geometry, int]]:
    """Six stars of five to eight corners and a class each, on the grid and over its edges."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(6):
        angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 9)))
        radius = rng.uniform(2, 250, len(angle))
        x, y = rng.uniform(0, 900), rng.uniform(0, 700)
        star = shapely.polygons(np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle)]))
        found.append((shapely.make_valid(star), number % 3))
    return found


@settings(max_examples=6)
@given(
    st.integers(0, 2**16),
    st.lists(st.tuples(st.integers(0, 680), st.integers(0, 880), st.integers(1, 600)), min_size=2, max_size=3),
)
def test_any_window_is_that_of_the_whole_scene_drawn_at_once(
    tmp_path_factory: pytest.TempPathFactory, seed: int, windows: list[tuple[int, int, int]]
) -> None:
    shapes = stars(seed)
    path = write(
        tmp_path_factory.mktemp("labels") / "labels.geojson",
        [(on_ground(shape), {"class": str(class_id)}) for shape, class_id in shapes],
        "EPSG:32640",
    )
    ids = tuple((str(number), number) for number in range(3))
    labels = VectorLabels(VectorFiles((VectorFile(str(path), ids, "class"),)), GRID, rest=3)
    # Through the file's coordinates and back, as the reader has them.
    burnt = [
        (
            shapely.transform(
                on_ground(shape), lambda at: np.column_stack([(at[:, 0] - WEST) * 2, (NORTH - at[:, 1]) * 2])
            ),
            class_id,
        )
        for shape, class_id in shapes
    ]
    whole_hw = rasterio.features.rasterize(burnt, out_shape=(700, 900), fill=3, dtype=np.uint8)
    for row, col, side in windows:
        window = Window(row, col, min(side, 700 - row), min(side, 900 - col))
        assert np.array_equal(labels.read(window), whole_hw[row : window.row_stop, col : window.col_stop])
    planes_khw = labels.planes(GRID.window, 4, (0, 1, 2))
    assert (planes_khw[3] == NODATA_CLASS).all()
    for class_id in range(3):
        mine = [(shape, 1) for shape, number in burnt if number == class_id]
        there_hw = rasterio.features.rasterize(mine, out_shape=(700, 900), dtype=np.uint8) if mine else 0
        assert np.array_equal(planes_khw[class_id], np.broadcast_to(there_hw, (700, 900)))


@pytest.mark.parametrize("crs", ["EPSG:32640", "OGC:CRS84", "EPSG:3857"])
def test_lines_are_as_wide_as_their_metres_on_the_ground(tmp_path: Path, crs: str) -> None:
    line = shapely.linestrings([[100, 100], [500, 130], [820, 600]])
    path = write(tmp_path / "roads.geojson", [(on_ground(line, crs), {})], crs)
    files = VectorFiles((VectorFile(str(path), only=1, width_m=9.0),), rest=0)
    drawn_hw = VectorLabels(files, GRID, rest=NODATA_CLASS).read(GRID.window)
    drawn_hw = drawn_hw[::3, ::3]
    x, y = np.meshgrid(np.arange(900)[::3] + 0.5, np.arange(700)[::3] + 0.5)
    distance_m = 0.5 * shapely.distance(line, shapely.points(x, y))
    # A metre of the plane is one on the ground to 1 %, and round corners are cut to 1 % of their radius.
    assert (drawn_hw[distance_m < 4.5 * 0.97] == 1).all()
    assert (drawn_hw[distance_m > 4.5 * 1.02] == 0).all()


def test_points_are_discs_and_widths_may_be_an_attribute(tmp_path: Path) -> None:
    points: list[tuple[int, dict[str, Any]]] = [(200, {"d": 10}), (400, {"d": None}), (600, {"d": 0})]
    path = write(tmp_path / "t.geojson", [(on_ground(shapely.Point(x, 200)), d) for x, d in points], "EPSG:32640")
    files = VectorFiles((VectorFile(str(path), only=0, width_m=4.0, width_attribute="d"),), rest=1)
    drawn_hw = VectorLabels(files, GRID, rest=NODATA_CLASS).read(GRID.window)
    areas_m2 = [np.count_nonzero(drawn_hw[:, col : col + 200] == 0) / 4 for col in (100, 300, 500)]
    assert areas_m2 == pytest.approx([np.pi * 25, np.pi * 4, np.pi * 4], rel=0.05)


def test_features_are_taken_by_attribute_layer_and_condition(tmp_path: Path) -> None:
    box = shapely.box(100, 100, 140, 140)
    features: list[tuple[shapely.Geometry, dict[str, Any]]] = [
        (on_ground(box), {"class": "house", "use": "home", "n": 1}),
        (on_ground(shapely.box(200, 100, 240, 140)), {"class": "house", "use": "shop", "n": 2}),
        (on_ground(shapely.box(300, 100, 340, 140)), {"class": None, "use": "home", "n": 1}),
        (on_ground(shapely.box(400, 100, 440, 140)), {"class": "cloud", "use": "home", "n": 1}),
    ]
    path = str(write(tmp_path / "labels.geojson", features, "EPSG:32640"))
    ids = (("house", 0), ("cloud", NODATA_CLASS))
    everything = VectorLabels(VectorFiles((VectorFile(path, ids, "class"),), REST), GRID, rest=7)
    assert [int(everything.read(Window(120, col, 1, 1))[0, 0]) for col in (120, 220, 320, 420)] == [0, 0, 7, 255]
    planes_k11 = everything.planes(Window(120, 420, 1, 1), 2, (0,))
    assert (planes_k11 == NODATA_CLASS).all()
    homes = VectorFile(path, ids, "class", where=(("use", "home"), ("n", "1")), layer="labels")
    drawn = VectorLabels(VectorFiles((homes,), REST), GRID, rest=7)
    assert [int(drawn.read(Window(120, col, 1, 1))[0, 0]) for col in (120, 220)] == [0, 7]
    others = VectorFile(path, (("*", 1), ("cloud", 0)), "class")
    by_star = VectorLabels(VectorFiles((others,), REST), GRID, rest=7)
    assert [int(by_star.read(Window(120, col, 1, 1))[0, 0]) for col in (120, 220, 320, 420)] == [1, 1, 7, 0]


def test_what_cannot_be_drawn_is_refused_and_named(tmp_path: Path) -> None:
    line = write(tmp_path / "line.geojson", [(on_ground(shapely.LineString([(1, 1), (50, 50)])), {})], "EPSG:32640")
    house = [(on_ground(shapely.box(1, 1, 50, 50)), {"class": "house"})]
    named = write(tmp_path / "named.geojson", house, "EPSG:32640")
    far = write(tmp_path / "far.geojson", house, "EPSG:32641")
    cases: list[tuple[VectorFile, type[GeosegError], str]] = [
        (VectorFile(str(line), only=0), ConfigError, "width_m: .*line.geojson holds a LineString .feature 1."),
        (VectorFile(str(named), (("road", 0),), "class"), ConfigError, "names classes .*: house in 'class'"),
        (VectorFile(str(named), (), "kind"), ConfigError, "class_attribute: .* has no attribute 'kind'"),
        (
            VectorFile(str(named), only=0, layer="x"),
            ConfigError,
            "layer: .* has no layer 'x': expected one of named",
        ),
        (VectorFile(str(named), only=0, where=(("a", "1"),)), ConfigError, "has no attribute 'a'"),
        (VectorFile(str(far), only=0), SceneError, "far.geojson lies elsewhere than the scene"),
        (VectorFile(str(tmp_path / "none.gpkg"), only=0), GeosegError, "none.gpkg cannot be read"),
    ]
    for file, kind, message in cases:
        with pytest.raises(kind, match=message) as refused:
            VectorLabels(VectorFiles((file,)), GRID, rest=9)
        assert "\n" not in str(refused.value)


def test_vector_labels_without_a_crs_are_refused(tmp_path: Path) -> None:

    path = tmp_path / "labels.shp"
    geopandas.GeoDataFrame({"class": ["a"]}, geometry=[shapely.box(0, 0, 1, 1)]).to_file(path)
    (tmp_path / "labels.prj").unlink(missing_ok=True)
    with pytest.raises(GeosegError, match="has no CRS"):
        VectorLabels(VectorFiles((VectorFile(str(path), only=0),)), GRID, rest=9)
