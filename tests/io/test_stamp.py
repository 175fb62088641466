"""A file that is written again, grows or goes is noticed; one that is only read is not."""

import os
from pathlib import Path

import pytest

from geoseg.errors import InputChangedError
from geoseg.io.stamp import Stamp, refuse_changes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scene.tif"
    path.write_bytes(b"pixels")
    return path


def test_reading_changes_nothing(file: Path) -> None:
    stamp = Stamp.of(str(file))
    file.read_bytes()
    refuse_changes([stamp, stamp])
    assert stamp == Stamp.of(str(file))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.write_bytes(b"more pixels"), "had 6 bytes, has 11"),
        (lambda path: os.utime(path, ns=(0, 5)), "or was written again"),
        (lambda path: path.unlink(), "was removed during the run"),
    ],
)
def test_a_change_is_refused_by_name(file: Path, change: object, words: str) -> None:
    stamp = Stamp.of(str(file))
    assert callable(change)
    change(file)
    with pytest.raises(InputChangedError, match=words) as refused:
        refuse_changes([stamp])
    assert str(file) in str(refused.value)
    assert refused.value.exit_code == 1
