"""Loops compiled where nothing can be kept of them."""

from typing import Any

import pytest
from numba import njit

from geoseg.compiled import compiled


def test_a_loop_that_cannot_be_kept_is_compiled_all_the_same() -> None:
    scope: dict[str, Any] = {}
    exec("def doubled(number):\n    return 2 * number\n", scope)  # noqa: S102  # has no file to keep it beside
    with pytest.raises(RuntimeError, match="cannot cache"):
        njit(cache=True)(scope["doubled"])
    loop = compiled(scope["doubled"])
    assert loop(21) == 42
    assert len(loop.nopython_signatures) == 1
