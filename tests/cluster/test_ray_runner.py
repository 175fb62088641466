"""Units on Ray actors: the same reports as the for loop, whatever dies on the way."""

import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

from geoseg.cluster.runner import RayRunner
from geoseg.errors import ModelError, SceneError
from geoseg.runner import ATTEMPTS, LocalRunner, Unit


@dataclass(frozen=True)
class Square:
    """Squares numbers; some numbers fail, some kill their process, once or always."""

    folder: str
    failing: frozenset[int] = frozenset()
    deadly: frozenset[int] = frozenset()
    deadly_once: frozenset[int] = frozenset()

    def open(self) -> Callable[[int], dict[str, Any]]:
        def work(number: int) -> dict[str, Any]:
            if number in self.failing:
                raise SceneError(f"{number} fails")
            first = Path(self.folder) / str(number)
            seen = first.exists()
            first.touch()
            if number in self.deadly or (number in self.deadly_once and not seen):
                os._exit(1)
            return {"square": number**2}

        return work


@dataclass(frozen=True)
class Unopenable:
    def open(self) -> Callable[[int], dict[str, Any]]:
        raise ModelError("there is no model here")


@dataclass(frozen=True)
class Meeting:
    """Two units have to be in the same process at the same time."""

    folder: str

    def open(self) -> Callable[[int], dict[str, Any]]:
        (Path(self.folder) / f"opened-{time.time_ns()}").touch()
        barrier = threading.Barrier(2)

        def work(_number: int) -> dict[str, Any]:
            barrier.wait(timeout=60)
            return {}

        return work


@dataclass(frozen=True)
class Surroundings:
    """Tells what a worker process looks like from inside."""

    disguised: str

    def open(self) -> Callable[[int], dict[str, Any]]:
        # Here, where one thread is: two that open their first files at once both register GDAL's drivers, and
        # either may then see one that the other has not yet put out (the product's own opening takes turns).
        try:
            with rasterio.open(self.disguised):
                opened = True
        except rasterio.errors.RasterioIOError:
            opened = False

        def work(_number: int) -> dict[str, Any]:
            return {"opened": opened, "threads": torch.get_num_threads(), "pid": os.getpid()}

        return work


def units(count: int) -> list[Unit[int]]:
    return [Unit(f"unit-{number}", number) for number in range(count)]


def test_reports_are_those_of_the_for_loop(ray_runner: RayRunner, tmp_path: Path) -> None:
    job = Square(str(tmp_path), failing=frozenset({3, 8}))
    reports = {report.key: report for report in ray_runner.run(job, units(20))}
    assert reports == {report.key: report for report in LocalRunner(backoff_s=()).run(job, units(20))}
    assert reports["unit-3"].attempts == ATTEMPTS
    assert reports["unit-3"].earlier == ("SceneError: 3 fails",) * 2


def test_a_unit_whose_process_dies_is_done_again(ray_runner: RayRunner, tmp_path: Path) -> None:
    job = Square(str(tmp_path), deadly_once=frozenset({2, 5}))
    reports = list(ray_runner.run(job, units(8)))
    assert len(reports) == 8
    assert {report.key: report.result.get("square") for report in reports} == {
        f"unit-{number}": number**2 for number in range(8)
    }


def test_a_unit_that_always_kills_its_process_is_named(ray_runner: RayRunner, tmp_path: Path) -> None:
    reports = {
        report.key: report for report in ray_runner.run(Square(str(tmp_path), deadly=frozenset({0})), units(1))
    }
    error = reports["unit-0"].error
    assert error is not None
    assert "process died" in error
    assert reports["unit-0"].attempts == ATTEMPTS


def test_the_neighbours_of_a_unit_that_kills_its_process_are_done(ray_runner: RayRunner, tmp_path: Path) -> None:
    reports = {
        report.key: report for report in ray_runner.run(Square(str(tmp_path), deadly=frozenset({5})), units(12))
    }
    assert len(reports) == 12
    assert [key for key, report in reports.items() if report.error is not None] == ["unit-5"]
    assert reports["unit-5"].attempts == ATTEMPTS


def test_a_job_that_cannot_be_opened_stops_with_its_own_error(ray_runner: RayRunner) -> None:
    with pytest.raises(ModelError, match=rf"^node {socket.gethostname()}: there is no model here$"):
        list(ray_runner.run(Unopenable(), units(3)))


def test_workers_skip_drivers_and_run_their_own_threads(ray_runner: RayRunner, tmp_path: Path) -> None:
    image = tmp_path / "secret.tif"
    with rasterio.open(image, "w", driver="GTiff", height=2, width=2, count=1, dtype="uint8") as file:
        file.write(np.ones((1, 2, 2), np.uint8))
    disguised = tmp_path / "scene.tif"
    disguised.write_text(
        '<VRTDataset rasterXSize="2" rasterYSize="2"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{image}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        "</VRTDataset>"
    )
    reports = list(ray_runner.run(Surroundings(str(disguised)), units(8)))
    assert not any(report.result["opened"] for report in reports)
    assert {report.result["threads"] for report in reports} == {1}
    assert os.getpid() not in {report.result["pid"] for report in reports}


def test_one_unit_is_read_while_another_is_computed(own_ray: None, tmp_path: Path) -> None:
    with RayRunner(1, 1, gpu=False) as runner:
        reports = list(runner.run(Meeting(str(tmp_path)), units(4)))
    assert [report.error for report in reports] == [None] * 4
    assert len(list(tmp_path.iterdir())) == 1, "opened once for both"


def test_a_callers_own_ray_is_used_and_left_running(ray_runner: RayRunner, tmp_path: Path) -> None:
    with RayRunner(1, 1, gpu=False) as guest:
        reports = list(guest.run(Square(str(tmp_path)), units(3)))
    assert [report.error for report in reports] == [None] * 3
    assert len(list(ray_runner.run(Square(str(tmp_path)), units(3)))) == 3


def test_it_runs_off_the_main_thread(ray_runner: RayRunner, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        reports = pool.submit(lambda: list(ray_runner.run(Square(str(tmp_path)), units(2)))).result()
    assert len(reports) == 2
