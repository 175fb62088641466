"""`geoseg evaluate RUN --labels`: a run against itself is perfect, against others what was computed by hand."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from click.testing import CliRunner, Result
from numpy.typing import NDArray

import geoseg
from geoseg.cli import cli
from geoseg.errors import GeosegError

WriteRaster = Callable[..., Path]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, write_raster: WriteRaster, tiny_model: Path) -> Path:
    """A run whose outlines are those of its pixels."""
    patches_chw = np.random.default_rng(3).integers(0, 256, (3, 8, 10)).repeat(20, axis=1).repeat(20, axis=2)
    scene = write_raster(patches_chw.astype(np.uint8))
    folder = tmp_path_factory.mktemp("scored") / "run"
    geoseg.map_scenes(scene, folder, model=tiny_model, local=True, min_area=0, simplify=0)
    return folder


@pytest.fixture
def with_lines(finished: Path, tmp_path: Path) -> Path:
    """The same with a road network: a road of 200 m, and one across it at its middle."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    with rasterio.open(run / "classes.tif") as dataset:
        x, y = dataset.transform @ (0, 80)
    roads = [[(0, 0), (100, 0)], [(100, 0), (200, 0)], [(100, 0), (100, 40)], [(100, 0), (100, -40)]]
    lines = [shapely.LineString([(x + dx, y + dy) for dx, dy in road]) for road in roads]
    frame = geopandas.GeoDataFrame({"id": range(4), "class": ["road"] * 4}, geometry=lines, crs="EPSG:32640")
    frame.to_file(run / "layers/geoseg.gpkg", layer="road_lines", driver="GPKG")
    return run


def evaluated(run: Path, *options: object) -> Result:
    return CliRunner().invoke(cli, ["evaluate", str(run), *map(str, options)])


def scores(run: Path, *options: object) -> Any:  # noqa: ANN401  # JSON
    result = evaluated(run, "--json", *options)
    assert result.exit_code == 0, result.output + str(result.exception)
    return json.loads(result.stdout)


def refused(result: Result) -> str:
    assert isinstance(result.exception, GeosegError)
    assert result.exception.exit_code == 2
    return str(result.exception)


def classes_of(run: Path) -> NDArray[np.uint8]:
    with rasterio.open(run / "classes.tif") as dataset:
        return np.asarray(dataset.read(1), np.uint8)


PERFECT = ("iou", "precision", "recall", "f1", "boundary_f1_2m", "boundary_f1_5m")


def test_a_run_is_perfect_against_its_own_raster_and_against_its_own_layers(finished: Path) -> None:
    by_raster = scores(finished, "--labels", finished / "classes.tif")
    by_layers = scores(finished, "--labels", finished / "layers/geoseg.gpkg")
    assert by_raster["miou"] == 1
    assert list(by_raster["classes"]) == ["building", "road", "other"]
    for of in by_raster["classes"].values():
        assert [of["areas"][name] for name in PERFECT] == [1] * len(PERFECT)
        assert of["areas"]["false_px"] == of["areas"]["missed_px"] == 0
    assert list(by_layers["classes"]) == ["building", "road"]
    objects = by_layers["classes"]["building"]["objects"]
    assert objects["true"] == len(geopandas.read_file(finished / "layers/geoseg.gpkg", layer="buildings"))
    assert objects["true"] > 5
    for name in ("precision", "recall", "f1", "ap_50", "ap_50_95", "matched_iou_mean", "vertex_ratio"):
        assert objects[name] == pytest.approx(1)
    assert objects["polis_m_mean"] == pytest.approx(0, abs=1e-9)
    assert objects["rotation_error_deg_mean"] == pytest.approx(0, abs=1e-5)
    assert "objects" not in by_layers["classes"]["road"]
    assert by_raster["area_m2"] == pytest.approx(np.count_nonzero(classes_of(finished) != 255))


@pytest.mark.slow
def test_a_raster_that_errs_and_is_silent_gives_the_figures_of_its_pixels(
    finished: Path, write_raster: WriteRaster
) -> None:
    mapped_hw = classes_of(finished)
    rng = np.random.default_rng(0)
    true_hw = np.where(rng.random(mapped_hw.shape) < 0.2, 2, np.where(mapped_hw == 255, 0, mapped_hw))
    silent_hw = rng.random(mapped_hw.shape) < 0.3
    with rasterio.open(finished / "classes.tif") as dataset:
        raw_hw = np.where(silent_hw, 0, true_hw + 1).astype(np.uint8)
        path = write_raster(raw_hw[None], transform=dataset.transform, nodata=0)
    document = scores(finished, "--labels", path)
    assert document["values"] == {"1": "building", "2": "road", "3": "other"}
    known_hw = (mapped_hw != 255) & ~silent_hw
    for number, name in enumerate(("building", "road", "other")):
        ours_hw, theirs_hw = (mapped_hw == number) & known_hw, (true_hw == number) & known_hw
        expected = np.count_nonzero(ours_hw & theirs_hw) / np.count_nonzero(ours_hw | theirs_hw)
        assert document["classes"][name]["areas"]["iou"] == pytest.approx(expected)


@pytest.mark.slow
def test_only_the_area_of_interest_counts(finished: Path, tmp_path: Path) -> None:
    layers = finished / "layers/geoseg.gpkg"
    buildings = geopandas.read_file(layers, layer="buildings")
    left, bottom, right, top = buildings.total_bounds
    half = geopandas.GeoDataFrame(geometry=[shapely.box(left, bottom, (left + right) / 2, top)], crs="EPSG:32640")
    half.to_file(tmp_path / "aoi.gpkg")
    kept = buildings[buildings.within(half.geometry[0])]
    kept.to_file(tmp_path / "labels.gpkg")
    partial = scores(finished, "--labels", tmp_path / "labels.gpkg", "--aoi", tmp_path / "aoi.gpkg")
    whole = scores(finished, "--labels", tmp_path / "labels.gpkg")
    few, all_of = partial["classes"]["building"], whole["classes"]["building"]
    assert all_of["objects"]["false"] == len(buildings) - len(kept) > 0
    assert all_of["objects"]["recall"] == few["objects"]["recall"] == 1
    assert few["objects"]["false"] < all_of["objects"]["false"]
    assert few["areas"]["false_px"] < all_of["areas"]["false_px"]
    assert partial["area_m2"] < whole["area_m2"]
    crossing = buildings[buildings.intersects(half.geometry[0]) & ~buildings.within(half.geometry[0])]
    assert few["objects"]["false"] <= len(crossing)


def test_missed_and_false_objects_are_counted_and_marked(finished: Path, tmp_path: Path) -> None:
    buildings = geopandas.read_file(finished / "layers/geoseg.gpkg", layer="buildings").sort_values("area_m2")
    some = buildings.iloc[3:].copy()
    new = buildings.iloc[:2].copy()
    new.geometry = [shapely.Point(where).buffer(3) for where in _elsewhere(finished)]
    labels = geopandas.GeoDataFrame(
        {"name": ["x"] * (len(some) + 2)}, geometry=[*some.geometry, *new.geometry], crs="EPSG:32640"
    )
    labels.to_crs("EPSG:4326").to_file(tmp_path / "houses.geojson")
    marked = tmp_path / "marked.gpkg"
    document = scores(finished, "--labels", f"building={tmp_path / 'houses.geojson'}", "--marked", marked)
    objects = document["classes"]["building"]["objects"]
    assert (objects["true"], objects["false"], objects["missed"]) == (len(some), 3, 2)
    assert objects["precision"] == pytest.approx(len(some) / (len(some) + 3))
    assert objects["recall"] == pytest.approx(len(some) / (len(some) + 2))
    found = geopandas.read_file(marked, layer="objects")
    assert found["outcome"].value_counts().to_dict() == {"true": len(some), "false": 3, "missed": 2}
    assert set(found[found["outcome"] == "true"]["id"]) == set(some["id"])
    assert (found[found["outcome"] == "true"]["iou"] >= 0.5).all()
    assert found.crs == "EPSG:32640"
    with sqlite3.connect(marked) as database:
        ((qml,),) = database.execute("SELECT styleQML FROM layer_styles WHERE useAsDefault")
    assert all(f'value="{outcome}"' in qml for outcome in ("true", "false", "missed"))
    before = marked.read_bytes()
    same = ("--labels", f"building={tmp_path / 'houses.geojson'}", "--marked", marked)
    assert "is there already" in refused(evaluated(finished, *same))
    assert evaluated(finished, *same, "--force").exit_code == 0
    assert marked.read_bytes() == before


def _elsewhere(run: Path) -> list[tuple[float, float]]:
    """Two places on roads: what is drawn around them is like no building."""
    rows, cols = np.nonzero(classes_of(run)[10:-10, 10:-10] == 1)
    with rasterio.open(run / "classes.tif") as dataset:
        return [dataset.transform @ (cols[i] + 10.5, rows[i] + 10.5) for i in (0, -1)]


@pytest.mark.slow
def test_roads_are_scored_by_their_lines(with_lines: Path, tmp_path: Path) -> None:
    lines = geopandas.read_file(with_lines / "layers/geoseg.gpkg", layer="road_lines")[["geometry"]]
    lines.to_crs("EPSG:4326").to_file(tmp_path / "streets.geojson")
    document = scores(with_lines, "--labels", f"road={tmp_path / 'streets.geojson'}")
    figures = document["classes"]["road"]["lines"]
    assert "areas" not in document["classes"]["road"]
    assert document["miou"] is None
    for name in ("apls", "completeness", "correctness", "quality"):
        assert figures[name] == pytest.approx(1, abs=1e-6)
    assert figures["reference_m"] == pytest.approx(280, rel=1e-3)
    assert document["parameters"]["apls"]["snap_m"] == 4
    # The road across is missing in these: 80 of 280 m are more than 4 m away, but for 4 m at each side.
    lines.iloc[:2].to_file(tmp_path / "fewer.gpkg")
    marked = tmp_path / "marked.gpkg"
    fewer = scores(with_lines, "--labels", f"road={tmp_path / 'fewer.gpkg'}", "--marked", marked)
    figures = fewer["classes"]["road"]["lines"]
    assert figures["completeness"] == 1
    assert figures["correctness"] == pytest.approx(208 / 280, abs=1e-3)
    assert figures["apls_reference_in_map"] == pytest.approx(1)
    assert figures["apls_map_in_reference"] < 0.6
    found = geopandas.read_file(marked, layer="lines")
    assert found[found["outcome"] == "false"].length.sum() == pytest.approx(72, abs=0.1)
    assert found[found["outcome"] == "missed"].empty


@pytest.mark.slow
def test_a_run_without_road_lines_says_so_and_scores_the_rest(
    finished: Path, tmp_path: Path, tiny_model: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    scene = geoseg.open_run(run).record.inputs[0].path
    geoseg.map_scenes(scene, run, model=tiny_model, local=True, min_area=0, simplify=0, network=False)
    buildings = geopandas.read_file(run / "layers/geoseg.gpkg", layer="buildings")[["geometry"]]
    buildings.to_file(tmp_path / "houses.gpkg")
    left, bottom, right, top = buildings.total_bounds
    street = geopandas.GeoDataFrame(geometry=[shapely.LineString([(left, bottom), (right, top)])], crs="EPSG:32640")
    street.to_file(tmp_path / "streets.gpkg")
    options = ("--labels", f"building={tmp_path / 'houses.gpkg'}", "--labels", f"road={tmp_path / 'streets.gpkg'}")
    document = scores(run, *options)
    assert document["classes"]["building"]["objects"]["f1"] == 1
    assert "expected a layer road_lines" in document["not_scored"]["road"]
    assert "road" not in document["classes"]
    result = evaluated(run, *options, "--fail-under", "road.lines.apls=0.1")
    assert result.exit_code == 3
    assert "road.lines.apls has no value, expected at least 0.1" in result.output
    assert "no scores of the lines of road" in result.output


@pytest.mark.slow
def test_gates(finished: Path) -> None:
    labels = ("--labels", finished / "layers/geoseg.gpkg")
    assert (
        evaluated(finished, *labels, "--fail-under", "miou=1", "--fail-under", "building.objects.f1=1").exit_code
        == 0
    )
    result = evaluated(
        finished, "--labels", f"building={finished / 'layers/roads.geojson'}", "--fail-under", "miou=0.9"
    )
    assert result.exit_code == 3
    assert "failed   miou is 0.0000, expected at least 0.9" in result.output
    assert "expected a figure of miou" in refused(
        evaluated(finished, *labels, "--fail-under", "road.areas.iou_x=1")
    )
    # What no labels could give is refused before they are looked at.
    for unknown in ("house.areas.iou=1", "road.area.iou=1", "road.iou=1"):
        said = refused(evaluated(finished, "--labels", "nothing.gpkg", "--fail-under", unknown))
        assert "with a class of building, road, other and a group of areas, objects, lines" in said
    assert "of which more is better" in refused(
        evaluated(finished, *labels, "--fail-under", "building.objects.polis_m_mean=1")
    )
    for wrong in ("miou", "miou=high", "miou=2"):
        assert "NAME=VALUE" in refused(evaluated(finished, *labels, "--fail-under", wrong))


def test_the_table_says_what_the_document_says(finished: Path) -> None:
    result = evaluated(finished, "--labels", finished / "layers/geoseg.gpkg", "--boundary", "3")
    lines = result.output.splitlines()
    assert any(line.startswith("areas") and "boundary F1 3 m" in line for line in lines)
    assert any(line.split()[:2] == ["building", "1.000"] for line in lines)
    assert "mean IoU 1.000" in lines
    assert any(line.startswith("objects") for line in lines)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "expected either --data .* or --labels .*, got neither"),
        (("--labels", "a.gpkg", "--data", "b.yaml"), "got both"),
        (("--labels", "a.gpkg", "--split", "val"), "--split has no meaning with --labels, of a RUN"),
        (("--data", "b.yaml", "--aoi", "a.gpkg"), "--aoi has no meaning with --data, of a MODEL"),
        (("--labels", "a.gpkg", "--boundary", "-1"), "expected --boundary from 0 to 1000 m"),
        (("--labels", "a.gpkg", "--buffer", "0"), "expected --buffer of up to 1000 m"),
        (("--labels", "a.gpkg", "--value", "3"), "expected --value VALUE=CLASS"),
        (("--labels", "a.gpkg", "--value", "3=tree"), "expected a class of building, road, other, got tree"),
        (("--labels", "a.gpkg", "--marked", "a.shp"), "expected --marked FILE.gpkg"),
        (("--labels", "a.gpkg"), "there is nothing at a.gpkg"),
    ],
)
def test_wrong_options_are_refused(finished: Path, options: tuple[str, ...], words: str) -> None:
    with pytest.raises(GeosegError, match=words) as found:
        raise evaluated(finished, *options).exception or AssertionError
    assert found.value.exit_code == 2


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    assert "expected a RUN folder" in refused(evaluated(tmp_path, "--labels", "a.gpkg"))
