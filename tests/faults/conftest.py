"""A scene whose runs are disturbed in every way, and the run that nothing happened to."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import Mapping
from scipy import ndimage

from geoseg.imagery import Imagery
from geoseg.labels import LabelSet
from geoseg.models.architecture import Architecture, build
from geoseg.models.package import CardDraft, TileDefaults, save_package


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory, rgb: Imagery, labels: LabelSet) -> Path:
    """A network of random weights whose blocks take well under a second."""
    torch.manual_seed(3)
    architecture = Architecture("unet_resnet18", len(rgb.bands), len(labels), 0.125)
    draft = CardDraft(
        name="small",
        description="for tests",
        architecture=architecture,
        imagery=replace(rgb, mean=(128.0,) * 3, std=(50.0,) * 3),
        classes=labels.classes,
        tile=TileDefaults(size_px=256, overlap_px=64),
        metrics={},
        training={},
        licence="CC0-1.0",
        attribution=("nobody",),
    )
    folder = tmp_path_factory.mktemp("models") / "small"
    save_package(folder, draft, build(architecture))
    return folder


@pytest.fixture(scope="session")
def mapping(small_model: Path, write_raster: Callable[..., Path]) -> Mapping:
    """A scene of 4 x 5 blocks, some of whose pixels hold no data."""
    rng = np.random.default_rng(11)
    image_chw = ndimage.gaussian_filter(rng.normal(size=(3, 1900, 2300)), (0, 9, 9))
    image_chw = np.clip(128 + 1500 * image_chw, 1, 255).astype(np.uint8)
    rows, cols = np.mgrid[:1900, :2300]
    valid_hw = (rows + cols > 700) & (rows - cols < 1500)
    scene = write_raster(image_chw, mask_hw=valid_hw, tiled=True, blockxsize=256, blockysize=256)
    return Mapping(scene, small_model)


@pytest.fixture(scope="session")
def undisturbed(mapping: Mapping, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The RUN folder of a run that nothing happened to."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    finished = mapping.finish(run)
    assert finished.returncode == 0, finished.stderr
    return run
