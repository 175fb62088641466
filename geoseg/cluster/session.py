"""A Ray to work on: the caller's, a running cluster, or a local one for a while."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import ray

from geoseg.cluster.entry import keep_token_private, refusal, refuse_silence

_OBJECT_STORE_BYTES = 80 * 2**20
"""Ray's least, nearly: nothing but addresses and reports goes through it."""


@contextmanager
def ray_session(address: str | None, cpus: int) -> Iterator[bool]:
    """Be connected to Ray for a while; what was started for it is ended with it, with all actors.

    Args:
        address: A running cluster ("auto", HOST:PORT), or None for a Ray of this process's own.
        cpus: What a Ray of its own has to give.

    Yields:
        Whether the connection is this one's to end; a caller's own, from Python, is used and left running.

    Raises:
        GeosegError: The address is none, or the cluster has other versions or wants a token.
        StoppedError: No cluster answers, or Ray does not start.
    """
    if ray.is_initialized():
        yield False
        return
    if address is None:
        keep_token_private()
    else:
        refuse_silence(address)
    # Nothing leaves the machine unasked.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local: dict[str, Any] = {}
    if address is None:
        local = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        with _sigterm_kept():
            # Not None as address: that would join whatever cluster RAY_ADDRESS names.
            ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **local)
    except SystemExit as stop:  # Ray's answer to SIGTERM while it starts
        ray.shutdown()
        raise KeyboardInterrupt from stop
    except KeyboardInterrupt:
        ray.shutdown()
        raise
    except Exception as error:
        said = refusal(error, address)
        if said is None:
            raise
        raise said from error
    # Ray tells of dead workers on stdout, which is the command's for its result.
    with redirect_stdout(sys.stderr):
        try:
            yield True
        finally:
            ray.shutdown()


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """ray.init takes SIGTERM for itself; who set it before decides what it means."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # elsewhere neither Ray nor we may set it
            signal.signal(signal.SIGTERM, before)
