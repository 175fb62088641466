"""Runs on a grid in another CRS than the scene's."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
from pyogrio import read_dataframe

import geoseg
from geoseg.run import Run
from geoseg.verify import verify_run


def mapped(scene: Path, model: Path, output: Path, block_px: int) -> Run:
    return geoseg.map_scenes(
        scene,
        output,
        model=model,
        crs="EPSG:3857",
        align=True,
        local=True,
        min_area=0,
        simplify=0,
        block_size=block_px,
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the scene is in")
def test_a_run_on_a_grid_in_another_crs_is_seamless_and_in_its_place(
    tmp_path: Path, patchwork_scene: Path, tiny_model: Path
) -> None:
    with pytest.warns(UserWarning, match="Pseudo-Mercator"):
        run = mapped(patchwork_scene, tiny_model, tmp_path / "run", 512)
    with pytest.warns(UserWarning, match="distorts"):
        other = mapped(patchwork_scene, tiny_model, tmp_path / "other", 1024)
    assert run.grid.crs == "EPSG:3857"
    assert run.record.blocks.total > other.record.blocks.total
    for name in ("classes", "confidence"):
        assert np.array_equal(run.array(name)[...], other.array(name)[...])
    for layer, path in run.layers.items():
        assert other.layers[layer].read_bytes() == path.read_bytes()
    assert not verify_run(run.path).differences
    with rasterio.open(patchwork_scene) as scene, rasterio.open(run.class_raster) as classes:
        assert classes.crs == "EPSG:3857"
        # Data lies where the scene's data lies, but for the pixels on its edge.
        warped_hw = np.zeros(classes.shape, np.uint8)
        rasterio.warp.reproject(
            scene.dataset_mask(),
            warped_hw,
            src_transform=scene.transform,
            src_crs=scene.crs,
            dst_transform=classes.transform,
            dst_crs=classes.crs,
        )
        assert np.mean((warped_hw > 0) != (classes.read(1) != 255)) < 0.01
    frame = read_dataframe(run.geopackage, layer="buildings")
    assert frame.crs == "EPSG:3857"
    # Areas are those on the ellipsoid; in the plane of this CRS they are a fifth larger here.
    assert frame.area_m2.sum() == pytest.approx(frame.area.sum() / 1.21, rel=0.02)
