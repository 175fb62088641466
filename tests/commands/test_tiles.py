"""Chips of a data set, and those that a model knows least of."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoseg.commands.inspect import inspect
from geoseg.commands.tiles import tiles
from geoseg.config import load_train_config
from geoseg.grid import Window
from geoseg.labelled_data import coding_of, imagery_of, sources_of
from geoseg.tile_export import ChipOptions, tile_windows
from geoseg.train.scenes import LabelCoding, LabelledScene, Source, open_scenes

WriteRaster = Callable[..., Path]


@pytest.fixture
def config(tmp_path: Path, write_raster: WriteRaster) -> Path:
    """Two scenes apart, of other CRSs, with nodata and ignored labels; the root is the configuration's folder."""
    rng = np.random.default_rng(0)
    data = []
    places = {
        "train": ("EPSG:32640", Affine(1, 0, 320000, 0, -1, 2770000)),
        "val": ("EPSG:3857", Affine(1.1, 0, 6150000, 0, -1.1, 2880000)),
    }
    for split, (crs, transform) in places.items():
        image_chw = rng.integers(0, 256, (3, 90, 120)).astype(np.uint8)
        labels_hw = rng.choice(np.array([0, 1, 2, 3, 9], np.uint8), (90, 120))
        labels_hw[64:, 64:] = 9
        mask_hw = np.indices((90, 120)).sum(0) > 30
        pixels: list[tuple[str, Any, dict[str, Any]]] = [
            ("image", image_chw, {"mask_hw": mask_hw, "photometric": "rgb"}),
            ("labels", labels_hw[None], {"nodata": 0}),
        ]
        for kind, values, options in pixels:
            file = f"{split}_{kind}.tif"
            write_raster(values, file, crs=crs, transform=transform, **options).rename(tmp_path / file)
        data.append({"image": f"{split}_image.tif", "labels": f"{split}_labels.tif", "split": split})
    content = {
        "kind": "train",
        "name": "tiny",
        "description": "for tests",
        "licence": "CC0-1.0",
        "attribution": "nobody",
        "architecture": {"name": "unet_resnet18", "width": 0.125},
        "imagery": {
            "bands": ["red", "green", "blue"],
            "dtype": "uint8",
            "value_range": [0, 255],
            "ground_resolution_m": 1.0,
        },
        "classes": [
            {"name": name, "layer": None, "kind": "stuff", "color": color}
            for name, color in (("building", "#aa0000"), ("road", "#777777"), ("other", "#000000"))
        ],
        "label_values": {1: "building", 2: "road", 3: "other"},
        "ignore_values": [9],
        "data": data,
        "training": {"crop_px": 32, "batch": 2, "iterations": 2, "validate_every": 2},
    }
    path = tmp_path / "data.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(tiles, list(map(str, arguments)))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(16, 120), st.integers(0, 15))
def test_windows_cover_a_grid_and_partition_it_without_overlap(
    height: int, width: int, size_px: int, overlap_px: int
) -> None:
    counts_hw = np.zeros((height, width), np.int64)
    windows = tile_windows(height, width, ChipOptions(size_px, overlap_px))
    for window in windows:
        assert window.intersection(Window(0, 0, height, width)) == window
        assert max(window.shape) <= size_px
        counts_hw[window.slices_in(Window(0, 0, height, width))] += 1
    assert counts_hw.min() >= 1
    assert overlap_px or counts_hw.max() == 1


def test_chips_are_the_pixels_that_training_sees(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "chips"
    result = run(config, "--data-root", tmp_path, "-o", folder, "--size", 64)
    assert result.exit_code == 0, result.output
    loaded = load_train_config(config)
    imagery, sources = imagery_of(loaded), sources_of(loaded, tmp_path)
    coding = coding_of(loaded, sources)
    written = sorted((folder / "images").rglob("*.tif"))
    # The fourth window of each scene is ignored throughout.
    assert len(written) == 6
    with open_scenes(sources, imagery, coding) as scenes:
        by_name = {f"{number:04}": scene for number, scene in enumerate(scenes)}
        for path in written:
            scene = by_name[path.name[:4]]
            row, col = (int(part[1:]) for part in path.stem.split("_")[-2:])
            labels = folder / "labels" / path.relative_to(folder / "images")
            source = Source(path.stem, str(path), str(labels), "train", None)
            with LabelledScene(source, imagery, LabelCoding({0: 0, 1: 1, 2: 2})) as chip:
                window = Window(row, col, chip.grid.height, chip.grid.width)
                assert path.parent.name == scene.source.split
                assert chip.grid == scene.grid.part(window)
                seen_chw, seen_hw = chip.read(chip.grid.window)
                expected_chw, expected_hw = scene.read(window)
                assert np.array_equal(seen_chw, expected_chw)
                assert np.array_equal(seen_hw, expected_hw)
    meaning = json.loads((folder / "classes.json").read_text())
    assert [one["name"] for one in meaning["classes"]] == ["building", "road", "other"]
    assert meaning["chips"] == {"train": 3, "val": 3}
    said = yaml.safe_load((folder / "data.yaml").read_text())
    assert {entry["split"] for entry in said["data"]} == {"train", "val"}
    assert said["label_values"] == {0: "building", 1: "road", 2: "other"}


def test_a_folder_with_something_in_it_is_left_alone(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "chips"
    folder.mkdir()
    (folder / "own.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    result = run(config, "--data-root", tmp_path, "-o", folder)
    assert "expected a new or empty folder" in str(result.exception)
    # Nor is anything left behind where nothing can be written.
    (folder / "own.txt").unlink()
    before.remove(folder / "own.txt")
    result = run(config, "--data-root", tmp_path, "-o", folder, "--size", 64, "--min-labelled", 1)
    assert "lower --min-labelled" in str(result.exception)
    assert sorted(tmp_path.rglob("*")) == before


def test_four_bands_stay_four(tmp_path: Path, config: Path, write_raster: WriteRaster) -> None:
    content = yaml.safe_load(config.read_text())
    content["imagery"]["bands"] = ["red", "green", "blue", "nir"]
    image_chw = np.random.default_rng(1).integers(0, 256, (4, 90, 120)).astype(np.uint8)
    for split in ("train", "val"):
        with rasterio.open(tmp_path / f"{split}_labels.tif") as labels:
            placed = {"crs": labels.crs.to_string(), "transform": labels.transform}
        image = write_raster(image_chw, photometric="MINISBLACK", alpha="NO", **placed)
        image.replace(tmp_path / f"{split}_image.tif")
    config.write_text(yaml.safe_dump(content))
    assert run(config, "--data-root", tmp_path, "-o", tmp_path / "chips", "--split", "val").exit_code == 0
    (path,) = (tmp_path / "chips" / "images" / "val").iterdir()
    with rasterio.open(path) as chip:
        assert np.array_equal(chip.read(), image_chw)
        assert chip.dataset_mask().all()


def uncertain(*arguments: object) -> tuple[Result, list[dict[str, Any]]]:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    folder = Path(str(arguments[arguments.index("-o") + 1]))
    return result, json.loads((folder / "windows.geojson").read_text())["features"]


def test_uncertain_windows_of_scenes_are_chips_in_their_place(
    tmp_path: Path, write_raster: WriteRaster, tiny_model: Path
) -> None:
    patches_chw = np.random.default_rng(3).integers(0, 256, (3, 4, 5)).repeat(40, axis=1).repeat(40, axis=2)
    mask_hw = np.indices((160, 200)).sum(0) > 50
    scene_file = write_raster(patches_chw.astype(np.uint8), mask_hw=mask_hw)
    asked = ("--uncertain", 4, "--model", tiny_model, "--size", 50, "--device", "cpu", "--threads", 1)
    _, features = uncertain(scene_file, "-o", tmp_path / "a", *asked)
    _, again = uncertain(scene_file, "-o", tmp_path / "b", *asked)
    assert features == again
    assert len(features) == 4
    scores = [one["properties"]["uncertainty"] for one in features]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    windows = []
    with rasterio.open(scene_file) as scene:
        image_chw, transform = scene.read(), scene.transform
    for one in features:
        said = one["properties"]
        window = Window(said["row"], said["column"], said["height"], said["width"])
        windows.append(window)
        with rasterio.open(tmp_path / "a" / said["chip"]) as chip:
            at = window.slices_in(Window(0, 0, 160, 200))
            assert np.array_equal(chip.dataset_mask() > 0, mask_hw[at])
            assert np.array_equal(chip.read()[:, mask_hw[at]], image_chw[:, *at][:, mask_hw[at]])
            assert chip.transform == transform @ Affine.translation(window.col, window.row)
        ring = np.array(one["geometry"]["coordinates"][0])
        assert len(ring) == 5
        # Against the clock.
        assert np.sum(ring[:-1, 0] * ring[1:, 1] - ring[1:, 0] * ring[:-1, 1]) > 0
        assert 55.1 < ring[:, 0].mean() < 55.3
    assert all(a.intersection(b) is None for n, a in enumerate(windows) for b in windows[:n])
    assert not (tmp_path / "a" / "labels").exists()


def test_uncertain_windows_of_a_data_set_come_with_what_is_known(
    config: Path, tmp_path: Path, tiny_model: Path
) -> None:
    folder = tmp_path / "chips"
    asked = ("--uncertain", 2, "--model", tiny_model, "--size", 32, "--device", "cpu", "--threads", 1)
    _, features = uncertain(config, "--data-root", tmp_path, "-o", folder, *asked)
    chips = [one["properties"]["chip"] for one in features]
    assert all(chip.startswith("images/train/") for chip in chips)
    assert sorted(path.name for path in (folder / "labels" / "train").iterdir()) == sorted(
        Path(chip).name for chip in chips
    )
    for one in features:
        with rasterio.open(folder / one["properties"]["chip"].replace("images", "labels", 1)) as labels:
            share = float((labels.read(1) != 255).mean())
        assert one["properties"]["labelled_share"] == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--uncertain", 3), "go together"),
        (("--device", "cpu"), "are of --uncertain"),
        (("--split", "val"), "are of a DATASET"),
        ((), "a YAML file with labels"),
        (("--size", 8), "16 to 8192"),
        (("--overlap", 600), "overlap by less"),
        (("--uncertain", 1, "--model", "mbrsc", "--overlap", 8), "no meaning with --uncertain"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[object, ...], said: str, patchwork_scene: Path, tmp_path: Path
) -> None:
    result = run(patchwork_scene, "-o", tmp_path / "out", *arguments)
    assert said in str(result.exception)
    assert not (tmp_path / "out").exists()


def checked(folder: Path, config: Path) -> Result:
    """What `geoseg inspect --check` says of the chips in a folder."""
    values = yaml.safe_load(config.read_text()) | yaml.safe_load((folder / "data.yaml").read_text())
    (folder / "train.yaml").write_text(
        yaml.safe_dump({key: value for key, value in values.items() if key != "splits"})
    )
    return CliRunner().invoke(inspect, [str(folder / "train.yaml"), "--check"])


def test_chips_of_a_divided_scene_train_again(config: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(config.read_text())
    values["data"] = [{**values["data"][0], "split": "auto"}]
    values["splits"] = {"block_m": 30, "buffer_m": 2, "test": 0}
    config.write_text(yaml.safe_dump(values))
    # Windows that lie across blocks are chips of both splits, each without the other's pixels.
    assert run(config, "-o", tmp_path / "chips", "--size", 64, "--min-labelled", 0.01).exit_code == 0
    said = checked(tmp_path / "chips", config)
    assert said.exit_code == 0, said.output


def test_chips_without_a_place_train_again(config: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = yaml.safe_load(config.read_text())
    values["data"] = []
    for split in ("train", "val"):
        for kind, bands in (("images", 3), ("labels", 1)):
            folder = tmp_path / split / kind
            folder.mkdir(parents=True)
            pixels = rng.integers(0, 256, (40, 50, 3)) if bands == 3 else rng.integers(1, 4, (40, 50))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "one.png")
        entry = {
            "image": f"{split}/images",
            "labels": f"{split}/labels",
            "split": split,
            "ground_resolution_m": 0.9,
        }
        values["data"].append(entry)
    config.write_text(yaml.safe_dump(values))
    result = run(config, "-o", tmp_path / "chips", "--size", 32)
    assert result.exit_code == 0, result.output
    assert "Warning" not in result.output
    said = checked(tmp_path / "chips", config)
    assert said.exit_code == 0, said.output
