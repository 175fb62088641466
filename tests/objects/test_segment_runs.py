"""Segments seen part by part: what is counted of them is what is counted at once."""

import hypothesis.extra.numpy as arrays
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.objects.segment_runs import KeyRuns, SegmentTable, class_of_stuff, segment_keys, stuff_key

KEYS = arrays.arrays(np.uint64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4))


@given(KEYS)
def test_runs_paint_the_array_again_and_name_keys_in_raster_order(keys_hw: NDArray[np.uint64]) -> None:
    runs = KeyRuns.of(keys_hw)
    np.testing.assert_array_equal(runs.paint(runs.keys.astype(np.uint32)), keys_hw)
    flat = keys_hw.reshape(-1).tolist()
    assert runs.keys.tolist() == list(dict.fromkeys(flat))
    assert runs.first.tolist() == [flat.index(key) for key in runs.keys.tolist()]


@given(KEYS, st.integers(1, 4))
def test_a_table_of_parts_is_that_of_the_whole(keys_hw: NDArray[np.uint64], rows: int) -> None:
    table = SegmentTable.empty()
    for row in range(0, len(keys_hw), rows):
        runs = KeyRuns.of(keys_hw[row : row + rows])
        new = runs.keys[table.unknown(runs.keys)]
        table.add(new, 100 + new.astype(np.int64), 200 + new.astype(np.int64))
        table.count(runs.keys, *runs.measure(row, 0))
    keys, area = np.unique(keys_hw, return_counts=True)
    np.testing.assert_array_equal(table.key, keys)
    np.testing.assert_array_equal(table.area, area)
    np.testing.assert_array_equal(table.numbers(keys), 100 + keys.astype(np.int64))
    np.testing.assert_array_equal(table.class_id, 200 + keys.astype(np.int64))
    boxes = [ndimage.find_objects((keys_hw == key).astype(int))[0] for key in keys]
    expected = [(rows.start, cols.start, rows.stop, cols.stop) for rows, cols in boxes]
    assert list(map(tuple, table.box.tolist())) == expected


def test_objects_go_before_classes_and_nodata_before_all() -> None:
    classes_hw = np.array([[0, 0, 1, 2, 255, 2]], np.uint8)
    instances_hw = np.array([[7, 0, 0, 9, 8, 0]], np.uint64)
    keys_hw = segment_keys(classes_hw, instances_hw, (1, 2))
    # A pixel of a thing in no object is void; one of stuff in an object is the object's.
    assert keys_hw.tolist() == [[7, 0, stuff_key(1), 9, 0, stuff_key(2)]]
    assert class_of_stuff(keys_hw[0]).tolist() == [-1, -1, 1, -1, -1, 2]
