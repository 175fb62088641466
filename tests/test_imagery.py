from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from geoseg.imagery import Imagery

BYTES = Imagery(("red", "nir"), "uint8", (0, 255), (100.0, 50.0), (10.0, 20.0), 0.5)


@given(
    hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(0, 255, width=32)),
    hnp.arrays(np.bool_, (3, 4)),
)
def test_normalization_is_undone_by_its_inverse_and_zero_without_data(
    image_chw: NDArray[np.float32], valid_hw: NDArray[np.bool_]
) -> None:
    before = image_chw.copy()
    normalized_chw = BYTES.normalize(image_chw, valid_hw)
    assert normalized_chw.dtype == np.float32
    assert (normalized_chw[:, ~valid_hw] == 0).all()
    mean_c, std_c = np.array(BYTES.mean)[:, None, None], np.array(BYTES.std)[:, None, None]
    np.testing.assert_allclose((normalized_chw * std_c + mean_c)[:, valid_hw], image_chw[:, valid_hw], atol=1e-4)
    np.testing.assert_array_equal(image_chw, before)


@pytest.mark.parametrize("hidden", [np.nan, np.inf, -np.inf, 3e38])
def test_what_lies_under_nodata_is_never_seen(hidden: float) -> None:
    image_chw = np.full((2, 1, 2), 7, np.float32)
    image_chw[:, 0, 0] = hidden
    normalized_chw = BYTES.normalize(image_chw, np.array([[False, True]]))
    assert (normalized_chw[:, 0, 0] == 0).all()
    assert np.isfinite(normalized_chw).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": ()}, "band names"),
        ({"bands": ("red", "red")}, "band names"),
        ({"mean": (1.0,)}, "for each of 2 bands, got 1 and 2"),
        ({"std": (1.0, 0.0)}, "stds positive"),
        ({"mean": (1.0, float("nan"))}, "finite"),
        ({"value_range": (0, float("inf"))}, "finite"),
        ({"value_range": (5, 5)}, "low, high"),
        ({"ground_resolution_m": 0}, "positive metres"),
        ({"ground_resolution_m": float("nan")}, "positive metres"),
        ({"dtype": "byte?"}, "data type"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(BYTES, **change)  # type: ignore[arg-type]  # wrong values are the point


@pytest.mark.parametrize("change", [{"std": (1e-320,) * 3}, {"mean": (1e308,) * 3}, {"value_range": (0, 1e308)}])
def test_numbers_that_no_pixel_survives_are_refused(rgb: Imagery, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="32-bit"):
        replace(rgb, **change)
