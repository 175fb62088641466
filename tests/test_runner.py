"""The for loop that runs units: each reported once, failures retried and named."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from geoseg.errors import SceneError
from geoseg.runner import ATTEMPTS, LocalRunner, Unit


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


def units(count: int) -> list[Unit[int]]:
    return [Unit(f"unit-{number}", number) for number in range(count)]


def test_every_unit_is_reported_once_in_order() -> None:
    reports = list(LocalRunner().run(Counting(), units(5)))
    assert [report.key for report in reports] == [f"unit-{number}" for number in range(5)]
    assert [report.result["double"] for report in reports] == [0, 2, 4, 6, 8]
    assert all(report.error is None and report.attempts == 1 for report in reports)


def test_a_passing_failure_is_tried_again() -> None:
    job = Counting(failures={2: ATTEMPTS - 1})
    reports = list(LocalRunner().run(job, units(4)))
    assert all(report.error is None for report in reports)
    assert reports[2].attempts == ATTEMPTS
    assert job.tried.count(1) == 1


def test_a_lasting_failure_is_named_in_one_line_and_the_rest_is_done() -> None:
    job = Counting(failures={1: 100})
    reports = list(LocalRunner().run(job, units(3)))
    assert [report.error is None for report in reports] == [True, False, True]
    assert reports[1].error == "SceneError: no 1 today"
    assert job.tried.count(1) == ATTEMPTS


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


def test_nothing_to_do_opens_nothing() -> None:
    class Closed:
        def open(self) -> Callable[[int], dict[str, Any]]:
            raise AssertionError("opened")

    assert list(LocalRunner().run(Closed(), [])) == []
