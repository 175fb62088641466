"""What goes wrong around units: workers that hang, vanish, never start; runs that are left or terminated."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray

from geoseg.cluster.crew import Patience
from geoseg.cluster.dispatch import Rules
from geoseg.cluster.runner import RayRunner
from geoseg.errors import StoppedError
from geoseg.runner import Unit

AT_ONCE = Rules(backoff_s=(0.0,))


@dataclass(frozen=True)
class Nap:
    """Sleeps as long as the number says; the units in `hanging` for a minute, the first time."""

    folder: str
    seconds: float = 0.0
    hanging: frozenset[int] = frozenset()

    def open(self) -> Callable[[int], dict[str, Any]]:
        def work(number: int) -> dict[str, Any]:
            first = Path(self.folder) / str(number)
            seen = first.exists()
            first.touch()
            time.sleep(60 if number in self.hanging and not seen else self.seconds)
            return {"pid": os.getpid(), "tiles": 2}

        return work


def units(count: int) -> list[Unit[int]]:
    return [Unit(f"unit-{number}", number) for number in range(count)]


def test_a_worker_that_hangs_is_killed_and_its_unit_done_again(own_ray: None, tmp_path: Path) -> None:
    rules = Rules(backoff_s=(0.0,), hung_floor_s=3.0, hung_factor=1.0)
    job = Nap(str(tmp_path), hanging=frozenset({1}))
    with RayRunner(1, 1, gpu=False, rules=rules) as runner:
        reports = {report.key: report for report in runner.run(job, units(6))}
    assert [report.error for report in reports.values()] == [None] * 6
    assert "no answer for" in reports["unit-1"].earlier[0]
    assert reports["unit-1"].attempts == 2


def test_a_worker_that_will_not_come_back_is_replaced(own_ray: None, tmp_path: Path) -> None:
    with RayRunner(2, 1, gpu=False, rules=AT_ONCE) as runner:
        reports = runner.run(Nap(str(tmp_path), 0.05), units(30))
        got = [next(reports)]
        assert runner._crew is not None
        for worker in runner._crew.up():
            ray.kill(runner._crew.handle(worker))
        got += reports
    assert sorted(report.key for report in got) == sorted(unit.key for unit in units(30))
    assert all(report.error is None for report in got)


def test_with_too_few_cpus_the_run_says_so_and_goes_on(
    own_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RayRunner(6, 1, gpu=False, patience=Patience(start_s=0.5)) as runner:
        reports = list(runner.run(Nap(str(tmp_path), 0.3), units(30)))
    assert all(report.error is None for report in reports)
    warnings = [line for line in capsys.readouterr().err.splitlines() if "asked for" in line]
    assert len(warnings) == 1
    assert "asked for 6 workers of 1 CPU each; the cluster has 4 CPU" in warnings[0]


def test_without_any_worker_the_run_stops_and_says_so(own_ray: None, tmp_path: Path) -> None:
    patience = Patience(start_s=0.2, silence_s=1.0)
    with (
        RayRunner(1, 99, gpu=False, patience=patience) as runner,
        pytest.raises(StoppedError, match=r"no worker has answered for 1 s \(asked for 1 workers of 99 CPU"),
    ):
        list(runner.run(Nap(str(tmp_path)), units(2)))


def test_leaving_early_ends_what_is_at_work(own_ray: None, tmp_path: Path) -> None:
    with RayRunner(1, 1, gpu=False) as runner:
        reports = runner.run(Nap(str(tmp_path), hanging=frozenset({2, 3})), units(4))
        pid = next(reports).result["pid"]
        reports.close()
        deadline = time.monotonic() + 60
        while is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_alive(pid)
        again = list(runner.run(Nap(str(tmp_path)), units(3)))
    assert [report.error for report in again] == [None] * 3
    assert pid not in {report.result["pid"] for report in again}


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


SLEEPERS = """
import signal, sys, time
from geoseg.cluster.runner import RayRunner
from geoseg.runner import Unit

class Sleep:
    def __init__(self, begun):
        self.begun = begun

    def open(self):
        def work(number):
            open(self.begun, "a").close()
            time.sleep(600)
        return work

def leave(number, frame):
    # As the command does: Ray turns a SystemExit that reaches it within a call of its own into exit code 1.
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, leave)
try:
    with RayRunner(2, 1, gpu=False) as runner:
        list(runner.run(Sleep(sys.argv[1]), [Unit(str(number), number) for number in range(9)]))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_that_is_at_work(tmp_path: Path, number: int) -> None:
    begun = tmp_path / "begun"
    with subprocess.Popen([sys.executable, "-c", SLEEPERS, str(begun)], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 120
            while not begun.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            process.send_signal(number)
            assert process.wait(timeout=60) == 130
        finally:
            process.kill()


LOSSY = """
import os
os.environ["RAY_testing_rpc_failure_avoid_intra_node_failures"] = "0"
os.environ["RAY_testing_rpc_failure"] = (
    '{"CoreWorkerService.grpc_client.PushTask":{"num_failures":60,"req_failure_prob":10,'
    '"resp_failure_prob":20,"in_flight_failure_prob":0}}'
)
from geoseg.cluster.runner import RayRunner
from geoseg.runner import Unit

class Square:
    def open(self):
        return lambda number: {"square": number**2}

with RayRunner(2, 1, gpu=False) as runner:
    reports = list(runner.run(Square(), [Unit(str(number), number) for number in range(300)]))
assert sorted(report.result["square"] for report in reports) == [number**2 for number in range(300)]
print("retries", sum(len(report.earlier) for report in reports))
"""


@pytest.mark.slow
def test_lost_messages_lose_no_unit() -> None:
    done = subprocess.run([sys.executable, "-c", LOSSY], check=False, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 0, "no failure was injected"


DEADLY = """
import os, sys
from geoseg.cluster.runner import RayRunner
from geoseg.runner import Unit

class Die:
    def __init__(self, seen):
        self.seen = seen

    def open(self):
        def work(number):
            if not os.path.exists(self.seen):
                open(self.seen, "w").close()
                os._exit(1)
            return {}
        return work

with RayRunner(1, 1, gpu=False) as runner:
    reports = list(runner.run(Die(sys.argv[1]), [Unit("one", 1)]))
print(reports[0].error, len(reports[0].earlier))
"""


@pytest.mark.slow
def test_stdout_is_left_alone_when_a_worker_dies(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DEADLY, str(tmp_path / "seen")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=250)
    assert done.stdout == "None 1\n", done.stderr
