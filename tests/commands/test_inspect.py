"""What is said of scenes, models and runs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.shutil
from affine import Affine
from rasterio.enums import ColorInterp

import geoseg
from geoseg import cli

WriteRaster = Callable[..., Path]
Inspect = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of a command in this process."""
    monkeypatch.setattr(sys, "argv", ["geoseg", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


@pytest.fixture
def inspect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_model: Path
) -> Callable[[object], dict[str, Any]]:
    """What `geoseg inspect --json` prints, where the lines for people have said the same path."""

    def document(what: object) -> dict[str, Any]:
        assert run(monkeypatch, "inspect", what, "--model", tiny_model) == 0
        assert str(what) in capsys.readouterr().out
        assert run(monkeypatch, "inspect", what, "--model", tiny_model, "--json") == 0
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return said

    return document


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """The one line that `geoseg inspect` refuses with."""

    def line(what: object) -> str:
        assert run(monkeypatch, "inspect", what) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1
        return said.err

    return line


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, write_raster: WriteRaster, tiny_model: Path) -> geoseg.Run:
    scene = write_raster(np.random.default_rng(5).integers(0, 256, (3, 40, 50)).astype(np.uint8))
    output = tmp_path_factory.mktemp("inspected") / "run"
    return geoseg.map_scenes(scene, output, model=tiny_model, min_area=0, simplify=0, local=True)


def test_a_scene_is_described(inspect: Inspect, write_raster: WriteRaster) -> None:
    valid_hw = np.arange(60)[:, None] >= np.full(80, 15)
    scene = write_raster(np.full((3, 60, 80), 9, np.uint8), mask_hw=valid_hw, tiled=True, photometric="rgb")
    said = inspect(scene)
    assert (said["kind"], said["driver"], said["height"], said["width"]) == ("scene", "GTiff", 60, 80)
    assert [band["color"] for band in said["bands"]] == ["red", "green", "blue"]
    assert (said["crs"], said["crs_name"]) == ("EPSG:32640", "WGS 84 / UTM zone 40N")
    assert said["ground_resolution_m"] == pytest.approx([1, 1], rel=0.01)
    assert said["nodata_share"] == pytest.approx(0.25)
    assert said["block_px"] == [256, 256]
    assert said["fit"]["fits"]
    assert said["fit"]["bands"] == [1, 2, 3]
    assert said["fit"]["warnings"] == []


def test_nan_is_no_data(inspect: Inspect, write_raster: WriteRaster) -> None:
    image_chw = np.ones((1, 40, 40), np.float32)
    image_chw[:, :, :30] = np.nan
    said = inspect(write_raster(image_chw, nodata=np.nan))
    assert said["nodata_share"] == pytest.approx(0.75)
    assert said["bands"][0]["nodata"] == "nan"


@pytest.mark.parametrize(
    ("bands", "options", "placed_by", "reason"),
    [
        (1, {}, "a geotransform", "the model expects 3 bands"),
        (3, {"crs": None}, "a geotransform without a CRS", "--assume-crs EPSG:N"),
        (3, {"crs": None, "transform": None}, "nothing", "has no geotransform"),
        (3, {"transform": Affine(9, 0, 320000, 0, -9, 2770000)}, "a geotransform", "too coarse for 1 m"),
    ],
)
def test_why_a_scene_does_not_fit_is_said(
    bands: int, options: dict[str, Any], placed_by: str, reason: str, inspect: Inspect, write_raster: WriteRaster
) -> None:
    said = inspect(write_raster(np.ones((bands, 20, 20), np.uint8), **options))
    assert said["placed_by"] == placed_by
    assert not said["fit"]["fits"]
    assert reason in said["fit"]["reason"]


def test_a_palette_is_named(inspect: Inspect, write_raster: WriteRaster) -> None:
    said = inspect(write_raster(np.ones((1, 20, 20), np.uint8), colorinterp=[ColorInterp.palette]))
    assert said["bands"][0]["color"] == "palette"
    assert "holds palette indices" in said["fit"]["reason"]


def test_a_large_scene_is_sampled(
    inspect: Inspect, write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geoseg.commands.inspect_scene._WHOLE_PX", 1000)
    image_chw = np.ones((3, 300, 400), np.uint8)
    image_chw[:, :, 200:] = 0
    assert inspect(write_raster(image_chw, nodata=0))["nodata_share"] == pytest.approx(0.5, abs=0.05)
    assert inspect(write_raster(image_chw[:, :30, :50], nodata=0))["nodata_share"] == 0


def test_a_damaged_scene_says_so(
    write_raster: WriteRaster,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scene = write_raster(np.ones((3, 300, 300), np.uint8), nodata=0)
    content = scene.read_bytes()
    scene.write_bytes(content[: len(content) // 2])
    assert run(monkeypatch, "inspect", scene, "--model", tiny_model) == 0
    assert "nodata   not readable: the file is cut short or damaged" in capsys.readouterr().out


def test_a_vrt_is_described_as_its_source_when_it_is_trusted(
    tmp_path: Path, write_raster: WriteRaster, tiny_model: Path
) -> None:
    """In processes of their own: GDAL knows the driver, or does not, from when it is first used."""
    image_chw = np.random.default_rng(0).integers(1, 255, (3, 60, 70), dtype=np.uint8)
    image_chw[:, :, :7] = 0
    source = write_raster(image_chw, nodata=0)
    scene = tmp_path / "scene.vrt"
    rasterio.shutil.copy(source, scene, driver="VRT")

    def said(what: Path, *options: str) -> subprocess.CompletedProcess[str]:
        arguments = ["inspect", str(what), "--model", str(tiny_model), "--json", *options]
        return subprocess.run(
            [sys.executable, "-m", "geoseg.cli", *arguments], capture_output=True, text=True, check=False
        )

    distrusted = said(scene)
    assert distrusted.returncode == 2
    assert "--trust-vrt" in distrusted.stderr
    trusted = said(scene, "--trust-vrt")
    assert trusted.returncode == 0, trusted.stderr
    of_vrt, of_source = json.loads(trusted.stdout), json.loads(said(source).stdout)
    assert (of_vrt["driver"], of_source["driver"]) == ("VRT", "GTiff")
    stored = {"path", "driver", "bytes", "block_px", "compression"}
    assert {key: of_vrt[key] for key in set(of_vrt) - stored} == {
        key: of_source[key] for key in set(of_source) - stored
    }
    assert of_vrt["fit"]["fits"]
    assert of_vrt["nodata_share"] == pytest.approx(0.1)


def test_a_model_is_described(inspect: Inspect, tiny_model: Path) -> None:
    said = inspect(tiny_model)
    model = geoseg.load_model(tiny_model)
    assert (said["kind"], said["name"], said["identity"]) == ("model", "tiny", model.identity)
    assert said["weights"]["bytes"] == (tiny_model / "weights.safetensors").stat().st_size
    assert said["parameters"] == sum(tensor.numel() for tensor in model.build().state_dict().values()) - sum(
        tensor.numel()
        for name, tensor in model.build().state_dict().items()
        if name.endswith("num_batches_tracked")
    )
    assert [label["name"] for label in said["classes"]] == ["building", "road", "other"]


def test_a_model_is_found_by_name(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("GEOSEG_MODEL_PATH", str(tiny_model.parent))
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "inspect", "tiny") == 0
    assert "network  unet_resnet18" in capsys.readouterr().out
    assert run(monkeypatch, "inspect", "tinny") == 2
    assert "did you mean tiny?" in capsys.readouterr().err


def test_the_speed_of_a_model_is_measured_when_asked(
    inspect: Inspect,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert "speed" not in inspect(tiny_model)
    options = ("--speed", "--threads", "1", "--device", "cpu")
    assert run(monkeypatch, "inspect", tiny_model, *options, "--json") == 0
    speed = json.loads(capsys.readouterr().out)["speed"]
    assert (speed["device"], speed["threads"]) == ("cpu", 1)
    assert speed["ground_mpx_per_s"] > 0
    assert run(monkeypatch, "inspect", tiny_model, *options) == 0
    assert "km2 an hour: the network alone, on cpu, 1 thread(s)" in capsys.readouterr().out
    assert run(monkeypatch, "inspect", tiny_model, "--threads", "1") == 2
    assert "give --speed, too" in capsys.readouterr().err
    (tmp_path / "data.yaml").touch()
    assert run(monkeypatch, "inspect", tmp_path / "data.yaml", "--speed") == 2
    assert "--speed, --device and --threads are of a model" in capsys.readouterr().err


def test_a_run_is_described(
    inspect: Inspect, finished: geoseg.Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = inspect(finished.path)
    assert (said["kind"], said["status"], said["blocks_done"]) == ("run", "complete", 1)
    assert said["record"] == finished.record.to_json()
    assert said["plan"]["plan_hash"] == finished.record.plan_hash
    assert run(monkeypatch, "inspect", finished.path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "grid     40 x 50 px in WGS 84 / UTM zone 40N" in lines
    for layer in ("buildings", "roads"):
        features = json.loads(finished.layers[layer].read_text())["features"]
        assert f"output   layers/{layer}.geojson, {len(features)} features" in lines


def test_a_planned_run_is_described(inspect: Inspect, tmp_path: Path, finished: geoseg.Run) -> None:
    (tmp_path / "plan.json").write_bytes((finished.path / "plan.json").read_bytes())
    said = inspect(tmp_path)
    assert (said["status"], said["record"], said["blocks_done"]) == ("planned", None, 0)


def test_other_things_are_refused_in_one_line(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scene.tif").touch()
    assert "got the folder" in refused(tmp_path)
    assert "did you mean scene.tif?" in refused("scene.tiff")
    assert "no such file" in refused(tmp_path / "gone.tif")
    assert "is empty (0 bytes)" in refused(tmp_path / "scene.tif")
    assert "on this machine" in refused("/vsicurl/http://example.org/scene.tif")


def test_a_hostile_run_or_model_is_refused_in_one_line(refused: Refused, tmp_path: Path) -> None:
    run_folder, model = tmp_path / "run", tmp_path / "model"
    run_folder.mkdir()
    model.mkdir()
    (run_folder / "run.json").write_text("[" * 100_000)
    assert "is damaged" in refused(run_folder)
    (run_folder / "run.json").unlink()
    (run_folder / "plan.json").write_text("[]")
    assert "is damaged" in refused(run_folder)
    (model / "card.json").write_text("{}")
    assert "is no valid card" in refused(model)


def test_control_characters_reach_no_terminal(
    tmp_path: Path, finished: geoseg.Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((finished.path / "run.json").read_text())
    record["warnings"] = ["\x1b[2Jall is well\nscene    other.tif"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert run(monkeypatch, "inspect", tmp_path) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\nscene    other.tif" not in said
