import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.train.fit import Step
from geoseg.train.metrics import Confusion
from geoseg.train.progress import Pace, figures, training_progress

VALIDATION = Confusion(np.array([[3, 1], [0, 0]], np.int64))


def step(iteration: int, seconds: float, validation: Confusion | None = None, iterations: int = 45) -> Step:
    return Step(iteration, iterations, 0.01, 1 / iteration, validation, seconds)


@given(st.integers(0, 50), st.integers(1, 50), st.integers(0, 50), st.integers(1, 16), st.floats(0.01, 10))
def test_the_pace_is_that_of_what_was_done_since_the_run_went_on(
    before: int, done: int, left: int, samples: int, each_s: float
) -> None:
    pace = Pace(samples)
    assert pace.samples_per_s is None
    assert pace.eta_s is None
    for number in range(1, done + 1):
        pace.add(step(before + number, number * each_s, iterations=before + done + left))
    assert pace.samples_per_s == pytest.approx(samples / each_s)
    assert pace.eta_s == pytest.approx(left * each_s)


def test_the_bar_says_loss_score_speed_and_time_left() -> None:
    pace = Pace(8)
    assert figures(0.51239, None, pace) == "loss 0.512  val mIoU -"
    pace.add(step(1, 2.0, iterations=3601))
    assert figures(0.5, 0.25, pace) == "loss 0.500  val mIoU 0.250  4.0 samples/s  2:00:00 left"


def test_lines_tell_of_the_first_the_last_every_twentieth_and_each_validation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with training_progress(("a", "b"), 4) as report:
        for iteration in range(1, 46):
            report(step(iteration, iteration / 2, VALIDATION if iteration == 30 else None))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["iteration"] for line in lines] == [1, 20, 30, 40, 45]
    assert {line["samples_per_s"] for line in lines} == {8.0}
    assert [line["eta_s"] for line in lines] == [22.0, 12.5, 7.5, 2.5, 0.0]
    assert lines[2]["val_miou"] == 0.375
    assert lines[2]["val_iou"] == {"a": 0.75, "b": 0.0}


def test_events_hold_what_was_reported(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with training_progress(("a", "b"), 4, tmp_path) as report:
        for iteration in range(1, 4):
            report(step(iteration, iteration / 2, VALIDATION if iteration == 3 else None))
    from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415  # optional

    found: dict[tuple[str, int], float] = {}
    (file,) = tmp_path.iterdir()
    content, at = file.read_bytes(), 0
    # A TFRecord: length, its checksum, content, its checksum.
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + length])
        found |= {
            (value.tag, event.step): value.tensor.float_val[0] if value.tensor.float_val else value.simple_value
            for value in event.summary.value
        }
        at += length + 16
    assert found["train/loss", 2] == 0.5
    assert found["train/samples_per_s", 3] == 8
    assert found["val/miou", 3] == 0.375
    assert found["val/iou/a", 3] == 0.75
    assert ("val/miou", 2) not in found
