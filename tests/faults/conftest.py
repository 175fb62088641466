"""A scene whose runs are disturbed in every way, and the run that nothing happened to."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import ALONE, Mapping
from packages import save_tiny
from scipy import ndimage

from geoseg.imagery import Imagery
from geoseg.labels import LabelSet
from geoseg.models.architecture import Architecture, build

OPTIONS = ("--block-size", "512", "--min-area", "60")


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory, rgb: Imagery, labels: LabelSet) -> Path:
    """One whose classes fall into fewer and simpler objects than those of `tiny_model`."""
    torch.manual_seed(3)
    architecture = Architecture("unet_resnet18", len(rgb.bands), len(labels), 0.125)
    return save_tiny(tmp_path_factory.mktemp("models") / "small", build(architecture), architecture, rgb, labels)


@pytest.fixture(scope="session")
def mapping(small_model: Path, write_raster: Callable[..., Path]) -> Mapping:
    """A scene of 3 x 4 blocks, some of whose pixels hold no data."""
    rng = np.random.default_rng(11)
    image_chw = ndimage.gaussian_filter(rng.normal(size=(3, 1120, 1560)), (0, 9, 9))
    image_chw = np.clip(128 + 1500 * image_chw, 1, 255).astype(np.uint8)
    rows, cols = np.mgrid[:1120, :1560]
    valid_hw = (rows + cols > 500) & (rows - cols < 900)
    scene = write_raster(image_chw, mask_hw=valid_hw, tiled=True, blockxsize=256, blockysize=256)
    return Mapping(scene, small_model, OPTIONS)


@pytest.fixture(scope="session")
def panoptic_mapping(patchwork_scene: Path, panoptic_model: Path) -> Mapping:
    """A scene of 2 x 2 blocks and a model that tells objects apart."""
    return Mapping(patchwork_scene, panoptic_model, OPTIONS)


def _finished(mapping: Mapping, run: Path) -> Path:
    ended = mapping.finish(run, *ALONE)
    assert ended.returncode == 0, ended.stderr
    return run


@pytest.fixture(scope="session")
def undisturbed(mapping: Mapping, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The RUN folder of a run that nothing happened to, by one process: what workers write is the same."""
    return _finished(mapping, tmp_path_factory.mktemp("undisturbed") / "run")


@pytest.fixture(scope="session")
def undisturbed_panoptic(panoptic_mapping: Mapping, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `undisturbed`."""
    return _finished(panoptic_mapping, tmp_path_factory.mktemp("undisturbed") / "panoptic")
