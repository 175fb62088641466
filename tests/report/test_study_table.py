"""The table of a study: the same figures in every form, and when a run counts as cut short."""

import csv
import json
import re
from fractions import Fraction
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from geoseg.report.study_table import StudyRow, StudyTable, cut_short


def row(name: str, miou: float | None, **changes: object) -> StudyRow:
    values: dict[str, object] = {
        "run": name,
        "differs": "lr 0.1",
        "miou": miou,
        "miou_interval": None if miou is None else (miou - 0.01, miou + 0.01),
        "iou": {"road": miou, "roof": None},
        "best_iteration": 40,
        "iterations": 60,
        "planned": 100,
        "cut_short": False,
        "minutes": 2.25,
        "minutes_by": "processes",
        "beside": 1,
        "parameters": 1_231_000,
        "weights_bytes": 2_500_000,
        "ground_resolution_m": 0.5,
        "ground_mpx_per_s": 1.25,
        "ground_km2_per_h": 1125.0,
    }
    return StudyRow(**{**values, **changes})  # type: ignore[arg-type]


def table(*rows: StudyRow) -> StudyTable:
    return StudyTable("tricks", "which | helps", rows, {"bad": "the loss is\nnot finite"}, ("slow",), ("a note",))


@given(st.integers(1, 60).flatmap(lambda count: st.tuples(st.integers(1, count), st.just(count))))
def test_a_run_is_cut_short_if_its_best_lies_in_the_last_fifth(best_of: tuple[int, int]) -> None:
    best, count = best_of
    last_fifth = Fraction(best, count) > Fraction(4, 5)
    assert cut_short(best, count) == (last_fifth or best == count)


@given(st.lists(st.none() | st.integers(0, 1000).map(lambda part: part / 1000), max_size=8))
def test_rows_go_from_the_best_to_those_without_a_figure(mious: list[float | None]) -> None:
    rows = [row(f"r{number}", miou) for number, miou in enumerate(mious)]
    ranked = table(*rows).ranked
    assert {one.run for one in ranked} == {one.run for one in rows}
    found = [one.miou for one in ranked]
    there = [miou for miou in found if miou is not None]
    assert there == sorted(there, reverse=True)
    assert found == [*there, *[None] * (len(found) - len(there))]


def test_all_forms_hold_the_same_figures(tmp_path: Path) -> None:
    rows = (row("low", 0.25), row("none", None, minutes=None, minutes_by=None), row("high", 0.75, cut_short=True))
    files = table(*rows).write(tmp_path)
    assert [file.name for file in files] == ["table.csv", "table.json", "table.md"]
    document = json.loads(files[1].read_text())
    assert [one["run"] for one in document["rows"]] == ["high", "low", "none"]
    assert [one["end"] for one in document["rows"]] == ["cut short", "converged", "converged"]
    with files[0].open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    for one, line in zip(document["rows"], lines, strict=True):
        flat = {**one, **{f"iou_{name}": value for name, value in one["iou"].items()}}
        del flat["iou"]
        assert line == {key: "" if value is None else str(value) for key, value in flat.items()}
    page = files[2].read_text()
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in page.splitlines()
        if line.startswith("|")
    ]
    assert {len(line) for line in cells} == {len(cells[0])}
    by_heading = [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]
    assert [one["val mIoU"] for one in by_heading] == ["0.750", "0.250", "-"]
    assert [one["min"] for one in by_heading] == ["2.2", "2.2", "-"]
    assert by_heading[0]["interval"] == "0.740 to 0.760"
    assert (by_heading[0]["M parameters"], by_heading[0]["MB"], by_heading[0]["km2/h"]) == ("1.23", "2.5", "1125")
    assert "- Failed: bad, the loss is not finite" in page.splitlines()
    assert "- Not finished: slow." in page.splitlines()
    assert "which \\| helps" in page


def test_a_study_without_a_finished_run_has_a_table_without_rows(tmp_path: Path) -> None:
    files = table().write(tmp_path)
    assert json.loads(files[1].read_text())["rows"] == []
    assert len(files[0].read_text().splitlines()) == 1
