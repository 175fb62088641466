"""A small network with the card that fits it."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from geoseg.imagery import Imagery
from geoseg.labels import LabelClass
from geoseg.models.architecture import Architecture, build
from geoseg.models.card import CardDraft, SplitMetrics, TileDefaults


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small spend their time waking threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def draft() -> CardDraft:
    return CardDraft(
        name="tiny-test",
        description="A network of eight channels that has learned nothing.",
        architecture=Architecture("unet_resnet18", bands=4, classes=3, width=0.01),
        imagery=Imagery(
            bands=("red", "green", "blue", "nir"),
            dtype="uint8",
            value_range=(0, 255),
            mean=(90.5, 91.25, 80.0, 120.0),
            std=(40.0, 41.0, 42.0, 43.5),
            ground_resolution_m=0.6,
        ),
        classes=(
            LabelClass("building", "buildings", "thing", "#aa0000"),
            LabelClass("road", "roads", "stuff", "#777777"),
            LabelClass("other", None, "stuff", "#000000"),
        ),
        tile=TileDefaults(size_px=256, overlap_px=32),
        metrics={
            "test": SplitMetrics(
                miou=0.5,
                iou={"building": 0.5, "road": 0.5, "other": None},
                pixel_accuracy=0.75,
                pixels=1000,
                regions=("t1",),
            )
        },
        training={"seed": 0, "schedule": {"epochs": [1, 2], "cosine": True}},
        licence="CC0-1.0",
        attribution=("nobody",),
    )


@pytest.fixture(scope="session")
def network(draft: CardDraft) -> nn.Module:
    """A network whose batch normalization has seen data, so that its statistics are not 0 and 1."""
    torch.manual_seed(0)
    network = build(draft.architecture)
    network(torch.randn(2, 4, 64, 64))
    return network.eval()
