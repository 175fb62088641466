"""Ground that a network covers in a second: the arithmetic, on a clock of the test's own."""

import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import GeosegError
from geoseg.models.package import load_package
from geoseg.predict import Numerics, Predictor
from geoseg.speed import Speed, measure_speed, pass_seconds
from geoseg.tiling import Lattice


class Clock:
    """Stands still but for what it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


SECONDS = st.lists(st.floats(0.01, 10), min_size=1, max_size=9)

# Side and overlap, of which one is at most the half of the other, and even.
TILES = st.integers(4, 64).flatmap(lambda n: st.tuples(st.just(4 * n), st.integers(0, n).map(lambda m: 2 * m)))


@given(SECONDS, st.integers(0, 3), st.integers(1, 3))
def test_each_pass_but_the_first_ones_is_timed(seconds: list[float], warming: int, batch: int) -> None:
    clock, passes = Clock(), iter([77.0] * warming + seconds)
    seen: list[tuple[int, ...]] = []

    def network(tiles_nchw: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(tiles_nchw.shape))
        clock.now += next(passes)
        return tiles_nchw

    predictor = Predictor(network, Numerics("cpu", "fp32", 1, batch))
    found = pass_seconds(predictor, torch.zeros(batch, 3, 4, 4), warming, len(seconds), clock)
    assert found == pytest.approx(seconds)
    assert seen == [(batch, 3, 4, 4)] * (warming + len(seconds))


@given(
    SECONDS,
    TILES,
    st.integers(1, 4),
    st.sampled_from([0.3, 1.0, 2.0]),
)
def test_ground_is_what_the_lattice_needs_its_tiles_for(
    seconds: list[float], tile: tuple[int, int], batch: int, resolution_m: float
) -> None:
    """Oracle: a scene of whole cells, each of its tiles at the median pass's share."""
    lattice = Lattice(*tile)
    height, width = 3 * lattice.stride_px, 5 * lattice.stride_px
    rows, cols = lattice.count(height, width)
    duration_s = rows * cols * statistics.median(seconds) / batch
    speed = Speed(Numerics("cpu", "fp32", 1, batch), lattice, resolution_m, tuple(seconds))
    assert speed.ground_mpx_per_s * duration_s == pytest.approx(height * width / 1e6)
    area_km2 = height * resolution_m / 1000 * width * resolution_m / 1000
    assert speed.ground_km2_per_h * duration_s / 3600 == pytest.approx(area_km2)


def test_a_model_is_timed_at_the_tiles_of_its_card(tiny_model: object) -> None:
    package = load_package(tiny_model)  # type: ignore[arg-type]
    clock, before = Clock(), torch.get_num_threads()

    def ticking() -> float:
        clock.now += 0.5
        return clock.now

    # Of the seven passes that count, 0.5 s each, it had a CPU for 1.4 s.
    speed = measure_speed(package, "cpu", 1, ticking, iter([5.0, 6.4]).__next__)
    assert torch.get_num_threads() == before
    tile = package.card.tile
    assert (speed.lattice.tile_px, speed.lattice.overlap_px) == (tile.size_px, tile.overlap_px)
    assert set(speed.seconds) == {0.5}
    said = speed.to_json()
    assert said["ground_mpx_per_s"] == speed.lattice.stride_px**2 / 1e6 / 0.5
    assert (said["device"], said["threads"]) == ("cpu", 1)
    assert said["cpu_share"] == pytest.approx(1.4 / 3.5)
    with pytest.raises(GeosegError, match="expected --device cpu, cuda or cuda:N, got tpu"):
        measure_speed(package, "tpu", 1)
