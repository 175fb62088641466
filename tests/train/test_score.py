from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS
from geoseg.train.metrics import Confusion
from geoseg.train.scenes import LabelCoding, LabelledScene, Source
from geoseg.train.score import TileShape, cores, evenly, score

WriteScene = Callable[..., Source]

CODING = LabelCoding({1: 0, 2: 1})
CPU = torch.device("cpu")


class Threshold(nn.Module):
    """Class 1 where the first band is above its mean: exact, pixel by pixel."""

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        return torch.cat([-images_nchw[:, :1], images_nchw[:, :1]], dim=1)


class Neighbour(nn.Module):
    """The same on the pixel three rows up and four columns left, mirrored at the window's edge."""

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        padded = nn.functional.pad(images_nchw, (4, 0, 3, 0), mode="reflect")
        moved = padded[:, :1, : images_nchw.shape[2], : images_nchw.shape[3]]
        return torch.cat([-moved, moved], dim=1)


@pytest.mark.parametrize(("height", "width"), [(50, 70), (16, 16), (1, 90), (33, 31)])
def test_tiles_count_every_labelled_pixel_once(
    write_scene: WriteScene, imagery: Imagery, height: int, width: int
) -> None:
    rng = np.random.default_rng(0)
    image_chw = rng.integers(0, 256, (3, height, width)).astype(np.uint8)
    labels_hw = rng.integers(0, 3, (height, width)).astype(np.uint8)
    valid_hw = rng.random((height, width)) < 0.8
    shape = TileShape(32, 8)
    with LabelledScene(write_scene("scene", image_chw, labels_hw, valid_hw), imagery, CODING) as scene:
        counted = score(Threshold(), [(scene, core) for core in cores(scene, shape)], shape, 2, CPU)
    target_hw = np.where(valid_hw & (labels_hw > 0), labels_hw - 1, NODATA_CLASS).astype(np.uint8)
    whole = Confusion.of(target_hw, (image_chw[0] > 100).astype(np.uint8), 2)
    assert np.array_equal(counted.counts, whole.counts)
    assert whole.pixels == np.count_nonzero(valid_hw & (labels_hw > 0))


def test_a_margin_gives_every_pixel_its_context(write_scene: WriteScene, imagery: Imagery) -> None:
    rng = np.random.default_rng(1)
    image_chw = rng.integers(0, 256, (3, 60, 60)).astype(np.uint8)
    labels_hw = np.zeros((60, 60), np.uint8)
    labels_hw[10:50, 10:50] = 1 + (image_chw[0, 7:47, 6:46] > 100)
    source = write_scene("scene", image_chw, labels_hw)
    with LabelledScene(source, imagery, CODING) as scene:
        accuracy = {
            margin: score(
                Neighbour(),
                [(scene, core) for core in cores(scene, TileShape(32, margin))],
                TileShape(32, margin),
                2,
                CPU,
            ).accuracy()
            for margin in (0, 4)
        }
    assert accuracy[4] == 1
    assert accuracy[0] is not None
    assert accuracy[0] < 1


def test_scoring_leaves_the_mode_of_the_model_as_it_was(write_scene: WriteScene, imagery: Imagery) -> None:
    source = write_scene("scene", np.zeros((3, 8, 8), np.uint8), np.ones((8, 8), np.uint8))
    for mode in (True, False):
        model = Threshold().train(mode)
        with LabelledScene(source, imagery, CODING) as scene:
            score(model, [(scene, core) for core in cores(scene, TileShape(32, 8))], TileShape(32, 8), 2, CPU)
        assert model.training is mode


def test_only_tiles_that_meet_the_region_are_listed(write_scene: WriteScene, imagery: Imagery) -> None:
    source = write_scene("scene", np.zeros((3, 64, 64), np.uint8), np.ones((64, 64), np.uint8))
    with LabelledScene(source, imagery, CODING) as scene:
        assert len(list(cores(scene, TileShape(32, 8)))) == 16
        scene.pixels = scene.pixels.intersection(scene.pixels.buffer(-40).buffer(1))
        assert list(cores(scene, TileShape(32, 8))) == []


@given(st.integers(0, 200), st.integers(1, 50))
def test_a_selection_is_even_and_never_too_long(length: int, count: int) -> None:
    windows = list(range(length))
    chosen = evenly(windows, count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(length, count)
    steps = np.diff(chosen)
    assert steps.size == 0 or steps.max() - steps.min() <= 1


@pytest.mark.parametrize(("size_px", "margin_px"), [(32, 16), (32, -1)])
def test_a_margin_that_leaves_nothing_is_refused(size_px: int, margin_px: int) -> None:
    with pytest.raises(ValueError, match="margin"):
        TileShape(size_px, margin_px)
