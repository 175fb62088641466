"""log.csv: a row for each validation of a training run."""

import csv
from pathlib import Path

from geoseg.train.metrics import Confusion
from geoseg.train.steps import Step


class Log:
    """The log of a run; when it goes on, rows after the place where it goes on are dropped."""

    def __init__(self, path: Path, class_names: tuple[str, ...], start: int) -> None:
        """Begin the file, or go on with it.

        Args:
            path: The file.
            class_names: Columns, by class id.
            start: The last iteration whose row stays.
        """
        self._path = path
        header = ["iteration", "lr", "loss", "val_miou", *(f"val_iou_{name}" for name in class_names)]
        header += ["seconds", "samples_per_s"]
        rows: list[list[str]] = []
        if start and path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                rows = [row for row in list(csv.reader(stream))[1:] if int(row[0]) <= start]
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([header, *rows])

    def row(self, step: Step, mean_loss: float, confusion: Confusion) -> None:
        """Append a validation, with the mean loss since the last one; an IoU that does not exist is empty."""
        values = [confusion.miou(), *confusion.iou()]
        cells = ["" if value is None else f"{value:.4f}" for value in values]
        times = [f"{step.seconds:.1f}", f"{step.samples_per_s:.2f}"]
        row = [step.iteration, f"{step.lr:.6g}", f"{mean_loss:.5f}", *cells, *times]
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerow(row)
