"""Centres of objects and the pixels that vote for them: against a loop over everything, whole and in parts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.io.mosaic import OFFSET_STEPS
from geoseg.objects.centres import NO_CENTRE, NO_THING, centre_keys
from geoseg.objects.grouping import Grouping

Field = tuple[NDArray[np.uint8], NDArray[np.int16], NDArray[np.bool_]]


@st.composite
def fields(draw: st.DrawFn) -> Field:
    """Few levels of heat, so that there are many equals; offsets that lead anywhere, also far outside."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = np.array([0, 20, 26, 100, 100, 254, 255], np.uint8)
    heat_hw = rng.choice(levels, (height, width), p=[0.6, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])
    most = draw(st.sampled_from([8, 100, 32767]))
    offset_ahw = rng.integers(-most, most, (2, height, width), dtype=np.int16, endpoint=True)
    return heat_hw, offset_ahw, rng.random((height, width)) < 0.8


groupings = st.builds(
    Grouping,
    least_heat=st.sampled_from([1, 26, 101]),
    suppress_px=st.integers(0, 3),
    reach_px=st.integers(0, 6),
    capture_px=st.integers(0, 5),
)


def by_definition(field: Field, grouping: Grouping) -> NDArray[np.int64]:
    heat_hw, offset_ahw, is_thing_hw = field
    height, width = heat_hw.shape
    heat = {place: int(value) for place, value in np.ndenumerate(heat_hw) if value != 255}
    centres = [
        (row, col)
        for (row, col), value in heat.items()
        if value >= grouping.least_heat
        and not any(
            (other > value or (other == value and place < (row, col)))
            and max(abs(place[0] - row), abs(place[1] - col)) <= grouping.suppress_px
            for place, other in heat.items()
        )
    ]
    keys_hw = np.full((height, width), NO_THING, np.int64)
    reach = grouping.reach_px * OFFSET_STEPS
    for row, col in np.argwhere(is_thing_hw).tolist():
        down, right = np.clip(offset_ahw[:, row, col].astype(int), -reach, reach).tolist()
        near = [
            (
                (r * OFFSET_STEPS - row * OFFSET_STEPS - down) ** 2
                + (c * OFFSET_STEPS - col * OFFSET_STEPS - right) ** 2,
                r,
                c,
            )
            for r, c in centres
        ]
        near = [one for one in near if one[0] <= (grouping.capture_px * OFFSET_STEPS) ** 2]
        keys_hw[row, col] = 1 + min(near)[1] * width + min(near)[2] if near else NO_CENTRE
    return keys_hw


def keys(
    field: Field, grouping: Grouping, seen: Window | None = None, core: Window | None = None
) -> NDArray[np.int64]:
    height, width = field[0].shape
    seen = seen or Window(0, 0, height, width)
    at = seen.slices_in(Window(0, 0, height, width))
    core = core or seen
    within = core.slices_in(Window(0, 0, height, width))
    parts = field[0][at], field[1][:, *within], field[2][within]
    return centre_keys(*parts, seen, core, width, grouping)


@given(fields(), groupings)
@settings(max_examples=60)
def test_keys_are_those_of_the_definition(field: Field, grouping: Grouping) -> None:
    np.testing.assert_array_equal(keys(field, grouping), by_definition(field, grouping))


@given(fields(), groupings, st.data())
@settings(max_examples=60)
def test_a_part_with_its_halo_gives_what_the_whole_gives(
    field: Field, grouping: Grouping, data: st.DataObject
) -> None:
    height, width = field[0].shape
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    core = Window(row, col, data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col)))
    halo = grouping.halo_px
    top, left = max(row - halo, 0), max(col - halo, 0)
    bottom, right = min(core.row_stop + halo, height), min(core.col_stop + halo, width)
    seen = Window(top, left, bottom - top, right - left)
    whole_hw = keys(field, grouping)
    np.testing.assert_array_equal(
        keys(field, grouping, seen, core), whole_hw[core.slices_in(Window(0, 0, height, width))]
    )


def test_what_does_not_fit_together_is_refused() -> None:
    field = np.zeros((4, 5), np.uint8), np.zeros((2, 4, 5), np.int16), np.ones((4, 5), np.bool_)
    with pytest.raises(ValueError, match="expected heat of"):
        centre_keys(*field, Window(0, 0, 5, 4), Window(0, 0, 4, 5), 5, Grouping())
    with pytest.raises(ValueError, match="things and offsets of"):
        centre_keys(*field, Window(0, 0, 4, 5), Window(0, 0, 1, 1), 5, Grouping())
    with pytest.raises(ValueError, match="expected a core within"):
        centre_keys(*field, Window(2, 2, 4, 5), Window(0, 0, 4, 5), 9, Grouping())
    with pytest.raises(ValueError, match="least heat"):
        Grouping(least_heat=0)
