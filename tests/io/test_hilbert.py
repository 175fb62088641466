from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.io.hilbert import HilbertSort, hilbert_keys


@pytest.mark.parametrize("order", [1, 3, 6])
def test_neighbours_on_the_curve_are_neighbours_on_the_ground(order: int) -> None:
    side = 2**order
    rows, cols = np.mgrid[:side, :side]
    xy = np.column_stack((cols.reshape(-1), rows.reshape(-1))) + 0.5
    keys = hilbert_keys(xy, np.array([0.0, 0.0, side, side])) >> np.uint32(2 * (16 - order))
    assert sorted(keys.tolist()) == list(range(side**2))
    steps = np.abs(np.diff(xy[np.argsort(keys)], axis=0)).sum(axis=1)
    assert (steps == 1).all()


def test_a_box_without_extent_is_one_place() -> None:
    bounds = np.array([5.0, 7.0, 5.0, 7.0])
    assert hilbert_keys(np.array([[5.0, 7.0]] * 3), bounds).tolist() == [0, 0, 0]


@given(
    sizes=st.lists(st.integers(0, 900), max_size=8),
    most=st.sampled_from([1, 50, 2**32 - 1]),
    run_rows=st.sampled_from([1, 100, 1000, 10**6]),
    seed=st.integers(0, 99),
)
def test_rows_come_out_sorted_and_each_once(sizes: list[int], most: int, run_rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    schema = pa.schema([("number", pa.int64()), ("of", pa.uint32())])
    with TemporaryDirectory() as folder:
        rows = HilbertSort(Path(folder), schema, run_rows)
        first = 0
        for size in sizes:
            keys = rng.integers(0, most, size, np.uint32, endpoint=True)
            numbers = np.arange(first, first + size)
            rows.add(keys, pa.RecordBatch.from_arrays([pa.array(numbers), pa.array(keys)], schema=schema))
            first += size
        found = pa.concat_tables([schema.empty_table(), *rows.sorted()])
    keys = found.column("of").to_numpy().astype(np.int64)
    assert (np.diff(keys) >= 0).all()
    assert sorted(found.column("number").to_pylist()) == list(range(first))
