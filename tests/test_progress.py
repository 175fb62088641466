"""Progress on stderr, JSON lines and a terminal's bar alike; and what is said to have bounded a run."""

import json
import os
import pty
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.progress import bounded_by, relayed_progress, stage_progress, warn


def test_a_stage_begins_and_ends_in_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with stage_progress("mosaic", 2_000_000) as advance:
        advance(500_000, tiles=3, retries=2, quarantined=1)
        advance(1_500_000, tiles=4)
    captured = capsys.readouterr()
    assert captured.out == ""
    events = [json.loads(line) for line in captured.err.splitlines()]
    assert [event["event"] for event in events] == ["start", "end"]
    assert events[0]["done"] == 0
    assert events[0]["eta_s"] is None
    assert events[1]["done"] == 1
    assert events[1]["tiles"] == 7
    assert (events[0]["retries"], events[0]["quarantined"]) == (0, 0)
    assert (events[1]["retries"], events[1]["quarantined"]) == (2, 1)
    assert events[1]["mpx_per_s"] > 0
    assert events[1]["eta_s"] == 0


def test_a_stage_without_pixels_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with stage_progress("objects", 0):
        pass
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["done"] == 1


def test_a_warning_is_a_json_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    warn("two workers are missing")
    assert json.loads(capsys.readouterr().err) == {"event": "warning", "message": "two workers are missing"}


SHOWN = """
from geoseg.progress import stage_progress, warn
with stage_progress("mosaic", 2_000_000) as advance:
    advance(500_000, tiles=3, retries=2)
    warn("two workers are missing")
    advance(500_000, tiles=4, quarantined=1)
"""


RELAYED = """
import json
from geoseg.progress import relayed_progress
line = {"event": "progress", "stage": "mosaic", "done": 0.5, "tiles": 7, "mpx_per_s": 1.2, "eta_s": 3.0}
with relayed_progress() as relay:
    relay(json.dumps({"event": "start", "stage": "mosaic", "done": 0.0, "eta_s": None}))
    relay(json.dumps({"event": "warning", "message": "two workers are missing"}))
    relay(json.dumps({**line, "retries": 2, "quarantined": 1}))
"""


def on_a_terminal(code: str) -> str:
    """What a process shows on the terminal that its stderr is."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    subprocess.run([sys.executable, "-c", code], check=True, stderr=theirs, env=environment)
    os.close(theirs)
    shown = ""
    try:
        while piece := os.read(ours, 65536):
            shown += piece.decode(errors="replace")
    except OSError:  # Linux's way to say that the other end is closed
        pass
    finally:
        os.close(ours)
    return shown


@pytest.mark.parametrize("code", [SHOWN, RELAYED], ids=["here", "from elsewhere"])
def test_a_terminal_shows_the_same_figures(code: str) -> None:
    shown = on_a_terminal(code)
    for text in (
        "mosaic",
        "50%",
        "7 tiles",
        "Mpx/s",
        "s left",
        "2 retries",
        "1 quarantined",
        "workers are missing",
    ):
        assert text in shown, text


def test_what_a_command_elsewhere_writes_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["complete: open it", '{"event": "of somebody else"}', "{broken", "[bold]"]
    with relayed_progress() as relay, stage_progress("objects", 4) as advance:
        advance(4)
        for line in words:
            relay(line)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == words
    with relayed_progress() as relay:
        for line in captured.err.splitlines():
            relay(line)
    assert capsys.readouterr() == ("", captured.err)


TRAINED = """
import json
from geoseg.progress import relayed_progress
with relayed_progress() as relay:
    line = {"event": "train", "iteration": 3, "iterations": 4, "loss": 0.25, "samples_per_s": 7.5, "eta_s": 2.0}
    relay(json.dumps(line))
"""


def test_a_training_elsewhere_has_a_bar_too() -> None:
    shown = on_a_terminal(TRAINED)
    for text in ("training", "75%", "loss 0.25", "7.5 samples/s", "2 s left"):
        assert text in shown, text


SECONDS = st.dictionaries(
    st.sampled_from(["mosaic", "overviews", "objects", "layers"]), st.floats(0.1, 1e5), min_size=1
)


@given(SECONDS)
def test_the_stage_that_took_longest_bounded_the_run(seconds: dict[str, float]) -> None:
    said = bounded_by({stage: {"seconds": value} for stage, value in seconds.items()})
    assert said is not None
    assert seconds[said.removeprefix("bounded by ").partition(":")[0]] == max(seconds.values())


@pytest.mark.parametrize(
    ("read_s", "infer_s", "write_s", "wait_s", "what"),
    [
        (80, 99, 10, 1, "the model"),
        (80, 50, 10, 40, "reading"),
        (10, 50, 80, 40, "writing"),
        (9, 0, 1, 0, "reading"),
    ],
)
def test_within_the_mosaic_it_is_what_the_model_waits_for(
    read_s: float, infer_s: float, write_s: float, wait_s: float, what: str
) -> None:
    sums = {"seconds": 100.0, "read_s": read_s, "infer_s": infer_s, "write_s": write_s, "wait_s": wait_s}
    said = bounded_by({"mosaic": sums, "objects": {"seconds": 5.0}})
    assert said is not None
    assert f"and there by {what} (" in said
    assert "\n" not in said


def test_a_run_that_took_no_time_was_bounded_by_nothing() -> None:
    assert bounded_by({}) is None
    assert bounded_by({"mosaic": {}}) is None
