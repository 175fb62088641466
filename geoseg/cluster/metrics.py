"""Numbers of a run for who watches the cluster (Prometheus reads them from Ray)."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ray.util.metrics import Counter, Gauge, Histogram

from geoseg.runner import Report

WORK = "work"
"""The tag of every number, which says what kind of work it is about. Prometheus has its own `job`."""

COUNTERS = {
    "geoseg_blocks": "Units of work that were finished",
    "geoseg_tiles": "Tiles that the model evaluated",
    "geoseg_tiles_cached": "Tiles that a worker still had",
    "geoseg_retries": "Units of work that were tried again",
    "geoseg_quarantined": "Units of work that were given up",
}
GAUGES = {
    "geoseg_busy_fraction": "Share of the workers' time in which the model computed",
    "geoseg_queue_depth": "Units of work that no worker has yet",
    "geoseg_workers": "Workers that answer",
}
HISTOGRAMS = {
    "geoseg_read_seconds": "Reading of a unit of work",
    "geoseg_infer_seconds": "Model and blending of a unit of work",
    "geoseg_write_seconds": "Writing of a unit of work",
    "geoseg_wait_seconds": "The model's waiting for pixels, of a unit of work",
}

_SECONDS = [0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]
"""Bounds of the histograms."""

_SLICE_S = 5.0
_SLICES = 24
"""The busy fraction is that of the last two minutes, in slices of five seconds."""


class Instruments(Protocol):
    """Where the numbers go."""

    def count(self, name: str, value: float, job: str) -> None:
        """Add to a counter."""
        ...

    def gauge(self, name: str, value: float, job: str) -> None:
        """Set a gauge."""
        ...

    def observe(self, name: str, value: float, job: str) -> None:
        """Add to a histogram."""
        ...


class RayInstruments:
    """Ray's own instruments; Ray must have been started."""

    def __init__(self) -> None:
        self._counters = {name: Counter(name, text, (WORK,)) for name, text in COUNTERS.items()}
        self._gauges = {name: Gauge(name, text, (WORK,)) for name, text in GAUGES.items()}
        self._histograms = {name: Histogram(name, text, _SECONDS, (WORK,)) for name, text in HISTOGRAMS.items()}

    def count(self, name: str, value: float, job: str) -> None:
        """Add to a counter."""
        self._counters[name].inc(value, {WORK: job})

    def gauge(self, name: str, value: float, job: str) -> None:
        """Set a gauge."""
        self._gauges[name].set(value, {WORK: job})

    def observe(self, name: str, value: float, job: str) -> None:
        """Add to a histogram."""
        self._histograms[name].observe(value, {WORK: job})


class Metrics:
    """Turns reports into numbers.

    Args:
        instruments: Where they go.
        job: The kind of work, which every number is tagged with.
        clock: Seconds that only grow.
    """

    def __init__(self, instruments: Instruments, job: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._instruments = instruments
        self._job = job
        self._clock = clock
        self._busy_s: deque[tuple[float, float]] = deque(maxlen=_SLICES)
        self._slice_start_s = clock()
        self._slice_infer_s = 0.0

    def report(self, report: Report) -> None:
        """Count a unit that is done or given up; numbers that its result lacks are left out."""
        out, job = self._instruments, self._job
        if report.earlier:
            out.count("geoseg_retries", len(report.earlier), job)
        if report.error is not None:
            out.count("geoseg_quarantined", 1, job)
            return
        out.count("geoseg_blocks", 1, job)
        result = report.result
        for key, name in (("tiles", "geoseg_tiles"), ("cached", "geoseg_tiles_cached")):
            if _number(result, key) > 0:
                out.count(name, _number(result, key), job)
        for part in ("read", "infer", "write", "wait"):
            if f"{part}_s" in result:
                out.observe(f"geoseg_{part}_seconds", _number(result, f"{part}_s"), job)
        self._slice_infer_s += _number(result, "infer_s")

    def state(self, waiting: int, workers: int, *, last: bool = False) -> None:
        """Tell how the run stands, every few seconds however often it is called.

        Args:
            waiting: Units that no worker has.
            workers: Workers that answer.
            last: Whether this is the end, which is told at once.
        """
        now_s = self._clock()
        elapsed_s = now_s - self._slice_start_s
        if elapsed_s < _SLICE_S and not last:
            return
        self._busy_s.append((elapsed_s * workers, self._slice_infer_s))
        self._slice_start_s, self._slice_infer_s = now_s, 0.0
        worker_s = sum(seconds for seconds, _ in self._busy_s)
        infer_s = sum(seconds for _, seconds in self._busy_s)
        self._instruments.gauge("geoseg_queue_depth", waiting, self._job)
        self._instruments.gauge("geoseg_workers", workers, self._job)
        if infer_s > 0 and worker_s > 0:
            self._instruments.gauge("geoseg_busy_fraction", min(infer_s / worker_s, 1.0), self._job)


def _number(result: Mapping[str, Any], key: str) -> float:
    return float(result.get(key) or 0.0)
