"""The page of a training and its pictures."""

import base64
import csv
import hashlib
import io
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geoseg.errors import ConfigError
from geoseg.labels import LabelSet
from geoseg.report import training_curves
from geoseg.report.chip_picture import (
    RIGHT,
    WRONG,
    JudgedChip,
    class_colors,
    differences,
    png,
)
from geoseg.report.training_curves import plots
from geoseg.report.training_facts import CurvePoint, SplitFacts, TrainingFacts, read_curve
from geoseg.report.training_page import training_page
from geoseg.report.training_report import write_training_report

HOSTILE = "</style><script>alert(1)</script><img src=x onerror=alert(1)> $x_1$ {{ 7 * 7 }}"


@pytest.fixture
def facts(labels: LabelSet) -> TrainingFacts:
    rng = np.random.default_rng(0)
    chip = JudgedChip(
        HOSTILE,
        rng.uniform(0, 255, (3, 24, 32)).astype(np.float32),
        np.ones((24, 32), np.bool_),
        rng.integers(0, 3, (24, 32)).astype(np.uint8),
        rng.integers(0, 3, (24, 32)).astype(np.uint8),
        0.25,
    )
    iou = dict(zip(labels.names, (0.5, None, 1.0), strict=True))
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 6]], np.int64)
    split = SplitFacts("val", 0.75, 0.9, 12, iou, counts, (("a", 0.7, 6), ("b", None, 6)))
    mious = {2: None}
    curve = tuple(CurvePoint(10 * n, 1e-3 / n, 2 / n, mious.get(n, n / 9), iou, 3.0 * n) for n in range(1, 6))
    return TrainingFacts(
        "tiny",
        HOSTILE,
        labels,
        curve,
        50,
        (split,),
        (chip,),
        (chip,),
        (("Network", HOSTILE),),
        "geoseg map",
        "x",
        (),
    )


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_pictures_say_of_every_pixel_what_it_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true_hw, predicted_hw = rng.choice(np.array([0, 1, 2, 5, 255], np.uint8), (2, 11, 13))
    shown_hwc = differences(true_hw, predicted_hw, 3)
    for at in np.ndindex(11, 13):
        known = true_hw[at] < 3 and predicted_hw[at] < 3
        color = tuple(shown_hwc[at].tolist())
        assert (color in {RIGHT, WRONG}) == known
        assert not known or color == (RIGHT if true_hw[at] == predicted_hw[at] else WRONG)


def test_classes_have_their_colours_and_the_rest_none_of_them(labels: LabelSet) -> None:
    ids_hw = np.array([[0, 1, 2, 3, 255]], np.uint8)
    shown = [tuple(color) for color in class_colors(ids_hw, labels)[0].tolist()]
    assert shown[:3] == [label.rgb for label in labels.classes]
    assert not {label.rgb for label in labels.classes} & set(shown[3:])


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 70))
@settings(max_examples=15)
def test_a_picture_is_shrunk_without_new_colours(height: int, width: int, longest_px: int) -> None:
    picture_hwc = np.random.default_rng(height).choice(np.array([0, 100, 250], np.uint8), (height, width, 3))
    with Image.open(io.BytesIO(png(picture_hwc, longest_px))) as image:
        read_hwc = np.asarray(image)
    assert max(read_hwc.shape[:2]) == min(longest_px, max(height, width))
    colors = {tuple(color) for color in picture_hwc.reshape(-1, 3).tolist()}
    assert {tuple(color) for color in read_hwc.reshape(-1, 3).tolist()} <= colors


def test_shares_are_those_of_each_true_class(facts: TrainingFacts) -> None:
    shares = facts.splits[0].shares
    assert np.allclose(shares[[0, 2]], [[0.75, 0.25, 0], [0.25, 0, 0.75]])
    assert np.isnan(shares[1]).all()


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=12))
def test_curves_stay_in_their_frame_and_go_up_where_values_do(values: list[float | None]) -> None:
    curve = tuple(CurvePoint(7 * (n + 1), 0.1, 1.0, value, {}, 0.0) for n, value in enumerate(values))
    facts = TrainingFacts("x", "x", LabelSet.__new__(LabelSet), curve, 7, (), (), (), (), "", "", ())
    plot = plots(facts)[1]
    known = [value for value in values if value is not None]
    assert len(plot.dots) == len(known)
    for x, y in plot.dots:
        assert training_curves.LEFT <= x <= training_curves.RIGHT
        assert training_curves.TOP <= y <= training_curves.BOTTOM
    highest = sorted(zip(known, plot.dots, strict=True), key=lambda pair: pair[0])
    assert all(one[1][1] >= other[1][1] for one, other in pairwise(highest))
    assert (plot.chosen is None) == (values[0] is None)


def test_the_page_may_do_nothing_and_names_are_no_markup(facts: TrainingFacts) -> None:
    page = training_page(facts, (("curves.png", HOSTILE),))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src &#39;none&#39;; script-src &#39;none&#39;;" in policy[1]
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() for style in styles]
    assert len(styles) == 2
    assert all(f"&#39;sha256-{one}&#39;" in policy[1] for one in hashes)
    for forbidden in ("<script", "<img src=x", " style=", "49 ", "http://", "https://"):
        assert forbidden not in page
    assert page.count("data:image/png;base64,") == 8


def test_a_report_has_its_pictures_and_no_older_ones(facts: TrainingFacts, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "report"
    page = write_training_report(folder, facts)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(first) == {
        "report.html",
        "curves.png",
        "iou.png",
        "confusion_val.png",
        "chips_best.png",
        "chips_worst.png",
    }
    assert write_training_report(folder, facts) == page
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    (folder / "own.txt").write_text("the user's")
    write_training_report(folder, replace(facts, curve=(), splits=(), best=(), worst=()))
    assert {path.name for path in folder.iterdir()} == {"report.html", "own.txt"}
    assert "Nothing was validated" in page.read_text()


def test_the_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    header = ["iteration", "lr", "loss", "val_miou", "val_iou_a", "val_iou_b", "seconds", "of_later"]
    with log.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, [10, "0.1", "2.5", "0.5", "0.5", "", "7.5", "x"]])
    assert read_curve(log) == (CurvePoint(10, 0.1, 2.5, 0.5, {"a": 0.5, "b": None}, 7.5),)
    log.write_text("iteration,lr\n1,x\n")
    with pytest.raises(ConfigError, match="line 2"):
        read_curve(log)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_curve(tmp_path / "none.csv")
