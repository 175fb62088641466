"""Runs over several scenes: the same bytes whatever their order and the blocks, and every feature has its scene."""

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import rasterio
import rasterio.features
import rasterio.warp
from affine import Affine
from click.testing import CliRunner
from numpy.typing import NDArray
from pyogrio import read_dataframe

import geoseg
from geoseg.commands.map import map_command
from geoseg.errors import RunFolderError, SceneError
from geoseg.io.record import published_schema
from geoseg.labels import NODATA_CLASS
from geoseg.run import Run
from geoseg.verify import verify_run

WriteRaster = Callable[..., Path]

pytestmark = [
    pytest.mark.filterwarnings("ignore:the scene is in"),
    pytest.mark.filterwarnings("ignore:the scene's pixels are resampled"),
]


def patches(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    small = rng.integers(1, 256, (3, -(-height // 40), -(-width // 40)))
    return small.repeat(40, axis=1).repeat(40, axis=2)[:, :height, :width].astype(np.uint8)


@pytest.fixture(scope="module")
def scenes(write_raster: WriteRaster) -> list[Path]:
    """Two that overlap on one lattice, one in the next UTM zone over both, one in degrees far to the south."""
    first, second = patches(1, 300, 400), patches(2, 350, 420)
    first[:, 100:140, 200:260] = 0
    x, y = rasterio.warp.transform("EPSG:32640", "EPSG:32639", [320250.0], [2769750.0])
    lon, lat = rasterio.warp.transform("EPSG:32640", "EPSG:4326", [320300.0], [2750000.0])
    west, south = Affine(1.1, 0, x[0], 0, -1.1, y[0]), Affine(1e-5, 0, lon[0], 0, -1e-5, lat[0])
    paths = [
        write_raster(first, "first.tif", nodata=0),
        write_raster(second, "second.tif", transform=Affine(1, 0, 320300, 0, -1, 2769900), nodata=0),
        write_raster(patches(3, 200, 260), "zone39.tif", crs="EPSG:32639", transform=west),
        write_raster(patches(4, 90, 110), "south.tif", crs="EPSG:4326", transform=south),
    ]
    with rasterio.open(paths[1], "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2021:02:03 04:05:06")
    return paths


def mapped(scenes: Sequence[Path], output: Path, model: Path, **options: object) -> Run[Path]:
    defaults = {"model": model, "local": True, "min_area": 0, "simplify": 0, "block_size": 512}
    return geoseg.map_scenes(list(scenes), output, **{**defaults, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(scenes: list[Path], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run[Path]:
    return mapped(scenes, tmp_path_factory.mktemp("region") / "run", tiny_model)


def content(run: Run[Path]) -> dict[str, bytes]:
    kept = [run.class_raster, run.preview, *sorted((run.path / "layers").iterdir())]
    kept += [file for file in sorted(run.path.glob("mosaic.zarr/**/*")) if file.is_file()]
    return {str(file.relative_to(run.path)): file.read_bytes() for file in kept}


def test_neither_the_order_of_scenes_nor_a_repeated_one_changes_a_byte(
    run: Run[Path], scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    shuffled = [scenes[number] for number in (2, 0, 3, 1, 0)]
    assert content(mapped(shuffled, tmp_path / "run", tiny_model)) == content(run)
    assert not verify_run(run.path).differences


@pytest.mark.slow
def test_nor_do_blocks_change_a_pixel(run: Run[Path], scenes: list[Path], tiny_model: Path, tmp_path: Path) -> None:
    other = mapped(scenes, tmp_path / "run", tiny_model, block_size=1024)
    assert run.record.blocks.total > other.record.blocks.total
    for name in ("classes", "confidence"):
        assert np.array_equal(run.array(name)[...], other.array(name)[...])
    for layer, path in run.layers.items():
        assert other.layers[layer].read_bytes() == path.read_bytes()


def test_blocks_lie_where_scenes_do(run: Run[Path]) -> None:
    """Twenty kilometres without a scene lie between the last and the others."""
    assert run.grid.crs == "EPSG:32640"
    assert run.grid.height > 20_000
    assert run.record.blocks.total <= 12


def test_data_is_where_a_scene_has_data_and_nowhere_else(run: Run[Path], scenes: list[Path]) -> None:
    classes_hw = np.asarray(run.array("classes")[...])
    covered_hw = np.zeros(classes_hw.shape, np.uint8)
    with rasterio.open(run.class_raster) as grid:
        transform, crs = grid.transform, grid.crs
    for path in scenes:
        with rasterio.open(path) as scene:
            own_hw = np.zeros(classes_hw.shape, np.uint8)
            rasterio.warp.reproject(
                scene.dataset_mask(),
                own_hw,
                src_transform=scene.transform,
                src_crs=scene.crs,
                dst_transform=transform,
                dst_crs=crs,
            )
            covered_hw |= own_hw
    differs = int(((covered_hw > 0) != (classes_hw != NODATA_CLASS)).sum())
    assert differs < 0.01 * int((covered_hw > 0).sum())


def test_each_feature_names_the_scene_of_most_of_its_pixels_and_its_date(run: Run[Path]) -> None:
    scene_hw = np.asarray(run.array("scene")[...])
    classes_hw = np.asarray(run.array("classes")[...])
    assert np.array_equal(scene_hw == 65535, classes_hw == NODATA_CLASS)
    names: list[str] = run.array("scene").attrs["scenes"]  # type: ignore[assignment]  # JSON of any kind
    assert sorted(names) == ["first.tif", "second.tif", "south.tif", "zone39.tif"]
    width = classes_hw.shape[1]
    crossing = 0
    with rasterio.open(run.class_raster) as grid:
        transform = grid.transform
    for layer in ("buildings", "roads"):
        frame = read_dataframe(run.geopackage, layer=layer)
        assert set(frame["scene"]) <= set(names)
        assert (frame["date"].notna() == (frame["scene"] == "second.tif")).all()
        assert set(frame["date"].dropna()) <= {"2021-02-03T04:05:06"}
        for feature in frame.sort_values("area_m2").tail(40).itertuples():
            left, bottom, right, top = feature.geometry.bounds
            col, row = (round(value) for value in ~transform @ (left, top))
            shape = round(top - bottom), round(right - left)
            inside_hw = rasterio.features.geometry_mask(
                [feature.geometry], shape, transform @ Affine.translation(col, row), invert=True
            )
            votes = np.bincount(scene_hw[row : row + shape[0], col : col + shape[1]][inside_hw], minlength=4)
            crossing += int((votes > 0).sum() > 1)
            assert names[int(votes.argmax())] == feature.scene
            assert feature.id == 1 + row * width + col + int(np.argmax(inside_hw[0]))
    assert crossing > 3


def test_other_scenes_are_refused_and_the_difference_is_named(
    run: Run[Path], scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run.path, tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"scenes\.south\.tif was [0-9a-f]{12}\.\.\., is None"):
        mapped(scenes[:3], copy, tiny_model)
    with pytest.raises(RunFolderError, match="merge was nearest-centre, is first"):
        mapped(scenes, copy, tiny_model, merge="first")


@pytest.mark.slow
def test_a_scene_that_breaks_later_costs_the_blocks_that_need_it(
    scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    """The header of the last is whole, and what the plan samples of it; a part of its pixels is not."""
    broken = tmp_path / "broken.tif"
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": 1000, "width": 1000, "crs": "EPSG:32640"}
    profile |= {"transform": Affine(1, 0, 330000, 0, -1, 2760000), "compress": "deflate", "interleave": "pixel"}
    image_chw = np.random.default_rng(0).integers(1, 256, (3, 1000, 1000)).astype(np.uint8)
    with rasterio.open(broken, "w", **profile, tiled=True, blockxsize=64, blockysize=64) as file:
        file.write(image_chw)
    with rasterio.open(broken) as file:
        offset, size = (int(file.get_tag_item(f"BLOCK_{what}_7_7", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    damaged = bytearray(broken.read_bytes())
    damaged[offset : offset + size] = bytes(size)
    broken.write_bytes(damaged)
    run = mapped([*scenes[:3], broken], tmp_path / "run", tiny_model)
    assert run.status == "incomplete"
    assert all("broken.tif cannot be read" in block.error for block in run.failed_blocks)
    assert 0 < len(run.failed_blocks) < run.record.blocks.done


def test_the_command_shows_a_table_and_leaves_out_what_is_bad_only_when_told(
    scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.tif").touch()
    listed = tmp_path / "scenes.txt"
    listed.write_text("\n".join([*map(str, scenes), "empty.tif"]))
    words = [str(listed), "-o", str(tmp_path / "run"), "--model", str(tiny_model), "--dry-run"]
    refused = CliRunner().invoke(map_command, words)
    assert isinstance(refused.exception, SceneError)
    assert "1 of 5 scenes cannot be mapped: empty.tif: " in str(refused.exception)
    shown = CliRunner().invoke(map_command, [*words, "--skip-bad"])
    assert shown.exit_code == 0
    assert "4 of 5 are mapped" in shown.output
    assert "zone39.tif" in shown.output
    assert "(the CRS of 2 of 4 scenes)" in shown.output
    assert "Mpx lie in several scenes" in shown.output
    assert "left out: empty.tif" in shown.output
    assert not (tmp_path / "run").exists()


def test_the_record_names_scenes_that_were_left_out_and_why(
    run: Run[Path], scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    assert "scenes_left_out" not in json.loads((run.path / "run.json").read_text())
    assert run.scenes_left_out == ()
    empty, copy = tmp_path / "empty.tif", tmp_path / "a_copy.tif"
    empty.touch()
    shutil.copy(scenes[0], copy)
    handed = [empty, scenes[0], copy, scenes[1]]
    with pytest.warns(UserWarning, match="left out: empty.tif"):
        told = mapped(handed, tmp_path / "run", tiny_model, skip_bad=True)
    written = json.loads((told.path / "run.json").read_text())
    jsonschema.validate(written, published_schema())
    # Of two that are the same the one whose address comes first is read, whatever their order.
    first, second = sorted((copy, scenes[0]))
    broken, same = sorted(written["scenes_left_out"], key=lambda scene: scene["name"] != "empty.tif")
    assert broken == {"name": "empty.tif", "uri": str(empty), "reason": broken["reason"]}
    assert "0 bytes" in broken["reason"]
    assert same == {
        "name": second.name,
        "uri": str(second),
        "reason": f"the same as {first.name}, which is read in its place",
    }
    assert [scene.uri for scene in told.scenes_left_out] == [scene["uri"] for scene in written["scenes_left_out"]]
    assert {entry["path"] for entry in written["inputs"]} == {str(first), str(scenes[1])}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_six_hundred_scenes_need_few_file_handles(tiny_model: Path, tmp_path: Path) -> None:
    """Twenty by thirty scenes of 16 px side by side, in a process that may open 128 files."""
    whole = patches(9, 20 * 16, 30 * 16)
    folder = tmp_path / "scenes"
    folder.mkdir()
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": 16, "width": 16, "crs": "EPSG:32640"}
    for row in range(20):
        for col in range(30):
            transform = Affine(1, 0, 320000 + 16 * col, 0, -1, 2770000 - 16 * row)
            with rasterio.open(folder / f"{row:02}{col:02}.tif", "w", **profile, transform=transform) as file:
                file.write(whole[:, 16 * row : 16 * row + 16, 16 * col : 16 * col + 16])
    words = [sys.executable, "-m", "geoseg.cli", "map", str(folder), "-o", str(tmp_path / "run"), "--local"]
    words += ["--model", str(tiny_model)]
    done = subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "600 of 600 are mapped" in done.stderr
    profile |= {"height": 320, "width": 480, "transform": Affine(1, 0, 320000, 0, -1, 2770000)}
    with rasterio.open(tmp_path / "one.tif", "w", **profile) as file:
        file.write(whole)
    one = mapped([tmp_path / "one.tif"], tmp_path / "one", tiny_model)
    assert np.array_equal(geoseg.open_run(tmp_path / "run").array("classes")[...], one.array("classes")[...])
