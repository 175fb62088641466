"""The doctor: well here, and what it says where something is wrong."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from geoseg.commands import doctor
from geoseg.commands.doctor import disk, library, memory, python, small_run, torchvision
from geoseg.io.formats import RASTER_DRIVERS


def test_the_doctor_finds_nothing_that_fails_here(tmp_path: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "mbrsc")
    done = subprocess.run(
        [sys.executable, "-m", "geoseg.cli", "doctor", "--json"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        # Ray's sockets need a short path, which a test's own folder is not.
        env={
            **os.environ,
            "GEOSEG_MODEL_PATH": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "RAY_TMPDIR": tempfile.gettempdir(),
        },
    )
    said = json.loads(done.stdout)
    found = {check["name"]: check for check in said["checks"]}
    assert not [check for check in said["checks"] if check["state"] == "fail"]
    assert done.returncode == 0
    assert {"geoseg", "python", "torch", "gdal", "ray", "gpu", "memory", "torchvision", "model", "run"} <= set(
        found
    )
    assert all(name in found["gdal"]["found"] for name in RASTER_DRIVERS)
    assert found["gdal"]["state"] == "ok"
    assert all((check["state"] == "ok") == (check["remedy"] is None) for check in said["checks"])
    assert [path.name for path in tmp_path.iterdir()] == ["mbrsc"]


def test_a_library_that_is_absent_or_broken_fails_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "brokenlib.py").write_text("raise ImportError('libcudart.so.99:\\n no such file')")
    for name in ("brokenlib", "absentlib"):
        check = library(name)
        assert check.state == "fail"
        assert "\n" not in check.found
        assert check.remedy is not None
        assert f"pip install --force-reinstall {name}" in check.remedy


@pytest.mark.parametrize(
    ("content", "state", "found"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "warn", "nms does not exist"),
        ("__version__ = '1.0'", "ok", "1.0, not needed"),
    ],
)
def test_a_broken_torchvision_is_a_warning(
    content: str, state: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torchvision.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    check = torchvision()
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    assert check.state == state
    assert found in check.found


def test_small_machines_are_warned_about(tmp_path: Path) -> None:
    assert [memory(count).state for count in (10**9, 10**10)] == ["warn", "ok"]
    assert [disk("here", tmp_path, count).state for count in (10**8, 10**10)] == ["warn", "ok"]
    assert [python(version).state for version in ((3, 11), (3, 10), (3, 14))] == ["ok", "warn", "warn"]


def test_a_run_that_fails_is_told_with_its_last_line(tmp_path: Path) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('error: the disk is full')"]
    check = small_run(failing)
    assert check.state == "fail"
    assert check.found == "exit code 1: error: the disk is full"
    idle = small_run([sys.executable, "-c", ""])
    assert (idle.state, idle.found) == ("fail", "no layers were written")


def test_the_exit_code_is_1_where_something_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**os.environ, "PYTHONPATH": "", "GEOSEG_MODEL_PATH": ""}
    code = (
        "import sys, geoseg.commands.doctor as doctor\n"
        "found = [doctor.Check('one', 'ok', 'well'), doctor.Check('two', 'fail', 'ill', 'mend')]\n"
        "doctor._checks = lambda: iter(found)\n"
        "doctor.doctor.main([])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["ok   one         well", "fail two         ill", f"{'':17}-> mend"]


def test_the_doctor_itself_loads_no_library_that_it_judges() -> None:
    code = f"import sys, {doctor.__name__}; print(*(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "rasterio", "ray", "zarr", "numpy", "scipy", "shapely", "pyogrio"} & set(loaded)
