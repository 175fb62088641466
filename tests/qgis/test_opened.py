"""What a run leaves, opened by QGIS itself: project, layers and rasters load, styled, and are drawn so."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from numpy.typing import NDArray

import geoseg
from geoseg.labels import LabelClass, LabelSet
from geoseg.verify import verify_run

pytestmark = [pytest.mark.qgis, pytest.mark.slow]

LOOK = Path(__file__).with_name("look.py")

# PyQGIS is the system's, and of its Python; nothing of ours is on its path, and it has no screen.
PYTHON = "/usr/bin/python3"
ALONE = {"PATH": os.defpath, "QT_QPA_PLATFORM": "offscreen", "LC_ALL": "C.UTF-8"}

FORMATS = ("gpkg", "fgb", "geojson", "geojsonseq")
ENDINGS = (".fgb", ".geojson", ".geojsonl")

WHITE = (255, 255, 255)


@pytest.fixture(scope="module", autouse=True)
def pyqgis() -> None:
    """Skips where there is no QGIS; CI has to have it."""
    try:
        subprocess.run([PYTHON, "-c", "import qgis.core"], check=True, capture_output=True, env=ALONE)
    except (OSError, subprocess.CalledProcessError) as error:
        said = f"expected PyQGIS in {PYTHON} (on Debian: apt-get install python3-qgis), got: {error}"
    else:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(said)
    pytest.skip(said)


@dataclass(frozen=True, slots=True)
class Seen:
    """What QGIS said and drew."""

    said: dict[str, Any]
    pictures: Path

    def layer(self, name: str) -> dict[str, Any]:
        (layer,) = (layer for layer in self.said["layers"] if layer["name"] == name)
        return dict(layer)

    def picture(self, name: str) -> NDArray[np.uint8]:
        """A picture of it (row, column, red-green-blue)."""
        picture_hwc = matplotlib.image.imread(self.pictures / f"{name}.png")[..., :3]
        return np.rint(picture_hwc * 255).astype(np.uint8)


def seen(run: Path, pictures: Path, *files: str) -> Seen:
    """Have QGIS open a run's project, and files (or layers in them, as QGIS calls those) each alone."""
    done = subprocess.run(
        [PYTHON, str(LOOK), str(run / "map.qgs"), str(pictures), *files],
        check=False,
        capture_output=True,
        text=True,
        env={**ALONE, "HOME": str(pictures), "XDG_RUNTIME_DIR": str(pictures)},
    )
    assert done.returncode == 0, done.stderr
    return Seen(json.loads(done.stdout.splitlines()[-1]), pictures)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, patchwork_scene: Path, tiny_model: Path) -> geoseg.Run[Path]:
    """A run whose folder was moved since, together with the scene beside it."""
    place = tmp_path_factory.mktemp("place") / "first"
    place.mkdir()
    scene = place / "scene & <co>.tif"
    scene.write_bytes(patchwork_scene.read_bytes())
    geoseg.map_scenes(scene, place / "run", model=tiny_model, formats=FORMATS, local=True)
    moved = place.rename(place.with_name("then"))
    return geoseg.open_run(moved / "run")


@pytest.fixture(scope="module")
def opened(run: geoseg.Run[Path], tmp_path_factory: pytest.TempPathFactory) -> Seen:
    files = [str(file) for file in (run.path / "layers").iterdir() if file.suffix in ENDINGS]
    files += [f"{run.geopackage}|layername={name}" for name in ("buildings", "roads")]
    return seen(run.path, tmp_path_factory.mktemp("pictures"), str(run.class_raster), *files)


def drawn(label: LabelClass, alpha: int) -> tuple[int, ...]:
    """A class's colour, half transparent over white."""
    return tuple(round(value * alpha / 255 + 255 - alpha) for value in label.rgb)


def where(picture_hwc: NDArray[np.uint8], rgb: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels (row, column) of a colour, up to rounding."""
    return np.asarray((np.abs(picture_hwc.astype(int) - rgb) <= 1).all(axis=2))


def test_project_and_layers_load_whole(run: geoseg.Run[Path], opened: Seen, labels: LabelSet) -> None:
    said = opened.said
    assert (said["read"], said["error"], said["errors"]) == (True, "", [])
    assert said["crs"] == run.grid.crs == "EPSG:32640"
    assert said["title"].startswith("scene & <co>.tif, geoseg run")
    names = [layer["name"] for layer in said["layers"]]
    assert names == ["road_nodes", "road_lines", "buildings", "roads", "classes", "scene & <co>.tif"]
    assert all(layer["valid"] for layer in said["layers"])
    assert {layer["crs"] for layer in said["layers"]} == {run.grid.crs}
    counts = {Path(one.path).stem: one.features for one in run.record.outputs if one.format == "geojson"}
    assert {name: opened.layer(name)["features"] for name in counts} == counts
    assert all(counts.values())


def test_it_begins_with_the_data(run: geoseg.Run[Path], opened: Seen) -> None:
    left, bottom, right, top = opened.said["extent"]
    grid = run.grid
    rows, cols = np.nonzero(np.asarray(run.array("classes")[...]) != 255)
    corners = [(grid.transform @ (col, row)) for col in (0, grid.width) for row in (0, grid.height)]
    (least_x, least_y), (most_x, most_y) = np.min(corners, axis=0), np.max(corners, axis=0)
    assert least_x <= left <= (grid.transform @ (cols.min(), 0))[0]
    assert (grid.transform @ (cols.max() + 1, 0))[0] <= right <= most_x
    assert least_y <= bottom <= (grid.transform @ (0, rows.max() + 1))[1]
    assert (grid.transform @ (0, rows.min()))[1] <= top <= most_y


def test_layers_have_their_classes_colours(opened: Seen, labels: LabelSet) -> None:
    for label in labels.classes[:2]:
        layer = opened.layer(str(label.layer))
        assert (layer["renderer"], layer["fill"]) == ("singleSymbol", label.color)
        assert 0 < layer["alpha"] < 255
        assert layer["outline"] != label.color
        assert layer["shown"]


def test_the_class_raster_has_the_classes_names_and_colours_in_the_project_and_alone(
    run: geoseg.Run[Path], opened: Seen, labels: LabelSet
) -> None:
    expected = [[value, label.name, label.color] for value, label in enumerate(labels.classes)]
    for layer in (opened.layer("classes"), opened.said["alone"][str(run.class_raster)]):
        assert (layer["valid"], layer["renderer"]) == (True, "paletted")
        assert layer["palette"] == expected
    assert not opened.layer("classes")["shown"]


def test_the_class_raster_is_drawn_in_the_classes_colours_and_nothing_where_there_is_no_data(
    run: geoseg.Run[Path], opened: Seen, labels: LabelSet
) -> None:
    picture_hwc = opened.picture("classes")
    classes_hw = np.asarray(run.array("classes")[...])
    shares = {WHITE: (classes_hw == 255).mean()}
    shares |= {label.rgb: (classes_hw == value).mean() for value, label in enumerate(labels.classes)}
    # The view is square, the grid 540 x 600 pixels: above and below it lies nothing.
    of_view = min(classes_hw.shape) / max(classes_hw.shape)
    for rgb, share in shares.items():
        expected = share * of_view + (1 - of_view if rgb == WHITE else 0)
        assert (picture_hwc == rgb).all(axis=2).mean() == pytest.approx(expected, abs=0.01)


def test_layers_are_drawn_over_the_scene_that_is_seen_through_them(opened: Seen, labels: LabelSet) -> None:
    layers_hwc, scenes_hwc, map_hwc = (opened.picture(name) for name in ("layers", "scenes", "map"))
    assert len(np.unique(scenes_hwc.reshape(-1, 3), axis=0)) > 20
    for label in labels.classes[:2]:
        share = opened.layer(str(label.layer))["alpha"] / 255
        filled_hw = where(layers_hwc, drawn(label, opened.layer(str(label.layer))["alpha"]))
        assert filled_hw.sum() > 1000
        expected = share * np.array(label.rgb) + (1 - share) * scenes_hwc[filled_hw]
        assert np.abs(map_hwc[filled_hw] - expected).max() <= 2
    bare_hw = (layers_hwc == 255).all(axis=2)
    # Nodes of the network are white, and not seen through.
    is_scene_hw, is_node_hw = (map_hwc == scenes_hwc).all(axis=2), (map_hwc == 255).all(axis=2)
    assert (is_scene_hw | is_node_hw)[bare_hw].all()
    assert is_scene_hw[bare_hw].mean() > 0.8


@pytest.mark.parametrize("file", [*(f"{{}}{ending}" for ending in ENDINGS), "geoseg.gpkg|layername={}"])
@pytest.mark.parametrize("name", ["buildings", "roads"])
def test_a_layer_that_is_opened_alone_is_drawn_as_in_the_project(
    run: geoseg.Run[Path], opened: Seen, file: str, name: str
) -> None:
    layer = opened.said["alone"][str(run.path / "layers" / file.format(name))]
    for what in ("valid", "renderer", "fill", "outline", "alpha", "features"):
        assert layer[what] == opened.layer(name)[what]


@pytest.mark.parametrize(
    ("kind", "ending", "crs"),
    [
        ("fgb", "fgb", "EPSG:32640"),
        ("geojson", "geojson", "EPSG:4326"),
        ("geojsonseq", "geojsonl", "EPSG:4326"),
    ],
)
def test_without_a_geopackage_the_project_opens_another_format(
    run: geoseg.Run[Path],
    patchwork_scene: Path,
    tiny_model: Path,
    labels: LabelSet,
    tmp_path: Path,
    kind: str,
    ending: str,
    crs: str,
) -> None:
    geoseg.map_scenes(patchwork_scene, tmp_path / "run", model=tiny_model, formats=(kind, "parquet"), local=True)
    opened = seen(tmp_path / "run", tmp_path)
    counts = {Path(one.path).stem: one.features for one in run.record.outputs if one.format == "geojson"}
    for label in labels.classes[:2]:
        layer = opened.layer(str(label.layer))
        assert Path(layer["source"]) == tmp_path / "run" / "layers" / f"{label.layer}.{ending}"
        assert (layer["valid"], layer["crs"], layer["fill"]) == (True, crs, label.color)
        assert layer["features"] == counts[str(label.layer)]
        filled_hw = where(opened.picture("layers"), drawn(label, layer["alpha"]))
        assert filled_hw.sum() > 1000


def test_of_formats_that_qgis_may_not_open_the_classes_are_seen_instead(
    patchwork_scene: Path, tiny_model: Path, tmp_path: Path
) -> None:
    geoseg.map_scenes(patchwork_scene, tmp_path / "run", model=tiny_model, formats=("parquet",), local=True)
    opened = seen(tmp_path / "run", tmp_path)
    assert [layer["name"] for layer in opened.said["layers"]] == ["classes", patchwork_scene.name]
    assert opened.layer("classes")["shown"]
    drawn_hw = (opened.picture("classes") != 255).any(axis=2)
    assert (opened.picture("map")[drawn_hw] == opened.picture("classes")[drawn_hw]).all()


def test_opening_a_run_changes_no_byte_of_it(run: geoseg.Run[Path], opened: Seen) -> None:
    assert not verify_run(run.path).differences
