from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from click.testing import CliRunner
from numpy.typing import NDArray

from geoseg.commands.weak_labels import weak_labels
from geoseg.errors import ConfigError
from geoseg.labels import NODATA_CLASS

WriteRaster = Callable[..., Path]
NAMES = ("red", "blue")


def data(write_raster: WriteRaster, folder: Path, count: int) -> tuple[Path, Path, list[NDArray[np.uint8]]]:
    """Images of 40 x 44 px with a red square, a blue one, or both; their table, a configuration, and the truth."""
    rng, lines, truth = np.random.default_rng(0), ["image,classes"], []
    for number in range(count):
        image_chw = rng.normal(80, 20, (3, 40, 44))
        labels_hw = np.full((40, 44), NODATA_CLASS, np.uint8)
        kinds = rng.permutation(2)[: 1 + number % 2]
        for kind in kinds:
            row, col = rng.integers(0, 24), 22 * kind + rng.integers(0, 6)
            image_chw[2 * kind, row : row + 16, col : col + 16] += 120
            labels_hw[row : row + 16, col : col + 16] = kind
        path = write_raster(image_chw.clip(0, 255).astype(np.uint8), f"image{number}.tif")
        lines.append(f"{path},{';'.join(NAMES[kind] for kind in kinds)}")
        truth.append(labels_hw)
    table, config = folder / "images.csv", folder / "train.yaml"
    table.write_text("\n".join(lines) + "\n")
    entry = {"image": "none.tif", "labels": "none.tif"}
    content = {
        "kind": "train",
        "name": "squares",
        "description": "squares",
        "licence": "CC0-1.0",
        "attribution": "nobody",
        "architecture": {"name": "unet_resnet18", "width": 0.25},
        "imagery": {
            "bands": ["red", "green", "blue"],
            "dtype": "uint8",
            "value_range": [0, 255],
            "ground_resolution_m": 1,
        },
        "classes": [{"name": name, "layer": None, "kind": "stuff", "color": "#000000"} for name in NAMES],
        "label_values": {0: "red", 1: "blue"},
        "data": [{**entry, "split": "train"}, {**entry, "split": "val"}],
        "training": {"crop_px": 44, "batch": 8, "iterations": 1, "validate_every": 1},
    }
    config.write_text(yaml.safe_dump(content))
    return table, config, truth


def test_each_image_gets_labels_on_its_own_pixels(write_raster: WriteRaster, tmp_path: Path) -> None:
    table, config, truth = data(write_raster, tmp_path, 4)
    output = tmp_path / "labels"
    asked = [str(table), "--config", str(config), "-o", str(output), "--iterations", "2"]
    done = CliRunner().invoke(weak_labels, asked, catch_exceptions=False)
    assert done.exit_code == 0
    assert f'labels: {output}/{{stem}}.tif, split: train, values: {{"0": "red", "1": "blue"}}' in done.output
    images = [Path(line.partition(",")[0]) for line in table.read_text().splitlines()[1:]]
    assert sorted(path.name for path in output.iterdir()) == [path.name for path in images]
    for image, labels_hw in zip(images, truth, strict=True):
        with rasterio.open(image) as expected, rasterio.open(output / image.name) as found:
            assert (found.transform, found.crs, found.shape) == (expected.transform, expected.crs, expected.shape)
            assert found.nodata == NODATA_CLASS
            # Only what the image holds.
            assert set(np.unique(found.read(1))) <= set(np.unique(labels_hw))
    with pytest.raises(ConfigError, match="expected a new or empty folder"):
        CliRunner().invoke(weak_labels, asked, catch_exceptions=False)


@pytest.mark.slow
def test_labels_of_images_become_right_labels_of_pixels(write_raster: WriteRaster, tmp_path: Path) -> None:
    table, config, truth = data(write_raster, tmp_path, 48)
    output = tmp_path / "labels"
    asked = [str(table), "--config", str(config), "-o", str(output), "--iterations", "60", "--least", "0.5"]
    CliRunner().invoke(weak_labels, [*asked, "--margin", "0.3"], catch_exceptions=False)
    told = right = held = 0
    for number, labels_hw in enumerate(truth):
        with rasterio.open(output / f"image{number}.tif") as dataset:
            found_hw = dataset.read(1)
        both_hw = (found_hw != NODATA_CLASS) & (labels_hw != NODATA_CLASS)
        told += int(both_hw.sum())
        right += int((found_hw == labels_hw)[both_hw].sum())
        held += int((labels_hw != NODATA_CLASS).sum())
    assert told > 0.2 * held
    assert right > 0.9 * told
