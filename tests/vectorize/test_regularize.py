"""Regularized buildings: laws for any outline, and known footprints, rasterized, with noise."""

from typing import NamedTuple

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from shapely import affinity

from geoseg.grid import Window
from geoseg.io.layers import Outcome
from geoseg.vectorize.orientation import main_orientation
from geoseg.vectorize.polygons import trace
from geoseg.vectorize.regularize import Regularization, regularize

KINDS = ("rectangle", "L", "T", "U", "Z", "plus", "courtyard")


class Building(NamedTuple):
    angle: float  # degrees, from x to y
    truth: shapely.Polygon
    traced: shapely.Polygon


def footprint(kind: str, width: float, height: float, share: float) -> shapely.Polygon:
    """With so many corners as its name says; `share` of the width is what is narrow."""
    whole, left, right = shapely.box(0, 0, width, height), width * share, width * (1 - share)
    third = height * share
    parts: dict[str, shapely.Geometry] = {
        "rectangle": whole,
        "L": whole - shapely.box(right, height - third, width, height),
        "T": shapely.box(0, 0, width, height / 2) | shapely.box(left, 0, right, height),
        "U": whole - shapely.box(left, third, right, height),
        "Z": shapely.box(0, 0, right, height / 2) | shapely.box(left, height / 2, width, height),
        "plus": shapely.box(left, 0, right, height) | shapely.box(0, third, width, height - third),
        "courtyard": whole - shapely.box(left, third, right, height - third),
    }
    polygon = parts[kind].simplify(0)
    assert isinstance(polygon, shapely.Polygon)
    return polygon


def building(random: np.random.Generator, kind: str, size_px: float, flips: float) -> Building:
    """A footprint at some angle and place, rasterized; with turned pixels along its outline, and bumps."""
    width, height = size_px, size_px * random.uniform(0.65, 1)
    angle = random.uniform(0, 90)
    truth = affinity.rotate(footprint(kind, width, height, random.uniform(0.32, 0.4)), angle, origin=(0, 0))
    x, y, _, _ = truth.bounds
    truth = affinity.translate(truth, *(random.uniform(4, 5, 2) - (x, y)))
    side = int(max(truth.bounds)) + 6
    return Building(angle, truth, traced(noisy(rasterized(truth, side), random, flips)))


def rasterized(polygon: shapely.Polygon, side: int) -> NDArray[np.bool_]:
    return np.asarray(rasterio.features.rasterize([polygon], (side, side)), np.bool_)


def noisy(mask_hw: NDArray[np.bool_], random: np.random.Generator, flips: float) -> NDArray[np.bool_]:
    edge_hw = ndimage.binary_dilation(mask_hw) ^ ndimage.binary_erosion(mask_hw)
    mask_hw = mask_hw ^ (edge_hw & (random.random(mask_hw.shape) < flips))
    places = np.argwhere(edge_hw)
    for row, col in random.choice(places, int(len(places) * (flips > 0) / 120)):
        mask_hw[row - 1 : row + 1, col - 1 : col + 2] = random.random() < 0.5  # a bump, or a bite
    return mask_hw


def traced(mask_hw: NDArray[np.bool_]) -> shapely.Polygon:
    """The largest object."""
    rings, _ = trace(np.where(mask_hw, 0, 255).astype(np.uint8), Window(0, 0, *mask_hw.shape))
    polygons = rings.polygons()
    largest = polygons[np.argmax(shapely.area(polygons))]
    assert isinstance(largest, shapely.Polygon)
    return largest


def share_in_common(one: NDArray[np.object_], other: NDArray[np.object_]) -> NDArray[np.float64]:
    return np.asarray(
        shapely.area(shapely.intersection(one, other)) / shapely.area(shapely.union(one, other)), np.float64
    )


def corners(polygons: NDArray[np.object_]) -> NDArray[np.int64]:
    return np.asarray(
        shapely.get_num_coordinates(polygons) - 1 - shapely.get_num_interior_rings(polygons), np.int64
    )


def apart(degrees: float, other: float) -> float:
    return abs((degrees - other + 45) % 90 - 45)


def check_known_buildings(count: int, flips: float, seed: int) -> None:
    """The figures that are asked for: of all, and of the kinds that have the most corners for their size."""
    random = np.random.default_rng(seed)
    buildings = [
        building(random, kind, max(size, 10 if kind in ("rectangle", "L", "Z") else 15), flips)
        for kind, size in zip(
            np.resize(KINDS, count), np.exp(random.uniform(np.log(10), np.log(100), count)), strict=True
        )
    ]
    truth = np.array([one.truth for one in buildings], object)
    raw = np.array([one.traced for one in buildings], object)
    regularized, outcome = regularize(raw)
    assert shapely.is_valid(regularized).all()
    assert (outcome == Outcome.REGULARIZED).mean() > 0.98
    assert np.median(share_in_common(regularized, truth)) >= np.median(share_in_common(raw, truth)) + 0.02
    assert (corners(regularized) == corners(truth)).mean() >= 0.9
    errors = [apart(main_orientation(one.traced), one.angle) for one in buildings]
    assert np.median(errors) < 1
    errors = [apart(main_orientation(shape), one.angle) for shape, one in zip(regularized, buildings, strict=True)]
    assert np.median(errors) < 1


@pytest.mark.parametrize("flips", [0.0, 0.1])
def test_known_footprints_come_back(flips: float) -> None:
    check_known_buildings(70, flips, 1)


@pytest.mark.slow
@pytest.mark.parametrize("flips", [0.0, 0.05, 0.1, 0.15])
def test_many_known_footprints_come_back(flips: float) -> None:
    check_known_buildings(600, flips, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_walls_meet_at_right_angles(kind: str) -> None:
    one = building(np.random.default_rng(5), kind, 60, 0.1)
    regularized, outcome = regularize(np.array([one.traced], object))
    assert outcome.tolist() == [Outcome.REGULARIZED]
    for ring in shapely.get_rings(regularized[0]):
        xy = shapely.get_coordinates(ring)
        way = np.diff(xy, axis=0)
        way /= np.hypot(*way.T)[:, None]
        assert abs((way * np.roll(way, 1, axis=0)).sum(axis=1)).max() < 2e-3  # coordinates are in 1/1024 px
    assert apart(main_orientation(regularized[0]), one.angle) < 1


def ellipse(half_px: tuple[float, float], angle: float, middle: tuple[float, float]) -> shapely.Polygon:
    return affinity.translate(
        affinity.rotate(affinity.scale(shapely.Point(0, 0).buffer(1, 64), *half_px), angle), *middle
    )


@settings(max_examples=30)
@given(st.floats(8, 50), st.floats(0.6, 1), st.floats(0, 180), st.floats(0, 1), st.floats(0, 1))
@example(8, 1, 0, 0, 0)
@example(8, 1, 0, 0.5, 0.5)
def test_round_buildings_stay(half_px: float, ratio: float, angle: float, x: float, y: float) -> None:
    polygon = ellipse((half_px, max(8, half_px * ratio)), angle, (55 + x, 55 + y))
    raw = np.array([traced(rasterized(polygon, 110))], object)
    regularized, outcome = regularize(raw)
    assert outcome.tolist() == [Outcome.UNCHANGED_ROUND]
    assert regularized[0] is raw[0]


def test_the_round_end_of_a_hall_stays_round_and_its_walls_straight() -> None:
    hall = affinity.rotate(shapely.box(20, 30, 70, 60) | shapely.Point(70, 45).buffer(15, 64), 20)
    regularized, outcome = regularize(np.array([traced(rasterized(hall, 110))], object))
    assert outcome.tolist() == [Outcome.REGULARIZED]
    assert share_in_common(regularized, np.array([hall], object))[0] > 0.985
    assert shapely.hausdorff_distance(regularized[0], hall, 0.1) < 1
    assert apart(main_orientation(regularized[0]), 20) < 1


def test_a_wing_at_45_degrees_keeps_its_direction() -> None:
    wing = affinity.rotate(shapely.box(0, -9, 45, 9), 45, origin=(0, 0))
    both = affinity.rotate(shapely.box(10, 60, 70, 80) | affinity.translate(wing, 55, 68), 10)
    both = affinity.translate(both, 10, -15)
    regularized, outcome = regularize(np.array([traced(rasterized(both, 120))], object))
    assert outcome.tolist() == [Outcome.REGULARIZED]
    xy = shapely.get_coordinates(regularized[0])
    way = np.diff(xy, axis=0)
    angles = np.degrees(np.arctan2(way[:, 1], way[:, 0]))
    of_walls = angles[np.hypot(*way.T) > 10]
    assert all(min(apart(angle, 10), apart(angle, 55)) < 1 for angle in of_walls)
    assert {apart(angle, 10) < 1 for angle in of_walls} == {True, False}
    assert share_in_common(regularized, np.array([both], object))[0] > 0.97


def test_two_pixels_are_a_rectangle_as_they_were() -> None:
    mask_hw = np.zeros((4, 5), np.bool_)
    mask_hw[1, 1:3] = True
    raw = np.array([traced(mask_hw)], object)
    regularized, outcome = regularize(raw)
    assert outcome.tolist() == [Outcome.REGULARIZED]
    assert shapely.equals(regularized, raw).all()


@st.composite
def masks(draw: st.DrawFn) -> NDArray[np.bool_]:
    """Unions of boxes, some taken out again: thin ones, single pixels, holes."""
    mask_hw = np.zeros((40, 40), np.bool_)
    for _ in range(draw(st.integers(1, 7))):
        row, col = draw(st.integers(1, 36)), draw(st.integers(1, 36))
        height, width = draw(st.integers(1, 25)), draw(st.integers(1, 25))
        mask_hw[row : min(39, row + height), col : min(39, col + width)] = draw(st.integers(0, 3)) > 0
    return mask_hw


def spiral(turns: int, step: int) -> NDArray[np.bool_]:
    mask_hw = np.zeros((2 * step * turns + 8,) * 2, np.bool_)
    row = col = 2
    length = 2 * step * turns
    for turn in range(2 * turns):
        down, right = ((0, 1), (1, 0), (0, -1), (-1, 0))[turn % 4]
        for _ in range(length):
            mask_hw[row, col] = True
            row, col = row + down, col + right
        length -= step if turn % 2 else 0
    return mask_hw


def polygons_of(mask_hw: NDArray[np.bool_]) -> NDArray[np.object_]:
    rings, _ = trace(np.where(mask_hw, 0, 255).astype(np.uint8), Window(0, 0, *mask_hw.shape))
    return rings.polygons()


@settings(max_examples=40)
@given(masks(), st.sampled_from([Regularization(), Regularization(0.9, 1.5), Regularization(0.2, 20, 6, 4, 0)]))
@example(spiral(4, 3), Regularization())
@example(spiral(3, 2), Regularization(0.1, 30))
@example(~spiral(3, 5), Regularization())
def test_any_building_is_valid_and_within_bounds_or_as_it_was(
    mask_hw: NDArray[np.bool_], options: Regularization
) -> None:
    raw = polygons_of(mask_hw)
    before = shapely.to_wkb(raw).tolist()
    regularized, outcome = regularize(raw, options)
    assert shapely.to_wkb(raw).tolist() == before
    assert shapely.is_valid(regularized).all()
    assert (shapely.get_type_id(regularized) == shapely.GeometryType.POLYGON).all()
    assert (shapely.area(regularized) > 0).all()
    changed = outcome == Outcome.REGULARIZED
    assert all(one is other for one, other in zip(raw[~changed], regularized[~changed], strict=True))
    assert (share_in_common(raw, regularized) >= options.min_iou - 1e-9).all()
    for one, other in zip(raw[changed], regularized[changed], strict=True):
        wide = [hole for hole in one.interiors if shapely.area(shapely.Polygon(hole)) >= options.min_hole_px2]
        assert len(other.interiors) == len(wide)
        filled = shapely.Polygon(one.exterior, wide)
        # shapely's is between all edges, ours at every half pixel of them.
        far_px = shapely.hausdorff_distance(filled.boundary, other.boundary, 0.05)
        assert far_px <= options.max_deviation_px + 0.25


@settings(max_examples=25)
@given(masks(), st.integers(-100_000, 100_000), st.integers(-3, 3), st.integers(0, 7), st.integers(0, 50))
def test_what_is_moved_turned_or_mirrored_gives_the_same(
    mask_hw: NDArray[np.bool_], right: int, down: int, way: int, start: int
) -> None:
    """But where a building is its own mirror image, when either of two answers may come."""

    def turned(polygon: shapely.Polygon) -> shapely.Polygon:
        swap = way & 4 > 0
        sign_x, sign_y = (-1) ** (way & 1), (-1) ** (way >> 1 & 1)
        matrix = [0, sign_y, sign_x, 0] if swap else [sign_x, 0, 0, sign_y]
        moved = affinity.affine_transform(polygon, [*matrix, right, down])
        assert isinstance(moved, shapely.Polygon)
        return moved

    def is_own_image(polygon: shapely.Polygon) -> bool:
        x, y, *_ = polygon.bounds
        own = affinity.translate(polygon, -x, -y).normalize()
        images = []
        for matrix in ([-1, 0, 0, 1], [1, 0, 0, -1], [-1, 0, 0, -1], *SWAPS):
            image = affinity.affine_transform(polygon, [*matrix, 0, 0])
            x, y, *_ = image.bounds
            images.append(affinity.translate(image, -x, -y).normalize())
        return own in images

    raw = np.array([one for one in polygons_of(mask_hw) if not is_own_image(one)], object)
    regularized, outcome = regularize(raw)
    images, image_outcome = regularize(np.array([turned(rolled(one, start)) for one in raw], object))
    assert image_outcome.tolist() == outcome.tolist()
    for one, image in zip(regularized, images, strict=True):
        assert shapely.equals(turned(one).normalize(), image.normalize())


SWAPS = ([0, 1, 1, 0], [0, -1, 1, 0], [0, 1, -1, 0], [0, -1, -1, 0])


def rolled(polygon: shapely.Polygon, start: int) -> shapely.Polygon:
    """The same with its exterior from another vertex on."""
    xy = np.roll(shapely.get_coordinates(polygon.exterior)[:-1], start, axis=0)
    return shapely.Polygon(xy, polygon.interiors)


@settings(max_examples=30)
@given(st.floats(0, 90), st.floats(12, 60), st.floats(0.6, 1))
def test_the_orientation_of_exact_lines_is_theirs(angle: float, width: float, ratio: float) -> None:
    polygon = affinity.rotate(footprint("L", width, width * ratio, 0.4), angle, origin=(0, 0))
    found = main_orientation(polygon)
    assert 0 <= found < 90
    assert apart(found, angle) < 0.5
    assert apart(main_orientation(affinity.rotate(polygon, 90, origin=(0, 0))), angle) < 0.5


def test_an_orientation_is_never_90_degrees() -> None:
    tilted = affinity.rotate(shapely.box(0, 0, 30, 20), -1e-13, origin=(0, 0))
    assert main_orientation(tilted) < 90


def test_a_polygon_without_points_has_no_orientation() -> None:
    with pytest.raises(ValueError, match="without points"):
        main_orientation(shapely.Polygon())


def test_nothing_of_nothing() -> None:
    polygons, outcome = regularize(np.empty(0, object))
    assert len(polygons) == len(outcome) == 0


def test_an_outline_of_more_vertices_than_a_building_has_stays() -> None:
    teeth = np.arange(2**15 + 2)
    top = np.column_stack((np.repeat(teeth, 2)[1:-1], np.resize([1, 1, 2, 2], 2 * len(teeth) - 2)))
    comb = shapely.Polygon([(0, 0), *top.tolist(), (int(teeth[-1]), 0)])
    regularized, outcome = regularize(np.array([comb], object))
    assert outcome.tolist() == [Outcome.UNCHANGED_TOO_LONG]
    assert regularized[0] is comb


@pytest.mark.parametrize(
    ("options", "named"),
    [({"min_iou": 1.5}, "min_iou"), ({"detail_px": 0.0}, "detail_px"), ({"max_deviation_px": -1.0}, "max_dev")],
)
def test_options_without_a_meaning_are_refused(options: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Regularization(**options)
