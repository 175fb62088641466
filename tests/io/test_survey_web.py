"""Many scenes on web servers: looked at together, and found to be what they are one at a time."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from loopback import Fault, Request, Web

from geoseg.errors import SceneError
from geoseg.imagery import Imagery
from geoseg.io.scene import PercentStretch, SceneOptions
from geoseg.io.sources import SceneSource
from geoseg.io.survey import Survey, survey

WriteRaster = Callable[..., Path]

OPTIONS = SceneOptions(resolution="native")
PATIENCE_S = 30


@pytest.fixture(scope="module")
def contents(write_raster: WriteRaster) -> list[bytes]:
    """Scenes beside one another; every other one with a mask."""
    rng = np.random.default_rng(4)
    found = []
    for number in range(16):
        image_chw = rng.integers(1, 256, (3, 300, 280), np.uint8)
        found.append(
            write_raster(
                image_chw,
                transform=Affine(1, 0, 320000 + 250 * (number % 4), 0, -1, 2770000 - 250 * (number // 4)),
                tiled=True,
                blockxsize=128,
                blockysize=128,
                mask_hw=np.indices((300, 280)).sum(axis=0) > 90 if number % 2 else None,
            ).read_bytes()
        )
    return found


@pytest.fixture(autouse=True)
def steady_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short, and answers not missed on a slow machine: that would count as another fault."""
    for name, value in {"RETRY_DELAY": "0.01", "TIMEOUT": "40", "CONNECTTIMEOUT": "40"}.items():
        monkeypatch.setenv(f"GDAL_HTTP_{name}", value)


def number_of(path: str) -> int:
    return int(path.rpartition("/")[2].partition(".")[0])


def served(web: Web, contents: list[bytes]) -> list[SceneSource]:
    return [SceneSource((web.put(f"/{n}.tif", content),)) for n, content in enumerate(contents)]


@pytest.mark.parametrize(
    "options", [pytest.param(OPTIONS, marks=pytest.mark.slow), replace(OPTIONS, stretch=PercentStretch(2, 98))]
)
def test_scenes_together_are_what_they_are_one_at_a_time(
    web: Web,
    contents: list[bytes],
    rgb: Imagery,
    options: SceneOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # None of the faults below is slowness, and a busy machine may be slow by itself.
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "60")
    sources = served(web, contents)
    web.put("/3.tif", contents[3][: len(contents[3]) // 2])
    web.put("/5.tif", b"<html>busy</html>")
    web.put("/6.tif", b"")
    web.put("/12.tif", contents[11])
    del web.files["/8.tif"]

    def faults(request: Request, before: int) -> Fault | None:
        return {
            1: Fault(status=503) if before < 2 else None,
            2: Fault(reset=True) if before < 3 else None,
            9: Fault(status=429) if before % 3 < 2 else None,
            10: Fault(status=503),
            13: Fault(reset=True) if before > 1 else None,
        }.get(number_of(request.path))

    web.misbehave = faults

    def looked_at(at_once: int) -> Survey:
        web.requests.clear()
        return survey(sources, rgb, options, skip_bad=True, at_once=at_once)

    one_by_one, together = looked_at(1), looked_at(8)
    same = repr(together) == repr(one_by_one)  # NaN equals nothing, but is written alike
    assert same
    assert [not row.used for row in together.rows] == [n in {3, 5, 6, 8, 10, 12, 13} for n in range(16)]
    with pytest.raises(SceneError) as alone:
        survey(sources, rgb, options, at_once=1)
    with pytest.raises(SceneError) as all_at_once:
        survey(sources, rgb, options)
    assert str(all_at_once.value) == str(alone.value)
    assert str(alone.value).startswith("6 of 16 scenes cannot be mapped")


def test_scenes_are_waited_for_together(web: Web, contents: list[bytes], rgb: Imagery) -> None:
    """A server that answers nobody before both have asked: it would never answer one at a time."""
    asked: set[str] = set()
    both = threading.Event()

    def answer_both(request: Request, _before: int) -> Fault | None:
        asked.add(request.path)  # the same one may ask again
        if len(asked) == 2:
            both.set()
        return None if both.wait(PATIENCE_S) else Fault(status=404)

    web.misbehave = answer_both
    found = survey(served(web, contents[:2]), rgb, OPTIONS)
    assert [row.used for row in found.rows] == [True, True]


def test_scenes_here_and_there_keep_their_order(
    web: Web, contents: list[bytes], rgb: Imagery, tmp_path: Path
) -> None:
    sources = served(web, contents)
    for number in (0, 2, 3, 7, 11, 15):
        (tmp_path / f"{number}.tif").write_bytes(contents[number])
        sources[number] = SceneSource((str(tmp_path / f"{number}.tif"),))
    sources[7] = SceneSource(("list.json",), name="bad", problem="no raster in it")
    found = survey(sources, rgb, OPTIONS, merge="first", skip_bad=True)
    names = [f"{number}.tif" for number in range(16)]
    names[7] = "bad"
    assert [row.name for row in found.rows] == names
    assert [scene.name for scene in found.region.scenes] == [name for name in names if name != "bad"]
