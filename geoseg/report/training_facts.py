"""What a page says of a training: its curves, its figures on each split, and chips that went well and badly."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.labels import LabelSet
from geoseg.report.chip_picture import JudgedChip


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A validation during training: a row of log.csv.

    Attributes:
        iteration: Iterations done.
        lr: Learning rate.
        loss: Mean loss since the last validation.
        miou: Mean IoU on the validation tiles; None where there is none.
        iou: By class name; None where neither labels nor predictions have the class.
        seconds: Since the run, or its last part, began.
    """

    iteration: int
    lr: float
    loss: float
    miou: float | None
    iou: dict[str, float | None]
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class SplitFacts:
    """How the finished model did on the whole regions of a split.

    Attributes:
        split: Its name.
        miou: Mean IoU; None where no pixel is labelled.
        accuracy: Share of the labelled pixels that are right; None likewise.
        pixels: Labelled pixels.
        iou: By class name; None where neither labels nor predictions have the class.
        counts: int64 (true class, predicted class): pixels.
        regions: Name, mean IoU and labelled pixels of each region.
    """

    split: str
    miou: float | None
    accuracy: float | None
    pixels: int
    iou: dict[str, float | None]
    counts: NDArray[np.int64]
    regions: tuple[tuple[str, float | None, int], ...]

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> Self:
        """From what `geoseg evaluate --json` says (`Evaluation.to_json`)."""
        return cls(
            split=figures["split"],
            miou=figures["miou"],
            accuracy=figures["accuracy"],
            pixels=figures["pixels"],
            iou=dict(figures["iou"]),
            counts=np.asarray(figures["confusion"], np.int64),
            regions=tuple((one["name"], one["miou"], one["pixels"]) for one in figures["regions"]),
        )

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of the pixels of each true class, the share of each predicted one (true class, predicted class).

        NaN in the row of a class that is not there.
        """
        totals = self.counts.sum(1, keepdims=True)
        return np.divide(self.counts, totals, out=np.full(self.counts.shape, np.nan), where=totals > 0)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingFacts:
    """All that a page says of a training.

    Attributes:
        name: Of the model.
        description: What it is for.
        labels: Its classes.
        curve: The validations, in order.
        best_iteration: The one whose weights were packed.
        splits: Figures of the finished model.
        best: Validation chips of the highest mean IoU, the best first.
        worst: Those of the lowest, the worst first.
        rows: What was trained and how: label and words.
        next_command: What to type to map a scene with the model.
        licence: Of the model.
        attribution: Whose data it stands on.
    """

    name: str
    description: str
    labels: LabelSet
    curve: tuple[CurvePoint, ...]
    best_iteration: int
    splits: tuple[SplitFacts, ...]
    best: tuple[JudgedChip, ...]
    worst: tuple[JudgedChip, ...]
    rows: tuple[tuple[str, str], ...]
    next_command: str
    licence: str
    attribution: tuple[str, ...]


def read_curve(path: Path) -> tuple[CurvePoint, ...]:
    """The validations of a training, from its log.csv; columns that are not known are passed over.

    Args:
        path: The file.

    Raises:
        ConfigError: It cannot be read, a column is missing, or a cell is no number; names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected the log of a training, {path} cannot be read: {error}") from error
    points = []
    for line, row in enumerate(rows, 2):
        try:
            points.append(_point(row))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}, line {line}: expected the log of a training, got {error!r}") from error
    return tuple(points)


def _point(row: Mapping[str, str]) -> CurvePoint:
    start = "val_iou_"
    return CurvePoint(
        iteration=int(row["iteration"]),
        lr=float(row["lr"]),
        loss=float(row["loss"]),
        miou=_optional(row["val_miou"]),
        iou={name.removeprefix(start): _optional(cell) for name, cell in row.items() if name.startswith(start)},
        seconds=float(row["seconds"]),
    )


def _optional(cell: str) -> float | None:
    value = float(cell) if cell else math.nan
    return value if math.isfinite(value) else None
