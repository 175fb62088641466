"""How fast a model is: ground that its network covers in a second, measured."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geoseg.models.folding import fold_batch_norms
from geoseg.models.package import LoadedModel
from geoseg.predict import Numerics, Predictor, choose_device, choose_precision, tiles_at_once
from geoseg.threads import torch_threads
from geoseg.tiling import Lattice

_WARMING = 2
_TIMED = 7


@dataclass(frozen=True, slots=True)
class Speed:
    """Passes of a network over tiles, timed.

    Attributes:
        numerics: On what.
        lattice: The tiles.
        ground_resolution_m: Ground length of a pixel in metres.
        seconds: Of each pass, over as many tiles as a batch has.
        cpu_share: Of the time that its threads could have computed on a CPU, the share that they did; far below 1
            where other work ran beside it, which makes a model look slower than it is. None on other devices.
    """

    numerics: Numerics
    lattice: Lattice
    ground_resolution_m: float
    seconds: tuple[float, ...]
    cpu_share: float | None = None

    @property
    def ground_mpx_per_s(self) -> float:
        """Millions of pixels of ground a second, at the median of the passes.

        A tile covers the cell of the lattice that is its own; what it shares with its neighbours is cost.
        """
        ground_px = self.numerics.batch * self.lattice.stride_px**2
        return ground_px / 1e6 / statistics.median(self.seconds)

    @property
    def ground_km2_per_h(self) -> float:
        """The same in square kilometres an hour: what models of different resolutions can be compared by."""
        # A million pixels of one square metre are a square kilometre.
        return self.ground_mpx_per_s * self.ground_resolution_m**2 * 3600

    def to_json(self) -> dict[str, Any]:
        """What was measured, and on what."""
        return {
            "ground_mpx_per_s": self.ground_mpx_per_s,
            "ground_km2_per_h": self.ground_km2_per_h,
            "tile_px": self.lattice.tile_px,
            "overlap_px": self.lattice.overlap_px,
            "passes": len(self.seconds),
            "cpu_share": self.cpu_share,
            **self.numerics.fingerprint(),
        }


def numerics_here(device: str | None, threads: int | None) -> Numerics:
    """What `geoseg map` would compute with here.

    Args:
        device: As `--device`.
        threads: CPU threads; torch's present number when not given.

    Raises:
        GeosegError: This machine does not have the device.
    """
    chosen = choose_device(device)
    number = torch.get_num_threads() if threads is None else threads
    return Numerics(chosen, choose_precision(None, chosen), number, tiles_at_once(chosen))


def measure_speed(
    model: LoadedModel,
    device: str | None,
    threads: int | None,
    clock: Callable[[], float] = time.perf_counter,
    cpu_clock: Callable[[], float] = time.process_time,
) -> Speed:
    """Time the network of a model as `geoseg map` runs it, on noise: one worker, reading and writing apart.

    Eager torch with folded normalizations, the tiles of the model's card, and the precision and batch that
    `geoseg map` chooses for the device. What else the machine does meanwhile makes it slower.

    Args:
        model: The model.
        device: As `--device`.
        threads: CPU threads; torch's present number when not given.
        clock: Seconds since any moment.
        cpu_clock: Seconds of a CPU that this process has had.

    Raises:
        GeosegError: This machine does not have the device.
        ModelError: The network's answer is not finite.
    """
    numerics, tile = numerics_here(device, threads), model.card.tile
    with torch_threads(numerics.threads):
        predictor = Predictor(fold_batch_norms(model.build()), numerics)
        noise_nchw = torch.randn(numerics.batch, len(model.imagery.bands), tile.size_px, tile.size_px)
        pass_seconds(predictor, noise_nchw, _WARMING, 0, clock)
        had_s = cpu_clock()
        seconds = pass_seconds(predictor, noise_nchw, 0, _TIMED, clock)
        had_s = cpu_clock() - had_s
    could_s = math.fsum(seconds) * numerics.threads
    share = had_s / could_s if numerics.device == "cpu" and could_s > 0 else None
    lattice = Lattice(tile.size_px, tile.overlap_px)
    return Speed(numerics, lattice, model.imagery.ground_resolution_m, seconds, share)


def pass_seconds(
    predictor: Predictor,
    tiles_nchw: Tensor,
    warming: int,
    timed: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, ...]:
    """How long passes over the same batch of tiles take, with torch's present threads.

    Args:
        predictor: The network.
        tiles_nchw: float32 (tile, band, row, column), a full batch.
        warming: Passes before the first that counts.
        timed: Passes that count.
        clock: Seconds since any moment.

    Returns:
        Seconds of each that counts.
    """
    seconds = []
    for _ in range(warming + timed):
        start = clock()
        # Copying an answer waits until the device has it.
        predictor.logits(tiles_nchw).cpu()
        seconds.append(clock() - start)
    return tuple(seconds[warming:])
