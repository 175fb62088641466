"""The names under which Prometheus finds geoseg's numbers."""

from geoseg.cluster.metrics import COUNTERS, GAUGES, HISTOGRAMS, WORK


def exported() -> dict[str, frozenset[str]]:
    """Labels that geoseg gives, by the name that Ray exports (tests/cluster/test_metrics.py asks a real one)."""
    names = dict.fromkeys((f"ray_{name}_total" for name in COUNTERS), frozenset({WORK}))
    names |= dict.fromkeys((f"ray_{name}" for name in GAUGES), frozenset({WORK}))
    names |= {f"ray_{name}_{part}": frozenset({WORK}) for name in HISTOGRAMS for part in ("count", "sum")}
    return names | dict.fromkeys((f"ray_{name}_bucket" for name in HISTOGRAMS), frozenset({WORK, "le"}))
