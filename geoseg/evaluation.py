"""How a model did on the regions of a split: counts, figures and intervals."""

from dataclasses import dataclass
from typing import Any

from geoseg.labels import LabelSet
from geoseg.train.metrics import Confusion, bootstrap
from geoseg.train.metrics.edges import REACH_PX
from geoseg.train.metrics.figures import number
from geoseg.train.metrics.tally import OF_ALL, OF_CLASSES, Tally, named_figures

SQUARE_PX = 512
"""Side of the squares that are counted, and drawn for intervals: each is many buildings or fields wide."""

_MANY_REGIONS = 10
"""From so many regions on, intervals draw regions in place of squares."""


@dataclass(frozen=True, slots=True)
class RegionScore:
    """How a model did on one region.

    Attributes:
        name: Of the region.
        squares: Counts of the squares of 512 px that hold labels.
    """

    name: str
    squares: tuple[Tally, ...]

    def tally(self, classes: int) -> Tally:
        """Counts over all of its labelled pixels."""
        return sum(self.squares, Tally.zero(classes))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a model did on a split.

    Attributes:
        split: The split.
        labels: The classes.
        regions: Its regions, in the order of the configuration.
    """

    split: str
    labels: LabelSet
    regions: tuple[RegionScore, ...]

    @property
    def tally(self) -> Tally:
        """Counts over all regions: a pixel weighs the same wherever it lies."""
        classes = len(self.labels)
        return sum((region.tally(classes) for region in self.regions), Tally.zero(classes))

    @property
    def pooled(self) -> Confusion:
        """Classes against classes over all regions."""
        return self.tally.confusion

    def figures(self) -> dict[str, float | None]:
        """All figures of the split by names such as "miou", "ece" and "building.iou"."""
        return _named(self.tally, self.labels)

    def to_json(self) -> dict[str, Any]:
        """All figures of the split, with intervals, and of each of its regions."""
        many = len(self.regions) >= _MANY_REGIONS
        classes = len(self.labels)
        squares = [square for region in self.regions for square in region.squares]
        pieces = [region.tally(classes) for region in self.regions if region.squares] if many else squares
        return {
            "split": self.split,
            **_figures(self.tally, self.labels),
            "intervals": bootstrap.intervals(pieces, self.labels.names),
            "parameters": {
                "boundary_px": REACH_PX,
                "level": bootstrap.LEVEL,
                "replicates": bootstrap.REPLICATES,
                "drawn": "regions" if many else f"squares of {SQUARE_PX} px",
                "pieces": len(pieces),
            },
            "regions": [
                {"name": region.name, **_figures(region.tally(classes), self.labels)} for region in self.regions
            ],
        }


def _named(tally: Tally, labels: LabelSet) -> dict[str, float | None]:
    return {name: number(value) for name, value in named_figures(tally.numbers, labels.names).items()}


def _figures(tally: Tally, labels: LabelSet) -> dict[str, Any]:
    named, confusion = _named(tally, labels), tally.confusion
    return {
        **{figure: named[figure] for figure in OF_ALL},
        "iou": {name: named[f"{name}.iou"] for name in labels.names},
        "classes": {name: {figure: named[f"{name}.{figure}"] for figure in OF_CLASSES} for name in labels.names},
        "pixels": confusion.pixels,
        "confusion": confusion.counts.tolist(),
        "decisions": dict(zip(labels.names, confusion.decisions.tolist(), strict=True)),
        "reliability": tally.reliability.counts.tolist(),
    }
