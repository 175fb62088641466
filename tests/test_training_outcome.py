"""A training shown from what it left: its log, its card, its network and its validation regions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from geoseg.imagery import Imagery
from geoseg.labels import LabelClass
from geoseg.models.architecture import Architecture
from geoseg.models.card import CardDraft, TileDefaults
from geoseg.train.metrics import Confusion
from geoseg.train.scenes import LabelCoding, LabelledScene, Source
from geoseg.training_outcome import show_training

WriteRaster = Callable[..., Path]


class Threshold(nn.Module):
    """Class 1 where the first band is above 100: exact, pixel by pixel."""

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        return torch.cat([100.5 - images_nchw[:, :1], images_nchw[:, :1] - 100.5], dim=1)


@pytest.fixture
def card(rgb: Imagery) -> CardDraft:
    return CardDraft(
        name="tiny",
        description="for tests",
        architecture=Architecture("unet_resnet18", 3, 2, 0.125),
        imagery=rgb,
        classes=(
            LabelClass("dark", None, "stuff", "#000000"),
            LabelClass("light", "lights", "stuff", "#ffffff"),
        ),
        tile=TileDefaults(size_px=64, overlap_px=16),
        metrics={},
        training={"recipe": {"iterations": 20, "lr": 0.001, "loss": {"dice": 1.0}, "bf16": False}},
        licence="CC0-1.0",
        attribution=("nobody",),
    )


def test_a_training_is_shown_with_its_best_and_worst_chips(
    tmp_path: Path, write_raster: WriteRaster, card: CardDraft
) -> None:
    rng = np.random.default_rng(0)
    image_chw = rng.integers(0, 256, (3, 96, 144)).astype(np.uint8)
    # Of six cores of 48 px the first is all right, the last all wrong.
    labels_hw = np.where(image_chw[0] > 100, 2, 1).astype(np.uint8)
    flipped_hw = rng.random((96, 144)) < 0.3
    flipped_hw[:48, :48], flipped_hw[48:, 96:] = False, True
    labels_hw[flipped_hw] = 3 - labels_hw[flipped_hw]
    image = write_raster(image_chw, "scene.tif", photometric="rgb")
    source = Source("scene", str(image), str(write_raster(labels_hw[None], nodata=0)), "val", None)
    log = tmp_path / "log.csv"
    log.write_text(
        "iteration,lr,loss,val_miou,val_iou_dark,val_iou_light,seconds\n10,0.001,2,0.5,0.5,0.5,1\n20,0,1,,,,2\n"
    )
    counts = Confusion(np.array([[6, 2], [2, 0]], np.int64))
    figures: dict[str, Any] = {"split": "val", "miou": counts.miou(), "iou": {"dark": 0.6, "light": 0.0}}
    figures |= {"accuracy": 0.6, "pixels": 10, "confusion": counts.counts.tolist(), "regions": []}
    network = Threshold().train()
    with LabelledScene(source, card.imagery, LabelCoding({1: 0, 2: 1})) as scene:
        page = show_training(
            tmp_path / "report",
            log,
            card,
            network,
            torch.device("cpu"),
            [scene],
            [figures],
            10,
            "geoseg map SCENE --model ./tiny -o RUN",
            [("Stopped", "early")],
            tmp_path / "failures.png",
        )
    assert network.training
    text = page.read_text()
    for said in (
        "geoseg map SCENE --model ./tiny -o RUN",
        "<dt>Lr</dt><dd>0.001</dd>",
        "<dt>Loss</dt><dd>dice 1.0</dd>",
        "<dt>Bf16</dt><dd>no</dd>",
        "<dt>Stopped</dt><dd>early</dd>",
    ):
        assert said in text
    worst, best = text.split('id="worst"')[1].split('id="best"')
    assert "scene, row 48, column 96<span>mean IoU 0.000" in worst
    assert worst.count('class="chip"') == best.count('class="chip"') == 3
    with Image.open(tmp_path / "failures.png") as picture:
        # Three chips of four panels, the worst first: it is wrong throughout, and so has one colour.
        width, height = picture.size
        panel_px = (height - 2 * 6) // 3
        assert width == 4 * panel_px + 3 * 6
        assert picture.crop((3 * (panel_px + 6), 0, width, panel_px)).getcolors() == [(panel_px**2, (213, 94, 0))]
    assert best.index("scene, row 0, column 0<span>mean IoU 1.000") < best.index("mean IoU 0.5")
