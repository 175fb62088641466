"""Progress where there is no terminal: JSON lines on stderr."""

import json

import pytest

from geoseg.progress import stage_progress


def test_a_stage_begins_and_ends_in_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with stage_progress("mosaic", 2_000_000) as advance:
        advance(500_000, tiles=3)
        advance(1_500_000, tiles=4)
    captured = capsys.readouterr()
    assert captured.out == ""
    events = [json.loads(line) for line in captured.err.splitlines()]
    assert [event["event"] for event in events] == ["start", "end"]
    assert events[0]["done"] == 0
    assert events[0]["eta_s"] is None
    assert events[1]["done"] == 1
    assert events[1]["tiles"] == 7
    assert events[1]["mpx_per_s"] > 0
    assert events[1]["eta_s"] == 0


def test_a_stage_without_pixels_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with stage_progress("objects", 0):
        pass
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["done"] == 1
