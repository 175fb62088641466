"""When a unit counts as hung."""

import statistics

from hypothesis import given
from hypothesis import strategies as st

from geoseg.cluster.watchdog import Watchdog


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=100), st.floats(1, 1e3), st.floats(1, 50))
def test_the_limit_is_the_floor_or_a_multiple_of_the_median(
    seconds: list[float], floor_s: float, factor: float
) -> None:
    watchdog = Watchdog(floor_s, factor)
    for each in seconds:
        watchdog.finished(each)
    assert watchdog.limit_s() == max(floor_s, factor * statistics.median(seconds))


@given(st.floats(1, 1e3), st.floats(1, 50))
def test_nobody_is_hung_at_the_floor_before_the_first_has_finished(floor_s: float, factor: float) -> None:
    assert Watchdog(floor_s, factor).limit_s() == factor * floor_s


def test_the_limit_follows_the_last_units() -> None:
    watchdog = Watchdog(1.0, 10.0)
    for seconds in [5.0] * 1000 + [50.0] * 1000:
        watchdog.finished(seconds)
    assert watchdog.limit_s() == 500
