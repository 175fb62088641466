"""Which cell each index sees."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.train.walk import Walk, epoch_length

cells = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=30)
@given(cells, seeds, st.integers(1, 7), st.integers(1, 4), st.integers(0, 3))
def test_whoever_makes_the_batches_an_epoch_sees_each_cell_once(
    count: int, seed: int, batch: int, workers: int, epoch: int
) -> None:
    walk = Walk(np.ones(count), seed)
    assert walk.length == epoch_length(np.ones(count)) == count
    first, last = epoch * count, (epoch + 1) * count
    seen: list[list[int]] = []
    for worker in range(workers):
        own = Walk(np.ones(count), seed)  # each worker has its own
        numbers = range(worker, -(-last // batch), workers)
        indices = [index for number in numbers for index in range(number * batch, (number + 1) * batch)]
        seen.append([own.cell(index) for index in indices if first <= index < last])
    assert sorted(cell for part in seen for cell in part) == list(range(count))
    # One seed, one order: asked backwards, too.
    order = [walk.cell(index) for index in reversed(range(first, last))]
    assert order[::-1] == [Walk(np.ones(count), seed).cell(index) for index in range(first, last)]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [
        [walk.cell(index) for index in range(epoch * 50, (epoch + 1) * 50)]
        for walk in (Walk(np.ones(50), 0), Walk(np.ones(50), 1))
        for epoch in range(3)
    ]
    assert len({tuple(order) for order in orders}) == 6


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 12), st.floats(0.1, 4)), min_size=1, max_size=3), seeds)
def test_a_cell_occurs_as_often_as_its_weight_says(groups: list[tuple[int, float]], seed: int) -> None:
    weights_n = np.concatenate([np.full(count, weight) for count, weight in groups])
    walk = Walk(weights_n, seed)
    assert walk.length == epoch_length(weights_n)
    times = np.zeros(len(weights_n), int)
    epochs = 24
    for epoch in range(epochs):
        seen = Counter(walk.cell(index) for index in range(epoch * walk.length, (epoch + 1) * walk.length))
        assert seen.total() == walk.length
        for cell, weight in enumerate(weights_n):
            assert np.floor(weight) <= seen[cell] <= np.ceil(weight)
            times[cell] += seen[cell]
    # One of twelve cells in an epoch at least: they all had their turn, and cells of one weight as many.
    assert times.min() > 0
    for weight in np.unique(weights_n):
        alike = times[weights_n == weight]
        assert np.ptp(alike) <= 1
        if len(alike) * weight >= 0.5:
            assert abs(alike.sum() - epochs * len(alike) * weight) <= epochs / 2 + 1e-6
