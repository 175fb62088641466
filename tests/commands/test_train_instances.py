"""A network that tells objects apart, from a configuration to a package that separates what touches."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from scipy.ndimage import label

from geoseg.commands.evaluate import evaluate
from geoseg.commands.train import train
from geoseg.errors import ConfigError
from geoseg.grid import Window
from geoseg.io.mosaic import OFFSET_STEPS
from geoseg.models.package import load_package
from geoseg.objects.centres import centre_keys
from geoseg.objects.grouping import Grouping

WriteRaster = Callable[..., Path]

ITERATIONS = 120
HOUSE_PX = 10
SHAPE = HEIGHT, WIDTH = 120, 200


def houses() -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Rows of touching houses, numbered, and their picture: a pixel's colour says where in its house it lies."""
    rng = np.random.default_rng(0)
    ids_hw, image_chw = np.zeros(SHAPE, np.int32), rng.normal(20, 6, (3, *SHAPE))
    roof_chw = np.stack(np.broadcast_arrays(*np.ogrid[0 : 200 : HOUSE_PX * 1j, 0 : 200 : HOUSE_PX * 1j], 200))
    for row in range(5, HEIGHT - HOUSE_PX, 2 * HOUSE_PX):
        for col in range(int(rng.integers(8)), WIDTH - HOUSE_PX, HOUSE_PX):
            ids_hw[row : row + HOUSE_PX, col : col + HOUSE_PX] = ids_hw.max() + 1
            image_chw[:, row : row + HOUSE_PX, col : col + HOUSE_PX] += roof_chw
    return ids_hw, image_chw.clip(0, 255).astype(np.uint8)


def square(*bounds: int) -> dict[str, Any]:
    """Columns and rows from ... to of the rasters of `write_raster`, as a GeoJSON geometry in their CRS."""
    col, row, col_stop, row_stop = map(int, bounds)
    west, east, north, south = 320000 + col, 320000 + col_stop, 2770000 - row, 2770000 - row_stop
    return {
        "type": "Polygon",
        "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
    }


def write_features(path: Path, *features: tuple[dict[str, Any], dict[str, str]]) -> None:
    crs = {"type": "name", "properties": {"name": "EPSG:32640"}}
    content = [{"type": "Feature", "properties": said, "geometry": shape} for shape, said in features]
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": content}))


@pytest.fixture(scope="module")
def root(write_raster: WriteRaster) -> Path:
    """The picture, its houses as polygons, as classes and as numbers, and a configuration."""
    ids_hw, image_chw = houses()
    image = write_raster(image_chw)
    root = image.parent
    write_raster((ids_hw > 0).astype(np.uint8)[None], "classes.tif").rename(root / "classes.tif")
    write_raster(np.zeros((1, *SHAPE), np.uint16), "none.tif").rename(root / "none.tif")
    boxes: list[tuple[dict[str, Any], dict[str, str]]] = []
    for number in range(1, int(ids_hw.max()) + 1):
        rows, cols = np.nonzero(ids_hw == number)
        boxes.append((square(cols.min(), rows.min(), cols.max() + 1, rows.max() + 1), {}))
    # One more lies over a part of the first, and has its pixels.
    rows, cols = np.nonzero(ids_hw == 1)
    boxes.append((square(cols.min(), rows.min(), cols.min() + 6, rows.max() + 1), {}))
    write_features(root / "houses.geojson", *boxes)
    splits = (square(0, 0, 140, HEIGHT), {"split": "train"}), (square(140, 0, WIDTH, HEIGHT), {"split": "val"})
    write_features(root / "splits.geojson", *splits)
    return root


def configuration(root: Path, name: str, entry: dict[str, Any], **training: Any) -> Path:  # noqa: ANN401  # of a file
    data = [
        {
            "image": "scene.tif",
            "split": split,
            "region": {"file": "splits.geojson", "where": {"split": split}},
            **entry,
        }
        for split in ("train", "val")
    ]
    config = {
        "kind": "train",
        "name": "houses",
        "description": "houses that touch",
        "licence": "CC0-1.0",
        "attribution": "nobody",
        "architecture": {"name": "unet", "width": 0.25, "instances": True, "normalization": "group"},
        "imagery": {
            "bands": ["red", "green", "blue"],
            "dtype": "uint8",
            "value_range": [0, 255],
            "ground_resolution_m": 1,
        },
        "classes": [
            {"name": "house", "layer": "houses", "kind": "thing", "color": "#ffffff"},
            {"name": "ground", "layer": None, "kind": "stuff", "color": "#000000"},
        ],
        "data": data,
        "card": {"grouping": {"least_heat": 0.1, "suppress_px": 3, "capture_px": 8}},
        "training": {"crop_px": 32, "batch": 4, "lr": 0.01, "augmentation": {"flips": True}, **training},
    }
    path = root / name
    path.write_text(yaml.safe_dump(config))
    return path


def run_train(config: Path, model: Path) -> Result:
    arguments = ["--config", str(config), "-o", str(model), "--data-root", str(config.parent), "--device", "cpu"]
    return CliRunner().invoke(train, arguments, catch_exceptions=False)


def warnings(result: Result) -> list[str]:
    events = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    return [event["message"] for event in events if event.get("event") == "warning"]


VECTORS = {"labels": {"house": "houses.geojson"}, "rest": "ground"}
CLASSES = {"labels": "classes.tif", "values": {"1": "house", "0": "ground"}}


@pytest.mark.slow
def test_houses_that_touch_are_learned_apart(root: Path, tmp_path: Path) -> None:
    config = configuration(root, "train.yaml", VECTORS, iterations=ITERATIONS, validate_every=ITERATIONS)
    result = run_train(config, tmp_path / "model")
    assert result.exit_code == 0, result.stderr
    (warning,) = warnings(result)
    assert "objects overlap on 60 pixels of scene: each of these is of the object that comes last" in warning
    package = load_package(tmp_path / "model")
    assert package.card.architecture.instances
    assert package.card.grouping == Grouping(least_heat=25, suppress_px=3, capture_px=8)
    # Figures and calibration are those of the classes.
    assert set(package.card.metrics["val"].iou) == {"house", "ground"}
    iou = package.card.metrics["val"].iou["house"]
    assert iou is not None
    assert iou > 0.8
    judged = CliRunner().invoke(
        evaluate,
        [str(tmp_path / "model"), "--data", str(config), "--data-root", str(root), "--split", "val", "--json"],
        catch_exceptions=False,
    )
    assert json.loads(judged.stdout)["iou"]["house"] == pytest.approx(iou)

    # What does not go with a model that tells objects apart does not go with training it further.
    further = configuration(root, "further.yaml", VECTORS, iterations=1, augmentation={"mixup": 0.2})
    values = yaml.safe_load(further.read_text())
    del values["architecture"]
    further.write_text(yaml.safe_dump({**values, "start_from": str(tmp_path / "model")}))
    with pytest.raises(ConfigError, match=r"training\.augmentation\.mixup: a pixel of two blended crops"):
        run_train(further, tmp_path / "further")

    ids_hw, image_chw = houses()
    inputs_chw = package.imagery.normalize(image_chw.astype(np.float32), np.ones(SHAPE, np.bool_))
    with torch.inference_mode():
        answers_chw = package.build()(torch.from_numpy(inputs_chw)[None])[0].numpy()
    assert answers_chw.shape == (2 + 3, *SHAPE)
    is_house_hw = answers_chw[0] > answers_chw[1]
    whole = Window(0, 0, *SHAPE)
    keys_hw = centre_keys(
        np.rint(254 * answers_chw[2].clip(0, 1)).astype(np.uint8),
        np.rint(OFFSET_STEPS * answers_chw[3:]).astype(np.int16),
        is_house_hw,
        whole,
        whole,
        WIDTH,
        package.card.grouping,
    )
    apart = found(ids_hw, np.where(keys_hw > 0, keys_hw, 0))
    components = found(ids_hw, label(is_house_hw)[0])
    assert (apart > 0.6, components < 0.2) == (True, True), (apart, components)


def found(ids_hw: NDArray[np.int32], segments_hw: NDArray[Any]) -> float:
    """The share of objects that are matched by a segment: intersection over union above a half."""
    hits = 0
    numbers = [number for number in np.unique(ids_hw).tolist() if number]
    for number in numbers:
        mine_hw = ids_hw == number
        values, counts = np.unique(segments_hw[mine_hw & (segments_hw > 0)], return_counts=True)
        for value, shared in zip(values.tolist(), counts.tolist(), strict=True):
            union = np.count_nonzero(mine_hw | (segments_hw == value))
            hits += shared / union > 0.5
    return hits / len(numbers)


def test_labels_without_an_object_are_refused_before_anything_is_written(root: Path, tmp_path: Path) -> None:
    config = configuration(root, "none.yaml", {**CLASSES, "instances": "none.tif"}, iterations=1)
    with pytest.raises(ConfigError, match=r"architecture\.instances: expected objects of things in the training"):
        run_train(config, tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_that_classes_alone_leave_touching_objects_together_is_said(root: Path, tmp_path: Path) -> None:
    result = run_train(configuration(root, "classes.yaml", CLASSES, iterations=1), tmp_path / "model")
    assert result.exit_code == 0
    (warning,) = warnings(result)
    assert "labels of scene say classes alone: objects that touch count as one there" in warning
