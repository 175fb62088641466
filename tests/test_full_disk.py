"""A disk that fills up, at any stage, stops the run with exit code 4; with room, the same command ends it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from geoseg import cli

SIZE_KIB = 4096


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 4 MiB of its own; only root may mount one."""
    disk = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_KIB}k", "geoseg-test", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def run(monkeypatch: pytest.MonkeyPatch, scene: Path, output: Path, model: Path) -> int:
    options = ["--local", "--probability", "--min-area", "0", "--simplify", "0"]
    arguments = ["geoseg", "map", scene, "-o", output, "--model", model, *options]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return 0 if left.value.code is None else int(left.value.code)


def contents(folder: Path) -> dict[str, bytes]:
    kept = [folder / "classes.tif", folder / "preview.png", *(folder / "layers").iterdir()]
    kept += [file for file in (folder / "mosaic.zarr").rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in kept}


def test_a_full_disk_stops_resumably_wherever_it_happens(
    small_disk: Path,
    tmp_path: Path,
    write_raster: object,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert callable(write_raster)
    patches_chw = np.random.default_rng(3).integers(0, 256, (3, 6, 6)).repeat(20, axis=1).repeat(20, axis=2)
    scene = write_raster(patches_chw.astype(np.uint8))
    undisturbed, output, filler = tmp_path / "run", small_disk / "run", small_disk / "filler"
    assert run(monkeypatch, scene, undisturbed, tiny_model) == 0
    stages: list[int] = []
    for room_kib in (0, 60, 120, 240, 300, 360, 480, 960, 2400):
        free = os.statvfs(small_disk)
        filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - room_kib * 1024)))
        capsys.readouterr()
        code = run(monkeypatch, scene, output, tiny_model)
        filler.unlink()
        if code == 0:
            break
        assert code == 4
        said = capsys.readouterr().err
        assert "make room" in said
        assert "run the same command again" in said
        stages.append(len({file.parent.name for file in output.rglob("ledger/*/*.json")}))
    assert len(set(stages)) >= 2, "it stopped at several stages"
    assert run(monkeypatch, scene, output, tiny_model) == 0
    assert contents(output) == contents(undisturbed)
