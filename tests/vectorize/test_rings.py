import numpy as np
import shapely

from geoseg.vectorize.rings import Rings

POLYGONS = np.array(
    [
        shapely.Polygon(
            [(0, 0), (9, 0), (9, 9), (0, 9)], [[(1, 1), (1, 2), (2, 2)], [(4, 4), (4, 6), (6, 6), (6, 4)]]
        ),
        shapely.Polygon([(20, 0), (30, 0), (30, 10)]),
    ],
    dtype=object,
)


def test_polygons_come_back_as_they_went() -> None:
    rings = Rings.of(POLYGONS)
    assert rings.size.tolist() == [4, 3, 4, 3]
    assert rings.count.tolist() == [3, 1]
    assert shapely.equals_exact(rings.polygons(), POLYGONS).all()


def test_no_polygons_are_no_rings() -> None:
    assert len(Rings.of(np.empty(0, object)).polygons()) == 0


def test_following_goes_around_each_ring() -> None:
    assert Rings.of(POLYGONS).following.tolist() == [1, 2, 3, 0, 5, 6, 4, 8, 9, 10, 7, 12, 13, 11]


def test_points_are_inserted_where_asked() -> None:
    rings = Rings.of(POLYGONS)
    added = rings.insert_after(np.array([1, 1, 13]), np.array([(9.0, 3), (9, 6), (25, 5)]))
    assert shapely.get_num_coordinates(added.polygons()).tolist() == [16, 5]
    assert shapely.equals(added.polygons(), POLYGONS).all()


def test_polygons_are_picked_by_number_and_by_mask() -> None:
    rings = Rings.of(POLYGONS)
    assert shapely.equals_exact(rings.at(np.array([1, 0, 1])).polygons(), POLYGONS[[1, 0, 1]]).all()
    assert shapely.equals_exact(rings.at(np.array([False, True])).polygons(), POLYGONS[1:]).all()
    assert len(rings.at(np.empty(0, np.int64)).polygons()) == 0
