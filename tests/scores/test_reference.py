"""References: any file and CRS, the same pixels and shapes; what cannot be used is refused in words."""

from collections.abc import Callable
from contextlib import ExitStack
from itertools import product
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
from numpy.typing import NDArray

from geoseg.errors import GeosegError
from geoseg.grid import Grid, Window
from geoseg.io.plane import Plane
from geoseg.labels import LabelSet
from geoseg.scores.extent import Extent
from geoseg.scores.overlaps import NOTHING, VOID
from geoseg.scores.pieces import IdPieces, Pieces
from geoseg.scores.reference import Labels, Reference, read_reference
from geoseg.scores.true_segments import true_segments

WriteLabels = Callable[..., Path]
WriteRaster = Callable[..., Path]

WHOLE = Window(0, 0, 100, 120)


def at(col: float, row: float, width: float, height: float) -> shapely.Polygon:
    """A rectangle of pixels of the grid, in its CRS."""
    return shapely.box(320000 + col, 2770000 - row - height, 320000 + col + width, 2770000 - row)


def read(labels: Labels, plane: Plane, classes: LabelSet) -> Reference:
    return read_reference(labels, plane, classes, ExitStack())


def of_file(path: Path, plane: Plane, classes: LabelSet, **more: Any) -> Reference:  # noqa: ANN401  # of Labels
    return read(Labels(((None, path),), **more), plane, classes)


HOUSES = [at(10, 10, 20, 12), at(60, 30, 15, 15), shapely.transform(at(90, 60, 10, 10), lambda xy: xy + 0.3)]


def drawn(shapes: list[shapely.Geometry], grid: Grid) -> NDArray[np.bool_]:
    """What rasterio draws of shapes in the grid's CRS on the whole grid."""
    if not shapes:
        return np.zeros((grid.height, grid.width), np.bool_)
    burnt_hw = rasterio.features.rasterize(shapes, (grid.height, grid.width), transform=grid.transform)
    return np.asarray(burnt_hw, np.bool_)


@pytest.mark.parametrize("ending", ["geojson", "gpkg", "fgb", "shp", "parquet"])
@pytest.mark.parametrize("crs", ["EPSG:32640", "EPSG:4326"])
def test_any_vector_file_gives_the_same_reference(
    tmp_path: Path, plane: Plane, labels: LabelSet, grid: Grid, ending: str, crs: str
) -> None:
    frame = geopandas.GeoDataFrame({"class": ["building"] * 3}, geometry=HOUSES, crs="EPSG:32640").to_crs(crs)
    path = tmp_path / f"labels.{ending}"
    frame.to_parquet(path) if ending == "parquet" else frame.to_file(path)
    reference = of_file(path, plane, labels)
    found = reference.classes[0]
    assert reference.areas == (0,)
    assert len(found.polygons) == 3
    order = np.argsort(shapely.bounds(found.polygons)[:, 0])
    assert shapely.hausdorff_distance(found.polygons[order], HOUSES).max() < 0.05
    truth = reference.truth(WHOLE)
    assert truth.known_hw.all()
    differs = np.count_nonzero(truth.masks[0] != drawn(HOUSES, grid))
    assert differs == 0 if crs == "EPSG:32640" else differs <= 4


@settings(max_examples=10)
@given(seed=st.integers(0, 99), row=st.integers(0, 600), col=st.integers(0, 700), side=st.integers(1, 600))
def test_no_pixel_depends_on_the_window(
    tmp_path_factory: pytest.TempPathFactory, labels: LabelSet, seed: int, row: int, col: int, side: int
) -> None:
    large = Grid("EPSG:32640", Affine(1, 0, 320000, 0, -1, 2770000), 700, 800)
    rng = np.random.default_rng(seed)
    shapes = [
        shapely.buffer(at(rng.uniform(0, 700), rng.uniform(0, 700), 1, 1), rng.uniform(2, 150)) for _ in range(6)
    ]
    path = tmp_path_factory.mktemp("labels") / "labels.gpkg"
    geopandas.GeoDataFrame({"class": ["road"] * 6}, geometry=shapes, crs="EPSG:32640").to_file(path)
    reference = of_file(path, Plane.of(large), labels)
    whole_hw = reference.truth(large.window).masks[1]
    window = Window(row, col, side, side).intersection(large.window)
    assert window is not None
    part_hw = whole_hw[window.row : window.row_stop, window.col : window.col_stop]
    assert np.array_equal(reference.truth(window).masks[1], part_hw)
    assert np.count_nonzero(whole_hw != drawn(shapes, large)) <= 2


def test_a_file_for_each_class_needs_no_attribute(
    plane: Plane, labels: LabelSet, write_labels: WriteLabels
) -> None:
    houses = write_labels([(shape, {}) for shape in HOUSES], "houses.geojson")
    streets = write_labels([(shapely.LineString([(320000, 2769950), (320100, 2769950)]), {})], "streets.geojson")
    reference = read(Labels((("building", houses), ("road", streets))), plane, labels)
    assert reference.areas == (0,)
    assert [line.length for line in reference.classes[1].lines] == [100]
    assert reference.classes[1].has_lines
    assert not reference.classes[1].has_areas


def test_an_empty_file_says_that_there_is_nothing(
    plane: Plane, labels: LabelSet, write_labels: WriteLabels
) -> None:
    reference = read(Labels((("building", write_labels([])),)), plane, labels)
    assert reference.areas == (0,)
    assert not reference.truth(WHOLE).masks[0].any()
    with pytest.raises(GeosegError, match=r"--labels CLASS=FILE \(building, road, other\)"):
        of_file(write_labels([]), plane, labels)


def test_what_is_invalid_is_repaired_and_counted(plane: Plane, labels: LabelSet, write_labels: WriteLabels) -> None:
    bowtie = shapely.Polygon([(320010, 2769990), (320030, 2769970), (320030, 2769990), (320010, 2769970)])
    nothing = shapely.Polygon([(320010, 2769990), (320030, 2769970), (320010, 2769990)])
    far = at(5000, 5000, 5, 5)
    building = {"class": "building"}
    path = write_labels(
        [(bowtie, building), (nothing, building), (far, building), (at(50, 50, 9, 9), {"class": None})]
    )
    reference = of_file(path, plane, labels)
    assert reference.repaired == 2
    assert reference.left_out == 2
    (found,) = reference.classes[0].polygons
    assert found.is_valid
    assert found.area == pytest.approx(200)


def test_values_may_mean_classes_or_nothing(plane: Plane, labels: LabelSet, write_labels: WriteLabels) -> None:
    path = write_labels([(at(10, 10, 5, 5), {"kind": 7}), (at(30, 10, 5, 5), {"kind": 8.0})])
    with pytest.raises(GeosegError, match="does not know: 7, 8; expected building, road, other in 'kind'"):
        of_file(path, plane, labels, attribute="kind")
    reference = of_file(path, plane, labels, attribute="kind", values=(("7", "building"), ("8", "")))
    assert reference.areas == (0,)
    assert len(reference.classes[0].polygons) == 1


def test_what_cannot_be_used_is_refused(
    tmp_path: Path, plane: Plane, labels: LabelSet, write_labels: WriteLabels, write_raster: WriteRaster
) -> None:
    house = [(at(10, 10, 5, 5), {"name": "x"})]
    with pytest.raises(GeosegError, match="no attribute 'class': name it with --class-attribute"):
        of_file(write_labels(house), plane, labels)
    with pytest.raises(GeosegError, match="expected a class of building, road, other, got tree"):
        read(Labels((("tree", write_labels(house)),)), plane, labels)
    with pytest.raises(GeosegError, match="lies elsewhere than the run"):
        read(Labels((("building", write_labels([(at(9000, 0, 5, 5), {})])),)), plane, labels)
    without = tmp_path / "without.gpkg"
    geopandas.GeoDataFrame({"class": ["building"]}, geometry=[HOUSES[0]]).to_file(without)
    with pytest.raises(GeosegError, match="has no CRS"):
        of_file(without, plane, labels)
    with pytest.raises(GeosegError, match="there is nothing at"):
        of_file(tmp_path / "missing.gpkg", plane, labels)
    ids_chw = np.ones((1, 20, 20), np.uint8)
    with pytest.raises(GeosegError, match="expected a reference with a CRS"):
        of_file(write_raster(ids_chw, crs=None), plane, labels)
    with pytest.raises(GeosegError, match="lies elsewhere than the run"):
        of_file(write_raster(ids_chw, transform=Affine(1, 0, 400000, 0, -1, 2770000)), plane, labels)
    with pytest.raises(GeosegError, match="expected one band of whole numbers"):
        of_file(write_raster(ids_chw.astype(np.float32)), plane, labels)
    with pytest.raises(GeosegError, match="expected it alone"):
        read(Labels((("building", write_raster(ids_chw)), ("road", write_labels(house)))), plane, labels)
    with pytest.raises(GeosegError, match="--value has no meaning with --labels building="):
        read(Labels((("building", write_raster(ids_chw)),), values=(("1", "road"),)), plane, labels)
    path = write_raster(np.full((1, 20, 20), -4, np.int16))
    with pytest.raises(GeosegError, match="holds the number -4: expected ids of objects from 1 on"):
        read(Labels((("building", path),)), plane, labels).truth(WHOLE)
    with pytest.raises(GeosegError, match=r"holds the value 9: expected 0, 1, 2, 255; say .* --value 9=CLASS"):
        of_file(write_raster(ids_chw * 9), plane, labels).truth(WHOLE)


@pytest.mark.parametrize(
    ("nodata", "values", "expected"),
    [
        (None, (), {0: 0, 1: 1, 2: 2, 255: 255}),
        (0, (), {0: 255, 1: 0, 2: 1, 3: 2}),
        (None, (("0", ""), ("1", "road"), ("2", "road"), ("255", "")), {0: 255, 1: 1, 2: 1, 255: 255}),
    ],
)
def test_values_of_a_raster(
    plane: Plane,
    labels: LabelSet,
    write_raster: WriteRaster,
    nodata: int | None,
    values: tuple[tuple[str, str], ...],
    expected: dict[int, int],
) -> None:
    raw_hw = np.random.default_rng(0).choice(np.array(list(expected), np.uint8), (100, 120))
    reference = of_file(write_raster(raw_hw[None], nodata=nodata), plane, labels, values=values)
    truth = reference.truth(Window(7, 9, 50, 60))
    ids_hw = np.vectorize(expected.get)(raw_hw)[7:57, 9:69]
    assert np.array_equal(truth.known_hw, ids_hw != 255)
    for class_id in reference.areas:
        assert np.array_equal(truth.masks[class_id], ids_hw == class_id)


@pytest.mark.parametrize("nodata", [None, 0, 9])
def test_a_raster_of_ids_holds_objects_of_a_class(
    plane: Plane, labels: LabelSet, write_raster: WriteRaster, nodata: int | None
) -> None:
    ids_hw = np.random.default_rng(0).integers(0, 12, (20, 24)).repeat(5, 0).repeat(5, 1)
    # It ends two rows above the grid's lower edge.
    path = write_raster(
        ids_hw[None, :98].astype(np.int32) * 70_000, nodata=None if nodata is None else nodata * 70_000
    )
    reference = read(Labels((("building", path),)), plane, labels)
    window = Window(7, 9, 93, 60)
    # Ground without an object is known, also where the file says that 0 is nodata.
    known_hw = (np.arange(7, 100) < 98)[:, None] & (ids_hw[7:100, 9:69] != (nodata or -1))
    truth = reference.truth(window)
    assert reference.areas == (0,)
    assert np.array_equal(truth.known_hw, known_hw)
    assert np.array_equal(truth.masks[0], known_hw & (ids_hw[7:100, 9:69] > 0))
    segments = true_segments(reference, labels, (100, 120)).read(window)
    assert np.array_equal(segments.id_hw, np.where(known_hw, ids_hw[7:100, 9:69] * 70_000, 0))
    assert np.array_equal(segments.class_hw == VOID, ~known_hw)


def test_of_polygons_of_several_classes_the_later_one_has_the_pixel(
    plane: Plane, labels: LabelSet, write_labels: WriteLabels
) -> None:
    features = [
        (at(10, 10, 30, 10), {"class": "building"}),
        (at(30, 10, 30, 10), {"class": "road"}),
        (at(50, 10, 30, 10), {"class": "building"}),
        (at(70, 10, 30, 10), {"class": "building"}),
    ]
    reference = of_file(write_labels(features), plane, labels)
    truth = true_segments(reference, labels, (100, 120))
    window = Window(12, 0, 1, 120)
    segments = truth.read(window)
    expected_class, expected_id = np.full(120, NOTHING, np.uint8), np.zeros(120, np.int64)
    for number, (start, class_id, thing) in enumerate(
        [(10, 0, True), (30, 1, False), (50, 0, True), (70, 0, True)], 1
    ):
        expected_class[start : start + 30] = class_id
        expected_id[start : start + 30] = number if thing else 0
    assert np.array_equal(segments.class_hw[0], expected_class)
    assert np.array_equal(segments.id_hw[0], expected_id)
    # Buildings lie over one another in 10 px; over a road they are no contest of objects.
    assert truth.contested_px(window, np.ones(window.shape, np.bool_)) == 10


def test_a_raster_of_another_resolution_and_crs_gives_the_value_at_each_centre(
    plane: Plane, labels: LabelSet, write_raster: WriteRaster
) -> None:
    coarse_hw = np.random.default_rng(1).integers(0, 3, (30, 30)).astype(np.uint8)
    path = write_raster(coarse_hw[None], transform=Affine(3.5, 0, 320010, 0, -3.5, 2769990))
    truth = of_file(path, plane, labels).truth(WHOLE)
    for row, col in product(range(0, 100, 7), range(0, 120, 7)):
        i, j = int((row + 0.5 - 10) // 3.5), int((col + 0.5 - 10) // 3.5)
        known = 0 <= i < 30 and 0 <= j < 30
        assert truth.known_hw[row, col] == known
        assert not known or truth.masks[int(coarse_hw[i, j])][row, col]
    with rasterio.open(path) as dataset:
        warped_hw, transform = rasterio.warp.reproject(
            dataset.read(),
            src_transform=dataset.transform,
            src_crs=dataset.crs,
            dst_crs="EPSG:3857",
            resolution=1.0,
        )
    other = write_raster(warped_hw, crs="EPSG:3857", transform=transform, nodata=255)
    there = of_file(other, plane, labels).truth(Window(20, 20, 60, 60))
    same_hw = truth.masks[1][20:80, 20:80] == there.masks[1]
    assert same_hw.mean() > 0.8


@settings(max_examples=20)
@given(seed=st.integers(0, 999), height=st.integers(1, 30), width=st.integers(1, 30), side=st.integers(1, 31))
def test_pieces_are_the_polygons_of_the_whole_whatever_the_windows(
    seed: int, height: int, width: int, side: int
) -> None:
    mask_hw = np.random.default_rng(seed).random((height, width)) < 0.6
    pieces = Pieces()
    for row, col in product(range(0, height, side), range(0, width, side)):
        window = Window(row, col, min(side, height - row), min(side, width - col))
        pieces.add(mask_hw[row : row + side, col : col + side], window)
    found = shapely.normalize(pieces.joined())
    whole = rasterio.features.shapes(mask_hw.astype(np.uint8), mask=mask_hw, connectivity=4)
    expected = shapely.normalize([shapely.geometry.shape(shape) for shape, _ in whole])
    assert {shapely.to_wkt(one) for one in found} == {shapely.to_wkt(one) for one in expected}
    assert shapely.area(pieces.pieces()).sum() == np.count_nonzero(mask_hw)


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 12), width=st.integers(1, 12), side=st.integers(1, 13))
@settings(max_examples=20)
def test_objects_of_a_raster_of_ids_have_their_own_pixels_whatever_the_windows(
    seed: int, height: int, width: int, side: int
) -> None:
    ids_hw = np.random.default_rng(seed).integers(0, 5, (height, width)) * 2**40
    pieces = IdPieces()
    for row, col in product(range(0, height, side), range(0, width, side)):
        window = Window(row, col, min(side, height - row), min(side, width - col))
        pieces.add(ids_hw[row : row + side, col : col + side], window)
    found = pieces.joined()
    ids = np.unique(ids_hw[ids_hw > 0])
    assert len(found) == len(ids)
    for one, polygon in zip(ids, found, strict=True):
        boxes = [
            shapely.box(col, row, col + 1, row + 1) for row, col in zip(*np.nonzero(ids_hw == one), strict=True)
        ]
        assert polygon.is_valid
        assert polygon.equals(shapely.union_all(boxes))


def test_what_is_half_outside_does_not_count() -> None:
    shapes = np.array([shapely.box(0, 0, 4, 4), shapely.box(7, 0, 12, 4), shapely.box(9, 0, 14, 4)], object)
    shapes = np.append(shapes, shapely.box(20, 0, 24, 4))
    extent = Extent(np.array([shapely.box(x, y, x + 5, y + 5) for x in (0, 5) for y in (0, 5)], object))
    assert extent.area_m2 == 100
    found = extent.objects(shapes)
    assert found.index.tolist() == [0, 1, 2]
    assert found.counts.tolist() == [True, True, False]
    assert found.whole.tolist() == [True, False, False]
    assert shapely.area(found.polygons).tolist() == [16, 12, 4]
    lines = np.array([shapely.LineString([(-5, 5), (15, 5)]), shapely.LineString([(1, 1), (2, 1)])], object)
    assert sorted(shapely.length(extent.lines(lines))) == [1, 10]


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", Affine(1e-5, 0, 25.0, 0, -1e-5, 60.0)),
        ("EPSG:3857", Affine(1, 0, 2.78e6, 0, -1, 8.4e6)),
        ("EPSG:2263", Affine(1, 0, 1.0e6, 0, -1, 2e5)),
    ],
)
def test_a_plane_has_true_metres_where_the_run_has_none(crs: str, transform: Affine) -> None:
    grid = Grid(crs, transform, 200, 200)
    plane = Plane.of(grid)
    assert plane.crs != crs
    (square,) = plane.from_pixels(np.array([shapely.box(50, 50, 150, 150)], object))
    height_m, width_m = grid.ground_resolution_m()
    assert square.area == pytest.approx(1e4 * height_m * width_m, rel=1e-4)
    assert shapely.length(square.exterior) == pytest.approx(200 * (height_m + width_m), rel=1e-4)
