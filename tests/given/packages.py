"""Model packages of networks that were never trained."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from geoseg.imagery import Imagery
from geoseg.labels import LabelSet
from geoseg.models.architecture import Architecture
from geoseg.models.package import CardDraft, TileDefaults, save_package


def save_tiny(folder: Path, network: nn.Module, architecture: Architecture, rgb: Imagery, labels: LabelSet) -> Path:
    """A package of a network small enough to map scenes in a blink."""
    draft = CardDraft(
        name=folder.name,
        description="for tests",
        architecture=architecture,
        imagery=replace(rgb, mean=(128.0,) * 3, std=(50.0,) * 3),
        classes=labels.classes,
        tile=TileDefaults(size_px=64, overlap_px=16),
        metrics={},
        training={},
        licence="CC0-1.0",
        attribution=("nobody",),
    )
    save_package(folder, draft, network)
    return folder
