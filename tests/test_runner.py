"""The for loop that runs units: each reported once, failures retried later and named."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from geoseg.errors import SceneError, StoppedError
from geoseg.runner import ATTEMPTS, BACKOFF_S, LocalRunner, Unit, backoff_s


@dataclass
class Counting:
    """Doubles numbers; fails as often as told."""

    failures: dict[int, int] = field(default_factory=dict)
    error: type[Exception] = SceneError
    tried: list[int] = field(default_factory=list)

    def open(self) -> Callable[[int], dict[str, Any]]:
        def work(number: int) -> dict[str, Any]:
            self.tried.append(number)
            if self.tried.count(number) <= self.failures.get(number, 0):
                raise self.error(f"no {number}\ntoday")
            return {"double": 2 * number}

        return work


@dataclass
class Hours:
    """A clock that goes on a little with each look, and by sleeping."""

    now_s: float = 0.0
    slept_s: list[float] = field(default_factory=list)

    def clock(self) -> float:
        self.now_s += 0.01
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds

    def runner(self) -> LocalRunner:
        return LocalRunner(clock=self.clock, sleep=self.sleep)


def units(count: int) -> list[Unit[int]]:
    return [Unit(f"unit-{number}", number) for number in range(count)]


def test_every_unit_is_reported_once_in_order() -> None:
    reports = list(LocalRunner().run(Counting(), units(5)))
    assert [report.key for report in reports] == [f"unit-{number}" for number in range(5)]
    assert [report.result["double"] for report in reports] == [0, 2, 4, 6, 8]
    assert all(report.error is None and report.attempts == 1 for report in reports)


def test_a_passing_failure_is_tried_again() -> None:
    job = Counting(failures={2: ATTEMPTS - 1})
    reports = {report.key: report for report in Hours().runner().run(job, units(4))}
    assert all(report.error is None for report in reports.values())
    assert reports["unit-2"].attempts == ATTEMPTS
    assert reports["unit-2"].earlier == ("SceneError: no 2 today",) * (ATTEMPTS - 1)
    assert job.tried.count(1) == 1


def test_a_lasting_failure_is_named_in_one_line_and_the_rest_is_done() -> None:
    job = Counting(failures={1: 100})
    reports = {report.key: report for report in Hours().runner().run(job, units(3))}
    assert {key: report.error for key, report in reports.items()} == {
        "unit-0": None,
        "unit-1": "SceneError: no 1 today",
        "unit-2": None,
    }
    assert job.tried.count(1) == ATTEMPTS


def test_others_go_on_while_a_failed_unit_waits() -> None:
    hours, job = Hours(), Counting(failures={0: 100})
    keys = [report.key for report in hours.runner().run(job, units(4))]
    assert job.tried == [0, 1, 2, 3, 0, 0]
    assert keys == ["unit-1", "unit-2", "unit-3", "unit-0"]
    assert sum(hours.slept_s) == pytest.approx(sum(BACKOFF_S), abs=0.5)


def test_the_last_pause_holds_for_all_that_follow() -> None:
    assert [backoff_s((1.0, 4.0), attempts) for attempts in (1, 2, 3, 9)] == [1.0, 4.0, 4.0, 4.0]
    assert backoff_s((), 1) == 0.0


def test_a_bug_is_not_taken_for_a_bad_unit() -> None:
    with pytest.raises(KeyError):
        list(LocalRunner().run(Counting(failures={0: 1}, error=KeyError), units(1)))


def test_a_full_disk_stops_at_once() -> None:
    class Full(Counting):
        def open(self) -> Callable[[int], dict[str, Any]]:
            def work(number: int) -> dict[str, Any]:
                self.tried.append(number)
                raise OSError(28, "No space left on device")

            return work

    job = Full()
    with pytest.raises(OSError, match="No space left"):
        list(LocalRunner().run(job, units(3)))
    assert job.tried == [0]


def test_work_that_says_stop_stops_the_run() -> None:
    job = Counting(failures={0: 1}, error=StoppedError)
    with pytest.raises(StoppedError):
        list(LocalRunner().run(job, units(2)))
    assert job.tried == [0]


def test_nothing_to_do_opens_nothing() -> None:
    class Closed:
        def open(self) -> Callable[[int], dict[str, Any]]:
            raise AssertionError("opened")

    assert list(LocalRunner().run(Closed(), [])) == []
