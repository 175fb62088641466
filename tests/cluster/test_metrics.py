"""What a run tells who watches: counters, gauges and histograms from the reports."""

import re
import time
import urllib.request
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pytest
import ray
from exported import exported
from hypothesis import given
from hypothesis import strategies as st

from geoseg.cluster.metrics import COUNTERS, GAUGES, HISTOGRAMS, Metrics, RayInstruments
from geoseg.runner import Report


@dataclass
class Recorded:
    """Keeps what is told."""

    counters: Counter[str] = field(default_factory=Counter)
    gauges: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    jobs: set[str] = field(default_factory=set)

    def count(self, name: str, value: float, job: str) -> None:
        self.jobs.add(job)
        self.counters[name] += int(value)

    def gauge(self, name: str, value: float, job: str) -> None:
        self.jobs.add(job)
        self.gauges[name] = value

    def observe(self, name: str, value: float, job: str) -> None:
        self.jobs.add(job)
        self.histograms[name].append(value)


PARTS = st.dictionaries(
    st.sampled_from(["tiles", "cached", "seconds", "read_s", "infer_s", "write_s", "wait_s"]), st.integers(0, 9)
)
REPORTS = st.lists(
    st.builds(
        Report,
        key=st.just("a"),
        error=st.sampled_from([None, "fails"]),
        result=PARTS,
        earlier=st.lists(st.just("died"), max_size=3).map(tuple),
    ),
    max_size=20,
)


@given(REPORTS)
def test_sums_are_those_of_the_reports(reports: list[Report]) -> None:
    recorded = Recorded()
    metrics = Metrics(recorded, "PredictBlocks", clock=lambda: 0.0)
    for report in reports:
        metrics.report(report)
    done = [report for report in reports if report.error is None]
    assert recorded.counters["geoseg_blocks"] == len(done)
    assert recorded.counters["geoseg_quarantined"] == len(reports) - len(done)
    assert recorded.counters["geoseg_retries"] == sum(len(report.earlier) for report in reports)
    assert recorded.counters["geoseg_tiles"] == sum(report.result.get("tiles", 0) for report in done)
    assert recorded.counters["geoseg_tiles_cached"] == sum(report.result.get("cached", 0) for report in done)
    for part in ("read", "infer", "write", "wait"):
        seconds = [report.result[f"{part}_s"] for report in done if f"{part}_s" in report.result]
        assert recorded.histograms[f"geoseg_{part}_seconds"] == seconds
    assert recorded.jobs <= {"PredictBlocks"}


def test_the_busy_fraction_is_the_models_share_of_the_workers_time() -> None:
    now_s = 0.0
    recorded = Recorded()
    metrics = Metrics(recorded, "PredictBlocks", clock=lambda: now_s)
    for _ in range(3):
        now_s += 10
        metrics.report(Report("a", None, {"infer_s": 15.0}))
        metrics.state(waiting=7, workers=2)
    assert recorded.gauges["geoseg_busy_fraction"] == pytest.approx(0.75)
    assert recorded.gauges["geoseg_queue_depth"] == 7
    assert recorded.gauges["geoseg_workers"] == 2


def test_the_state_is_told_every_few_seconds_and_at_the_end() -> None:
    now_s = 0.0
    recorded = Recorded()
    metrics = Metrics(recorded, "PredictBlocks", clock=lambda: now_s)
    metrics.state(waiting=7, workers=0)
    assert recorded.gauges == {}
    metrics.report(Report("a", None, {"infer_s": 1.0}))
    metrics.state(waiting=0, workers=0, last=True)
    assert recorded.gauges == {"geoseg_queue_depth": 0, "geoseg_workers": 0}


@pytest.mark.slow
def test_prometheus_finds_every_number_under_its_name(own_ray: None) -> None:
    instruments = RayInstruments()
    for names, tell in (
        (COUNTERS, instruments.count),
        (GAUGES, instruments.gauge),
        (HISTOGRAMS, instruments.observe),
    ):
        for name in names:
            tell(name, 1.0, "PredictBlocks")
    (node,) = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's own
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    known = exported()
    found: dict[str, set[str]] = {}
    until_s = time.monotonic() + 100  # Ray tells its numbers every 10 s
    while set(found) < set(known) and time.monotonic() < until_s:
        with urllib.request.urlopen(address, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        told = [re.fullmatch(r"(ray_geoseg_\w+)\{(.*)\} \S+", line) for line in lines]
        found = {one[1]: set(re.findall(r'(\w+)="', one[2])) for one in told if one is not None}
        time.sleep(1)
    assert set(found) == set(known)
    for name, labels in known.items():
        assert labels <= found[name]
        assert "job" not in found[name]  # which Prometheus gives itself
