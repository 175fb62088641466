"""The grid that scenes share: of most of them, whatever their order, and large enough for all."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import SceneError
from geoseg.grid import Grid
from geoseg.io.common_grid import GridRule, common_grid, utm_crs
from geoseg.io.placing import lay
from geoseg.io.warp import transformer

KEEP = GridRule(None, None, align=False)


def scene(x: float, y: float, side: float = 1.0, crs: str = "EPSG:32640", size: tuple[int, int] = (30, 40)) -> Grid:
    return Grid(crs, Affine(side, 0, x, 0, -side, y), *size)


places = st.lists(
    st.tuples(
        st.integers(0, 2000).map(lambda n: 300000 + 0.5 * n),
        st.integers(0, 2000).map(lambda n: 2770000 + 0.5 * n),
        st.sampled_from([0.5, 1.0, 0.3]),
        st.sampled_from(["EPSG:32640", "EPSG:32639", "EPSG:3857"]),
    ),
    min_size=1,
    max_size=8,
)


@given(places, st.integers(0, 99), st.sampled_from([None, 0.7]), st.booleans())
def test_it_holds_every_scene_whatever_their_order(
    given_scenes: list[tuple[float, float, float, str]], seed: int, resolution_m: float | None, align: bool
) -> None:
    scenes = [scene(x, y, side, crs) for x, y, side, crs in given_scenes]
    rule = GridRule(None, resolution_m, align)
    grid, words = common_grid(scenes, rule)
    shuffled = [scenes[number] for number in np.random.default_rng(seed).permutation(len(scenes))]
    assert common_grid(shuffled, rule) == (grid, words)
    t = ~grid.transform
    for one in scenes:
        s = one.transform
        corners = [s @ corner for corner in ((0, 0), (one.width, 0), (0, one.height), (one.width, one.height))]
        x, y = transformer(one.crs, grid.crs).transform(*np.array(corners).T)
        for col, row in (t @ point for point in zip(x, y, strict=True)):
            assert -1e-3 <= col <= grid.width + 1e-3
            assert -1e-3 <= row <= grid.height + 1e-3
    if align:
        for edge in (grid.transform.c / grid.transform.a, grid.transform.f / grid.transform.e):
            assert edge == pytest.approx(round(edge), abs=1e-4)


def test_scenes_on_the_lattice_of_most_are_read_as_they_are() -> None:
    scenes = [scene(300000, 2770000), scene(300500, 2770011), scene(300100.5, 2770000), scene(299000, 2769000)]
    grid, _ = common_grid(scenes, KEEP)
    as_they_are = [lay(one, grid)[0].warp is None for one in scenes]
    assert as_they_are == [True, True, False, True]


def test_as_many_of_each_lattice_leave_no_choice_to_the_order() -> None:
    scenes = [scene(300000, 2770000, side) for side in (1.0, 0.5)]
    assert common_grid(scenes, KEEP) == common_grid(scenes[::-1], KEEP)


def test_the_crs_of_most_is_taken_and_degrees_become_utm() -> None:
    other = scene(400000, 2770000, crs="EPSG:32639")
    grid, words = common_grid([other, scene(300000, 2770000), scene(300100, 2770000)], KEEP)
    assert (grid.crs, words) == ("EPSG:32640", "the CRS of 2 of 3 scenes")
    degrees = scene(55.1, 25.1, 1e-5, "EPSG:4326")
    grid, words = common_grid([degrees, degrees], KEEP)
    assert grid.crs == "EPSG:32640"
    assert "counts degrees" in words
    assert common_grid([degrees], GridRule("EPSG:4326", None, align=False))[0].crs == "EPSG:4326"
    assert grid.ground_resolution_m() == pytest.approx((1.05, 1.05), abs=0.01)


def test_scenes_on_both_sides_of_the_antimeridian_are_neighbours() -> None:
    scenes = [scene(179.9, -16.5, 1e-5, "EPSG:4326"), scene(-179.95, -16.5, 1e-5, "EPSG:4326")]
    grid, _ = common_grid(scenes, KEEP)
    assert grid.crs in {"EPSG:32701", "EPSG:32760"}
    assert grid.width < 30_000
    in_degrees, _ = common_grid(scenes, GridRule("EPSG:4326", None, align=False))
    assert in_degrees.width == pytest.approx(15_040, abs=2)
    for one in scenes:
        assert lay(one, in_degrees)[1].shape == (one.height, one.width)


@pytest.mark.parametrize(
    ("lon", "lat", "crs"),
    [
        (55, 25, "EPSG:32640"),
        (-70, -33, "EPSG:32719"),
        (180, 1, "EPSG:32601"),
        (0, 85, "EPSG:32661"),
        (9, -81, "EPSG:32761"),
    ],
)
def test_the_zone_of_a_place(lon: float, lat: float, crs: str) -> None:
    assert utm_crs(lon, lat) == crs


def test_scenes_too_far_apart_to_count_pixels_are_refused() -> None:
    far = [scene(300000, 2770000, 1e-3), scene(8e6, 2770000, 1e-3)]
    with pytest.raises(SceneError, match="coarser --resolution"):
        common_grid(far, KEEP)
