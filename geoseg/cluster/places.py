"""Whether a cluster has room for the workers that are asked for, or can grow it."""

from collections.abc import Mapping
from typing import Any

import ray
from ray._private import state

from geoseg.errors import GeosegError
from geoseg.progress import warn


def places(resources: Mapping[str, float], threads: int, *, gpu: bool) -> int:
    """How many workers one machine has room for.

    Args:
        resources: What it has: "CPU" and "GPU".
        threads: CPUs of a worker.
        gpu: Whether each has a GPU.
    """
    room = int(resources.get("CPU", 0) // threads)
    return min(room, int(resources.get("GPU", 0))) if gpu else room


def nodes_with_room(threads: int, *, gpu: bool) -> frozenset[str]:
    """Ids of the machines that have room for a worker now, whatever else they do.

    Args:
        threads: CPUs of a worker.
        gpu: Whether each has a GPU.
    """
    return frozenset(node["NodeID"] for node in _nodes_alive() if places(node["Resources"], threads, gpu=gpu))


def refuse_too_many(workers: int, threads: int, *, gpu: bool) -> None:
    """Refuse what the cluster can never give; say so where it has to grow first.

    Args:
        workers: How many.
        threads: CPUs of each.
        gpu: Whether each has a GPU.

    Raises:
        GeosegError: It has no room for them, and does not grow, or not so far.
    """
    nodes = _nodes_alive()
    room = sum(places(node["Resources"], threads, gpu=gpu) for node in nodes)
    if room >= workers:
        return
    # What an autoscaler told the cluster about itself; nothing public says it.
    most = state.state.get_max_resources_from_cluster_config()
    each = f"{threads} CPU{'s' if threads > 1 else ''}{' and 1 GPU' if gpu else ''}"
    has = f"{len(nodes)} machine{'s' if len(nodes) != 1 else ''} with room for {room}"
    if most is None or places(most, threads, gpu=gpu) < workers:
        grown = "" if most is None else f", and grows to {places(most, threads, gpu=gpu)} at most"
        raise GeosegError(
            f"expected a cluster with room for {workers} workers of {each} each, it has {has}{grown}: ask for "
            f"fewer --workers{' or --threads' if threads > 1 else ''}{', or --device cpu' if gpu else ''}"
        )
    warn(f"the cluster has {has} of {workers} workers; waiting until it has grown")


def _nodes_alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]  # Ray's own
