"""A Ray cluster of one machine, as `ray start --head` begins it: dashboard on loopback, a token for everything."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_S = 120.0


@dataclass(frozen=True, slots=True)
class Head:
    """A cluster that runs.

    Attributes:
        dashboard: http://HOST:PORT, where it takes jobs.
        gcs: HOST:PORT, where nodes and drivers join.
        token: What it wants to be shown.
        process: Id of the process that the others are below of.
    """

    dashboard: str
    gcs: str
    token: str
    process: int

    @property
    def environment(self) -> dict[str, str]:
        """For processes that it is to let in."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}


@contextmanager
def ray_head(cpus: int) -> Iterator[Head]:
    """A cluster of one node on this machine, with ports that were free."""
    gcs, dashboard, agent, client = _free_ports(4)
    token = secrets.token_hex(32)
    scripts = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        # Its jobs find the geoseg that is tested.
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    words = [
        *("--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs}", f"--num-cpus={cpus}"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
        *("--min-worker-port=0", "--max-worker-port=0", f"--object-store-memory={80 * 2**20}"),
    ]
    started = subprocess.Popen(
        [scripts / "ray", "start", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        _wait_for(dashboard, started)
        yield Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", token, started.pid)
    finally:
        # Ray ends what it started; what has not ended by then is not waited for.
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in taken]


def _wait_for(port: int, started: "subprocess.Popen[str]") -> None:
    until_s = time.monotonic() + _START_S
    while time.monotonic() < until_s:
        if started.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    os.killpg(started.pid, signal.SIGKILL)
    said = started.communicate()[0]
    raise RuntimeError(f"Ray did not start: {said[-2000:]}")
