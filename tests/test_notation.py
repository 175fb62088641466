"""What a user may say about a run, from text and from Python."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import GeosegError
from geoseg.io.scene import PercentStretch
from geoseg.notation import parse_resolution, parse_stretch

FINITE = st.floats(-1e6, 1e6)


@given(FINITE, FINITE)
def test_a_stretch_is_the_same_in_text_and_in_numbers(low: float, high: float) -> None:
    text = f"{low!r},{high!r}"
    if low < high:
        assert parse_stretch(text) == parse_stretch((low, high)) == (low, high)
        return
    for value in (text, (low, high)):
        with pytest.raises(GeosegError, match="LO below HI"):
            parse_stretch(value)


@given(st.floats(-10, 110), st.floats(-10, 110))
def test_percentiles_lie_between_0_and_100(low: float, high: float) -> None:
    text = f"{low!r}%,{high!r}%"
    if 0 <= low < high <= 100:
        assert parse_stretch(text) == PercentStretch(low, high)
        assert parse_stretch(PercentStretch(low, high)) == PercentStretch(low, high)
        return
    with pytest.raises(GeosegError, match="LO below HI"):
        parse_stretch(text)


@pytest.mark.parametrize("value", ["", "1", "1,2,3", "a,b", "1%,2", "nan,1", "0,inf", "-inf,0", (1.0, math.nan)])
def test_other_stretches_are_refused(value: str | tuple[float, float]) -> None:
    with pytest.raises(GeosegError, match="expected a stretch"):
        parse_stretch(value)


@given(st.one_of(st.floats(), st.sampled_from(["model", "native", "finest", "coarse", "", "-1", "0.5", "nan"])))
def test_a_resolution_is_a_word_or_metres(value: float | str) -> None:
    try:
        parsed = parse_resolution(value)
    except GeosegError:
        assert value in {"coarse", "", "-1", "nan"} or (isinstance(value, float) and not 1e-4 <= value <= 1e6)
        return
    assert parsed == (value if value in {"model", "native", "finest"} else float(value))
