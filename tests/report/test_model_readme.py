import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geoseg.imagery import Imagery
from geoseg.labels import LabelSet
from geoseg.models.architecture import Architecture, build
from geoseg.models.card import (
    Agreement,
    Calibration,
    Card,
    CardDraft,
    Intended,
    SplitMetrics,
    TileDefaults,
    WeightsFile,
)
from geoseg.models.package import load_package, save_package
from geoseg.models.quality import AgainstBoth, Likeness, SplitCalibration
from geoseg.report.chip_picture import JudgedChip
from geoseg.report.failures import failures_png
from geoseg.report.model_readme import FAILURES_NAME, model_readme, write_model_readme
from geoseg.report.study_table import RULE, StudyRow, StudyTable

NUMBER = re.compile(r"\d+(?:\.\d+)?")

OURS = {"95", "2017"}
"""Numbers of the text itself: the level of intervals, the year of a paper."""

fractions = st.floats(0, 1)


def draft(rgb: Imagery, labels: LabelSet, **said: Any) -> CardDraft:  # noqa: ANN401  # fields of a card
    return CardDraft(
        name="tiny",
        description="Roofs | <b>bold</b> of *every* kind",
        architecture=Architecture("unet_resnet18", len(rgb.bands), len(labels), 0.125),
        imagery=replace(rgb, mean=(128.0,) * 3, std=(50.0,) * 3),
        classes=labels.classes,
        tile=TileDefaults(size_px=64, overlap_px=16),
        **{
            "metrics": {},
            "training": {
                "iteration": 77,
                "recipe": {"lr": 0.003, "loss": {"dice": 1.25}},
                "data": [{"image": "a_b.tif", "labels": "c.tif", "split": "train"}],
            },
            "licence": "CC0-1.0",
            "attribution": ("nobody", "somebody"),
            **said,
        },
    )


def card(rgb: Imagery, labels: LabelSet, **said: Any) -> Card:  # noqa: ANN401  # fields of a card
    weights = WeightsFile(sha256="0" * 64, bytes=7_300_000, dtype="float16")
    return Card(**dict(draft(rgb, labels, **said)), format_version=1, weights=weights)


def numbers(value: object) -> set[float]:
    """All numbers in a card."""
    match value:
        case dict():
            return {one for part in value.values() for one in numbers(part)}
        case list():
            return {one for part in value for one in numbers(part)}
        case bool():
            return set()
        case int() | float():
            return {float(value)}
        case _:
            return set()


def words(value: object) -> set[str]:
    """All numbers within the words of a card."""
    match value:
        case dict():
            return {one for key, part in value.items() for one in words(key) | words(part)}
        case list():
            return {one for part in value for one in words(part)}
        case _:
            return set(NUMBER.findall(value)) if isinstance(value, str) else set()


@given(st.lists(fractions, min_size=16, max_size=16), st.integers(0, 10**9), st.floats(0.05, 20))
@settings(max_examples=15, deadline=None)
def test_every_number_is_the_cards(
    rgb: Imagery, labels: LabelSet, scores: list[float], pixels: int, temperature: float
) -> None:
    names = labels.names
    low, high = sorted(scores[:2])
    metrics = SplitMetrics(
        miou=scores[2],
        iou=dict(zip(names, scores[3:], strict=False)),
        pixel_accuracy=scores[6],
        pixels=pixels,
        regions=("t13",),
        miou_interval=(low, high),
        iou_intervals={name: (low, high) if name == names[0] else None for name in names},
        ece=scores[7],
    )
    alike = [
        Likeness(miou=scores[number], iou=dict.fromkeys(names, scores[number + 1]), pixels=pixels + number)
        for number in (8, 10, 12)
    ]
    full = card(
        rgb,
        labels,
        metrics={"val": metrics, "test": metrics},
        calibration=Calibration(
            temperature=temperature,
            fitted_on="val",
            bins=15,
            splits={"val": SplitCalibration(ece_before=scores[14], ece_after=scores[15], pixels=pixels)},
            note="undecided",
        ),
        agreement=Agreement(
            first="t78.tif",
            second="t78_again.tif",
            annotators=alike[0],
            splits={"test": 5, "train": 6},
            model={"test": AgainstBoth(first=alike[1], second=alike[2])},
        ),
        intended=Intended(ground_resolution_m=(0.3, 1.2), places="deserts", not_for=("forests", "snow")),
    )
    text = model_readme(full, FAILURES_NAME)
    said = json.loads(full.to_json())
    shown = {format(one, style) for one in numbers(said) for style in (".3f", "g", ".0f")} | words(said)
    assert set(NUMBER.findall(text)) <= shown | OURS | {f"{full.weights.bytes / 1e6:.1f}"}
    for wanted in (
        f"{temperature:.3f}",
        f"{scores[2]:.3f} ({low:.3f} to {high:.3f})",
        f"{scores[14]:.3f} | {scores[15]:.3f}",
        "0.3 to 1.2 m",
        "- forests",
        "- somebody",
        "deserts",
        "Undecided.",
        "`a_b.tif` with `c.tif`",
        f"]({FAILURES_NAME})",
        "left out",
    ):
        assert wanted in text


def test_what_a_card_does_not_say_is_not_said_and_words_are_no_markup(rgb: Imagery, labels: LabelSet) -> None:
    text = model_readme(card(rgb, labels, training={"data": "lost", "recipe": [1]}))
    assert "It was not measured." in text
    assert "does not say" in text
    assert r"Roofs \| &lt;b&gt;bold&lt;/b&gt; of \*every\* kind" in text
    for missing in ("annotators", "How sure", "fails", "None", "png"):
        assert missing not in text


def test_the_study_behind_a_recipe_is_a_table(rgb: Imagery, labels: LabelSet) -> None:
    iou: dict[str, float | None] = dict.fromkeys(labels.names, 0.25)
    wide = StudyRow(
        "wide",
        "width | 0.75",
        0.48,
        None,
        iou,
        4,
        4,
        4,
        True,
        1.5,
        "log",
        1,
        8_000_000,
        16_000_000,
        2.0,
        0.656,
        9.4,
    )
    study: Any = StudyTable("s", "One *change* each.", (wide,), {}, (), ("Timed alone.",)).to_json()
    text = model_readme(card(rgb, labels, training={"study": study}))
    (line,) = [line for line in text.splitlines() if line.startswith("| wide |")]
    assert line == r"| wide | width \| 0.75 | 0.48 | - | - | 4 | 4 | cut short | 1.5 | 8 | 0.656 |"
    for words in (r"One \*change\* each.", "- Timed alone.", f"- {RULE}"):
        assert words in text
    assert "chosen from" not in model_readme(card(rgb, labels, training={"study": "lost"}))


def test_a_package_is_the_same_whatever_lies_beside_it(rgb: Imagery, labels: LabelSet, tmp_path: Path) -> None:
    said = draft(rgb, labels)
    torch.manual_seed(0)
    packed = save_package(tmp_path, said, build(said.architecture))
    before = load_package(tmp_path).identity
    assert FAILURES_NAME not in write_model_readme(tmp_path, packed).read_text()
    (tmp_path / FAILURES_NAME).write_bytes(b"a picture")
    path = write_model_readme(tmp_path, packed)
    assert FAILURES_NAME in path.read_text()
    assert path.read_text() == model_readme(packed, FAILURES_NAME)
    assert load_package(tmp_path).identity == before


@pytest.mark.parametrize("most_bytes", [30_000, 400_000])
def test_failures_are_a_row_each_and_small(tmp_path: Path, labels: LabelSet, most_bytes: int) -> None:
    rng = np.random.default_rng(0)
    image_chw = rng.integers(0, 256, (3, 300, 200)).astype(np.float32)
    ids_hw = rng.integers(0, 3, (300, 200)).astype(np.uint8)
    chip = JudgedChip("a", image_chw, np.ones((300, 200), np.bool_), ids_hw, ids_hw, 0.0)
    content = failures_png([chip, chip], labels, most_bytes)
    assert len(content) <= most_bytes
    assert content == failures_png([chip, chip], labels, most_bytes)
    (tmp_path / "picture.png").write_bytes(content)
    with Image.open(tmp_path / "picture.png") as picture:
        width, height = picture.size
        panel_px = (height - 6) // 2
        assert width == 4 * panel_px + 18
        pixels_hwc = np.asarray(picture.convert("RGB"))
    # Right everywhere: the last panel is blue alone.
    last_hwc = pixels_hwc[:panel_px, 3 * (panel_px + 6) :][:, : round(panel_px * 2 / 3)]
    assert (last_hwc == (0, 114, 178)).all()
