"""Runs within an area of interest: what lies in it is as without it, and what lies outside is not done."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

import geoseg
from geoseg.errors import RunFolderError
from geoseg.io.aoi import read_aoi
from geoseg.labels import NODATA_CLASS
from geoseg.run import ArrayName, Run
from geoseg.verify import verify_run

ARRAYS: tuple[ArrayName, ...] = ("classes", "confidence", "probability")
TRIANGLE = shapely.Polygon([(320080, 2769900), (320590, 2769990), (320530, 2769620)])


@pytest.fixture(scope="module")
def aoi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("aoi") / "area.gpkg"
    geopandas.GeoDataFrame(geometry=[TRIANGLE], crs="EPSG:32640").to_file(path)
    return path


def mapped(scene: Path, model: Path, output: Path, aoi: Path | None, *, block_px: int = 512) -> Run[Path]:
    return geoseg.map_scenes(
        scene,
        output,
        model=model,
        aoi=aoi,
        local=True,
        probability=True,
        min_area=0,
        simplify=0,
        block_size=block_px,
    )


@pytest.fixture(scope="module")
def within(
    tmp_path_factory: pytest.TempPathFactory, patchwork_scene: Path, tiny_model: Path, aoi: Path
) -> Run[Path]:
    return mapped(patchwork_scene, tiny_model, tmp_path_factory.mktemp("within") / "run", aoi)


@pytest.mark.slow
def test_inside_all_is_as_without_an_area_and_outside_is_nodata(
    tmp_path: Path, within: Run[Path], patchwork_scene: Path, tiny_model: Path, aoi: Path
) -> None:
    everything = mapped(patchwork_scene, tiny_model, tmp_path / "everything", None)
    inside_hw = read_aoi(str(aoi), within.grid).mask(within.grid.window)
    for name in ARRAYS:
        expected = np.where(inside_hw, everything.array(name)[...], NODATA_CLASS)
        assert np.array_equal(within.array(name)[...], expected), name
    assert (np.asarray(within.array("classes")[...]) != NODATA_CLASS).any()
    # Of 2 x 2 blocks the lower ones are not touched.
    assert (within.record.blocks.total, everything.record.blocks.total) == (2, 4)
    assert within.record.blocks.done == 2
    assert within.status == "complete"
    verification = verify_run(within.path)
    assert (verification.differences, verification.missing_blocks) == ((), 0)


def test_blocks_change_no_byte(
    tmp_path: Path, within: Run[Path], patchwork_scene: Path, tiny_model: Path, aoi: Path
) -> None:
    other = mapped(patchwork_scene, tiny_model, tmp_path / "other", aoi, block_px=1024)
    for name in ARRAYS:
        assert np.array_equal(other.array(name)[...], within.array(name)[...])
    for layer, path in within.layers.items():
        assert other.layers[layer].read_bytes() == path.read_bytes()


def test_the_area_belongs_to_the_run(
    tmp_path: Path, within: Run[Path], patchwork_scene: Path, tiny_model: Path, aoi: Path
) -> None:
    same = tmp_path / "area.gpkg"
    geopandas.GeoDataFrame(geometry=[TRIANGLE], crs="EPSG:32640").to_file(same)
    again = mapped(patchwork_scene, tiny_model, within.path, same)
    assert again.record == within.record
    with pytest.raises(RunFolderError, match="aoi"):
        mapped(patchwork_scene, tiny_model, within.path, None)
    other = tmp_path / "other.geojson"
    other.write_text(json.dumps(shapely.geometry.mapping(shapely.box(54, 24, 56, 26))))
    with pytest.raises(RunFolderError, match=r"aoi\.name was area\.gpkg, is other\.geojson"):
        mapped(patchwork_scene, tiny_model, within.path, other)


def test_the_grid_knows_where_the_area_lies(within: Run[Path], aoi: Path) -> None:
    """Areas are those of the polygon, but for its edges."""
    inside_hw = read_aoi(str(aoi), within.grid).mask(within.grid.window)
    assert inside_hw.sum() == pytest.approx(TRIANGLE.area, rel=0.005)
