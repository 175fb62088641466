"""The table of a study: what came of each run, for people (Markdown) and programs (CSV, JSON)."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.report.figure_file import write_whole

RULE = (
    "A run is cut short if its best validation is its last, or lies within the last 20 % of its validations: it "
    "may have gone on getting better. Otherwise it converged."
)
"""When a run counts as cut short, for people."""


def cut_short(best: int, validations: int) -> bool:
    """Whether a run may have gone on getting better, by `RULE`.

    Args:
        best: Which of its validations was the best, from 1.
        validations: How many there were.
    """
    return best == validations or 5 * best > 4 * validations


@dataclass(frozen=True, slots=True)
class StudyRow:
    """What came of a run.

    Attributes:
        run: Its name.
        differs: In what it differs from the other runs.
        miou: Mean IoU of the whole validation regions.
        miou_interval: Its interval; None where the regions are too small for one.
        iou: By class name, likewise of the whole regions; None where neither labels nor predictions have the class.
        best_iteration: Iterations done when the packed weights were kept.
        iterations: Iterations done.
        planned: Iterations that there were to be.
        cut_short: Whether it may have gone on getting better, by `RULE`.
        minutes: Of the training; None where nothing tells.
        minutes_by: "processes": from start to end of the processes that trained it, figures included; "log": from
            the first step to the last validation of each part.
        beside: How many runs trained at a time, itself included; None where that is not known.
        parameters: Numbers that were learned.
        weights_bytes: Size of the weights file.
        ground_resolution_m: Ground length of a pixel of the model in metres.
        ground_mpx_per_s: Millions of its pixels of ground that the network covers in a second.
        ground_km2_per_h: The same in square kilometres an hour.
    """

    run: str
    differs: str
    miou: float | None
    miou_interval: tuple[float, float] | None
    iou: dict[str, float | None]
    best_iteration: int
    iterations: int
    planned: int
    cut_short: bool
    minutes: float | None
    minutes_by: str | None
    beside: int | None
    parameters: int
    weights_bytes: int
    ground_resolution_m: float
    ground_mpx_per_s: float
    ground_km2_per_h: float

    def to_json(self) -> dict[str, Any]:
        """All of it, rounded as the table has it."""
        return {
            "run": self.run,
            "differs": self.differs,
            "miou": _rounded(self.miou, 4),
            "miou_low": None if self.miou_interval is None else round(self.miou_interval[0], 4),
            "miou_high": None if self.miou_interval is None else round(self.miou_interval[1], 4),
            "iou": {name: _rounded(value, 4) for name, value in self.iou.items()},
            "best_iteration": self.best_iteration,
            "iterations": self.iterations,
            "planned": self.planned,
            "end": "cut short" if self.cut_short else "converged",
            "minutes": _rounded(self.minutes, 1),
            "minutes_by": self.minutes_by,
            "beside": self.beside,
            "parameters_millions": round(self.parameters / 1e6, 3),
            "weights_mb": round(self.weights_bytes / 1e6, 2),
            "ground_resolution_m": self.ground_resolution_m,
            "ground_mpx_per_s": round(self.ground_mpx_per_s, 3),
            "ground_km2_per_h": round(self.ground_km2_per_h, 1),
        }


@dataclass(frozen=True, slots=True)
class StudyTable:
    """What came of a study.

    Attributes:
        name: Of the study.
        description: What it is to find out.
        rows: Of its finished runs.
        failed: Why runs failed, by their names.
        unfinished: Names of the others.
        notes: On what it was measured, and what was left out: a sentence each.
    """

    name: str
    description: str
    rows: tuple[StudyRow, ...]
    failed: dict[str, str]
    unfinished: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ranked(self) -> tuple[StudyRow, ...]:
        """The rows, the highest mean IoU first; equal ones as they came."""
        return tuple(sorted(self.rows, key=lambda row: -1.0 if row.miou is None else row.miou, reverse=True))

    def to_json(self) -> dict[str, Any]:
        """The table as a document."""
        return {
            "study": self.name,
            "description": self.description,
            "rule": RULE,
            "notes": list(self.notes),
            "rows": [row.to_json() for row in self.ranked],
            "failed": dict(self.failed),
            "unfinished": list(self.unfinished),
        }

    def to_markdown(self) -> str:
        """The table as a page."""
        header, *rows = self.cells()
        lines = [f"# {_cell(self.name)}", "", _cell(self.description), ""]
        lines += [_line(header), _line(["---"] * len(header)), *map(_line, rows)]
        said = [RULE, "mIoU and IoU are those of the whole validation regions, with 95 % intervals.", *self.notes]
        said += [f"Failed: {name}, {why}" for name, why in self.failed.items()]
        said += [f"Not finished: {', '.join(self.unfinished)}."] if self.unfinished else []
        return "\n".join([*lines, "", *(f"- {_cell(one)}" for one in said)]) + "\n"

    def cells(self) -> list[list[str]]:
        """The table for people: a heading, then a line for each run."""
        classes = self._classes()
        header = ["run", "differs", "val mIoU", "interval", *classes, "best at", "of", "planned", "end", "min"]
        header += ["M parameters", "MB", "ground Mpx/s", "km2/h"]
        return [header, *(_shown(row.to_json(), classes) for row in self.ranked)]

    def write(self, folder: Path) -> tuple[Path, Path, Path]:
        """Write table.csv, table.json and table.md, each in one step.

        Args:
            folder: Where; it is there.

        Returns:
            The files.
        """
        files = folder / "table.csv", folder / "table.json", folder / "table.md"
        document = json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n"
        write_whole(files[0], self._write_csv)
        write_whole(files[1], lambda part: part.write_text(document, encoding="utf-8"))
        write_whole(files[2], lambda part: part.write_text(self.to_markdown(), encoding="utf-8"))
        return files

    def _classes(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row.iou))

    def _write_csv(self, path: Path) -> None:
        """A column for each figure; one that does not exist is empty."""
        classes, flat = self._classes(), []
        for row in self.ranked:
            values = row.to_json()
            ious = values.pop("iou")
            flat.append({**values, **{f"iou_{name}": ious.get(name) for name in classes}})
        columns = list(flat[0]) if flat else ["run", "differs", "miou"]
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(flat)


def _shown(row: dict[str, Any], classes: Sequence[str]) -> list[str]:
    interval = "-" if row["miou_low"] is None else f"{row['miou_low']:.3f} to {row['miou_high']:.3f}"
    return [
        row["run"],
        row["differs"] or "-",
        _figure(row["miou"]),
        interval,
        *(_figure(row["iou"].get(name)) for name in classes),
        str(row["best_iteration"]),
        str(row["iterations"]),
        str(row["planned"]),
        row["end"],
        "-" if row["minutes"] is None else f"{row['minutes']:.1f}",
        f"{row['parameters_millions']:.2f}",
        f"{row['weights_mb']:.1f}",
        f"{row['ground_mpx_per_s']:.2f}",
        f"{row['ground_km2_per_h']:.0f}",
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """Text that stays in its cell, and in its line."""
    return "".join(char if char.isprintable() else " " for char in text).replace("|", "\\|")
