"""Hostile scenes and a full disk inside Ray's workers, where nobody looks."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from geoseg.cluster.runner import RayRunner
from geoseg.errors import SceneError
from geoseg.io.drivers import open_raster
from geoseg.runner import Unit, is_disk_full

WriteRaster = Callable[..., Path]


@dataclass(frozen=True)
class OpenScenes:
    """Opens paths as a worker does, and as one would that forgot to name the drivers."""

    def open(self) -> Callable[[str], dict[str, Any]]:
        def work(path: str) -> dict[str, Any]:
            refusal, opened = None, True
            try:
                open_raster(path).close()
            except SceneError as error:
                refusal = str(error)
            try:
                rasterio.open(path).close()
            except rasterio.errors.RasterioIOError:
                opened = False
            return {"refusal": refusal, "opened": opened}

        return work


@dataclass(frozen=True)
class FillDisk:
    def open(self) -> Callable[[int], dict[str, Any]]:
        def work(_number: int) -> dict[str, Any]:
            raise OSError(errno.ENOSPC, "No space left on device")

        return work


def test_programs_in_disguise_do_not_run_in_a_worker(
    ray_runner: RayRunner, tmp_path: Path, write_raster: WriteRaster
) -> None:
    honest = write_raster(np.ones((3, 64, 64), np.uint8))
    band = f"<SimpleSource><SourceFilename>{honest}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
    inline = (
        '<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1">'
        f"{band}</VRTRasterBand></VRTDataset>"
    )
    vrt, mrf, written = tmp_path / "vrt.tif", tmp_path / "mrf.tif", tmp_path / "written"
    vrt.write_text(inline)
    mrf.write_text(
        f"<MRF_META><CachedSource><Source>{honest}</Source></CachedSource><Raster>"
        f'<Size x="64" y="64" c="3"/><PageSize x="64" y="64" c="3"/><DataFile>{written}</DataFile>'
        f"<IndexFile>{written}</IndexFile></Raster></MRF_META>"
    )
    scenes = {"honest": str(honest), "vrt": str(vrt), "mrf": str(mrf), "inline": inline}
    reports = {
        report.key: report.result
        for report in ray_runner.run(OpenScenes(), [Unit(name, scene) for name, scene in scenes.items()])
    }
    assert reports["honest"] == {"refusal": None, "opened": True}
    for name in ("vrt", "mrf", "inline"):
        assert reports[name]["refusal"] is not None
        assert not reports[name]["opened"], f"{name}: a driver that runs it is there"
    assert not written.exists()


def test_a_full_disk_in_a_worker_stops_the_run(ray_runner: RayRunner) -> None:
    with pytest.raises(OSError, match="No space left") as stopped:
        list(ray_runner.run(FillDisk(), [Unit("one", 1), Unit("two", 2)]))
    assert is_disk_full(stopped.value)
