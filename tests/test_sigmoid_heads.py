"""Models whose classes have probabilities of their own, from pixels to the mosaic."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

import geoseg
from geoseg.fields import predict_block
from geoseg.imagery import Imagery
from geoseg.io.raster import SceneReader
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.models.package import CardDraft, load_package, save_package
from geoseg.predict import Numerics, Predictor
from geoseg.tiling import BlockPlan, Lattice

WriteRaster = Callable[..., Path]


def shifted(images_nchw: torch.Tensor) -> torch.Tensor:
    """Two classes that are likely together, in bright places."""
    brightness_nchw = images_nchw[:, :1] / 50
    return torch.cat([brightness_nchw - 2, brightness_nchw - 3], dim=1)


def test_each_class_has_a_probability_of_its_own(write_raster: WriteRaster, rgb: Imagery) -> None:
    image_chw = np.random.default_rng(0).integers(0, 256, (3, 40, 50)).astype(np.uint8)
    reader = SceneReader(describe_scene(str(write_raster(image_chw)), rgb, SceneOptions()))
    plan = BlockPlan(40, 50, Lattice(32, 8), 64, (64, 64))
    fields = predict_block(
        reader, rgb, plan, plan.block(0, 0), Predictor(shifted, Numerics("cpu", "fp32", 1, 2)), 2, "sigmoid"
    )
    reader.close()
    assert fields is not None
    logits_khw = image_chw[0] / 50 - np.array([2, 3])[:, None, None]
    expected_khw = 254 / (1 + np.exp(-logits_khw))
    assert np.abs(fields.probability_chw - expected_khw).max() <= 0.501
    assert (fields.classes_hw == 0).all()
    assert np.array_equal(fields.confidence_hw, fields.probability_chw[0])
    assert (fields.probability_chw.astype(int).sum(0) > 254).any()


@pytest.mark.slow
def test_a_map_holds_what_the_model_says(write_raster: WriteRaster, tiny_model: Path, tmp_path: Path) -> None:
    patches_chw = np.random.default_rng(3).integers(0, 256, (3, 3, 4)).repeat(40, 1).repeat(40, 2)
    scene = str(write_raster(patches_chw.astype(np.uint8)))
    package = load_package(tiny_model)
    said = {name: getattr(package.card, name) for name in CardDraft.model_fields}
    sigmoid = tmp_path / "sigmoid"
    save_package(sigmoid, CardDraft(**{**said, "activation": "sigmoid"}), package.build())
    run = tmp_path / "run"
    geoseg.map_scenes(scene, run, model=sigmoid, local=True, probability=True, network=False, precision="fp32")
    mosaic = zarr.open_group(run / "mosaic.zarr", mode="r")["0"]
    assert isinstance(mosaic, zarr.Group)
    classes_hw, probability_khw = (np.asarray(mosaic[name]) for name in ("classes", "probability"))
    reader = SceneReader(describe_scene(scene, package.imagery, SceneOptions()))
    height, width = classes_hw.shape
    plan = BlockPlan(height, width, Lattice(64, 16), 1024, (1024, 1024))
    predictor = Predictor(package.build(), Numerics("cpu", "fp32", 1, 1))
    fields = predict_block(reader, package.imagery, plan, plan.block(0, 0), predictor, 3, "sigmoid")
    reader.close()
    assert fields is not None
    assert np.abs(probability_khw.astype(int) - fields.probability_chw.astype(int)).max() <= 1
    assert np.mean(classes_hw == fields.classes_hw) > 0.999
