import math

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pyproj import Geod, Transformer

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window
from geoseg.io.layers import Features
from geoseg.objects.label import components, runs_of
from geoseg.vectorize.features import from_arrays, geodesic_measures, place, to_arrays
from geoseg.vectorize.outlines import Objects, Outlines, assemble, outline
from geoseg.vectorize.simplify import Generalization

KEEP = (0, 1)
UTM = Affine(0.5, 0, 314047, 0, -0.5, 2775758)
classes_hw_arrays = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([0, 1, 255]),
)
RING = np.array([[0, 0, 0, 255], [0, 1, 0, 255], [0, 0, 0, 1]], np.uint8)


def outlines_of(classes_hw: NDArray[np.uint8], tolerance_px: float = 0) -> Objects:
    window = Window(0, 0, *classes_hw.shape)
    labels_hw = components(classes_hw, KEEP)
    whole = np.zeros(labels_hw.max() + 1, np.bool_)
    label, _, rings, _ = outline(
        labels_hw, classes_hw, window, window, Generalization(tolerance_px), whole.astype(np.uint8), whole
    )
    first = runs_of(classes_hw, KEEP).first_places()[label - 1]
    outlines = Outlines(first + 1, 0 * first, first < 0, classes_hw.reshape(-1)[first], (first % 7) / 7, rings)
    return assemble(outlines, None if tolerance_px else window.shape)


def grid_of(classes_hw: NDArray[np.uint8], crs: str = "EPSG:32640", transform: Affine = UTM) -> Grid:
    return Grid(crs, transform, *classes_hw.shape)


def as_rows(features: Features) -> list[tuple[object, ...]]:
    columns = (features.id, features.class_id, features.confidence, features.area_m2, features.perimeter_m)
    return [*zip(*(column.tolist() for column in columns), shapely.to_wkb(features.geometry).tolist(), strict=True)]


@settings(max_examples=25, deadline=None)
@given(classes_hw_arrays)
def test_exact_features_cover_the_pixels_of_their_objects(classes_hw: NDArray[np.uint8]) -> None:
    outlines = outlines_of(classes_hw)
    features = place(outlines, grid_of(classes_hw))
    pixels = shapely.area(outlines.polygons)
    assert features.id.tolist() == outlines.id.tolist()
    assert features.class_id.tolist() == outlines.class_id.tolist()
    assert features.confidence.tolist() == outlines.confidence.tolist()
    assert shapely.area(features.geometry) == pytest.approx(pixels * 0.25)
    # UTM's scale 2 degrees off its central meridian is within 1e-3 of the ground.
    assert features.area_m2 == pytest.approx(pixels * 0.25, rel=2e-3)


@settings(max_examples=25, deadline=None)
@given(classes_hw_arrays)
def test_features_come_back_from_arrays_as_they_went(classes_hw: NDArray[np.uint8]) -> None:
    features = place(outlines_of(classes_hw), grid_of(classes_hw))
    assert as_rows(from_arrays(to_arrays(features))) == as_rows(features)


def test_features_stand_where_the_grid_puts_their_pixels() -> None:
    features = place(outlines_of(np.array([[255, 255], [255, 0]], np.uint8)), Grid("EPSG:32640", UTM, 2, 2))
    assert shapely.bounds(features.geometry).tolist() == [[314047.5, 2775757.0, 314048.0, 2775757.5]]


@pytest.mark.parametrize(
    "transform",
    [
        UTM,
        Affine(0.5, 0, 314047, 0, 0.5, 2775758),
        Affine(-0.5, 0, 314047, 0, -0.5, 2775758),
        Affine(0.4, 0.25, 314047, 0.25, -0.4, 2775758),
    ],
    ids=["north up", "mirrored", "mirrored across", "rotated"],
)
@pytest.mark.parametrize("tolerance_px", [0, 2])
def test_exteriors_run_counter_clockwise_and_holes_clockwise(transform: Affine, tolerance_px: float) -> None:
    geometry = place(outlines_of(RING, tolerance_px), grid_of(RING, transform=transform)).geometry
    assert shapely.is_ccw(shapely.get_exterior_ring(geometry)).all()
    holes = shapely.get_rings(geometry[shapely.get_num_interior_rings(geometry) > 0])[1:]
    assert len(holes) == 1
    assert not shapely.is_ccw(holes).any()


@pytest.mark.parametrize(
    ("crs", "transform", "pixel_m2"),
    [
        ("EPSG:32640", Affine(10, 0, 500000, 0, -10, 2775758), 100 / 0.9996**2),
        ("EPSG:3857", Affine(10, 0, 6000000, 0, -10, 8399738), 100 * math.cos(math.radians(60)) ** 2),
        ("EPSG:4326", Affine(1e-4, 0, 55, 0, -1e-4, 0), 11.1319491 * 11.0574276),
        # Its geographic coordinates are in grads from Paris.
        ("EPSG:27572", Affine(10, 0, 600000, 0, -10, 2200000), 100),
        # Feet.
        ("EPSG:2263", Affine(10, 0, 984250, 0, -10, 200000), 100 * 0.3048006**2),
    ],
)
def test_areas_are_ground_areas_in_any_crs(crs: str, transform: Affine, pixel_m2: float) -> None:
    features = place(outlines_of(RING), grid_of(RING, crs, transform))
    assert features.area_m2 == pytest.approx(np.array([8, 1, 1]) * pixel_m2, rel=7e-3)


@settings(max_examples=25, deadline=None)
@given(classes_hw_arrays)
def test_areas_and_perimeters_are_those_of_pyproj(classes_hw: NDArray[np.uint8]) -> None:
    features = place(outlines_of(classes_hw, 1), grid_of(classes_hw))
    to_lonlat = Transformer.from_crs("EPSG:32640", "EPSG:4326", always_xy=True)
    geod = Geod(ellps="WGS84")
    measured = zip(features.geometry, features.area_m2, features.perimeter_m, strict=True)
    for polygon, area_m2, perimeter_m in measured:
        lonlat = shapely.transform(polygon, lambda xy: np.column_stack(to_lonlat.transform(*xy.T)))
        # Rounding, which depends on where a ring starts, makes about 1e-5 m2.
        assert area_m2 == pytest.approx(abs(geod.geometry_area_perimeter(lonlat)[0]), abs=1e-3)
        rings = (lonlat.exterior, *lonlat.interiors)
        assert perimeter_m == pytest.approx(sum(geod.geometry_length(ring) for ring in rings), abs=1e-6)


def test_areas_across_the_antimeridian_are_not_those_of_the_rest_of_the_world() -> None:
    west, east = 20037508.342789244 - 1000, 20037508.342789244 + 1000
    assert geodesic_measures(shapely.box([west], [0], [east], [1000]), "EPSG:3857")[0] == pytest.approx(
        2_000_000, rel=7e-3
    )


def test_objects_that_lie_nowhere_on_earth_are_refused() -> None:
    with pytest.raises(SceneError, match="no place on earth"):
        geodesic_measures(shapely.box([1e12], [0], [1e12 + 1], [1]), "EPSG:32640")


def test_no_objects_are_no_features() -> None:
    assert len(place(outlines_of(np.full((2, 2), 255, np.uint8)), grid_of(RING))) == 0
