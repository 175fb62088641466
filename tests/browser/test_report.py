"""report.html and `geoseg view` in a browser: the map draws, objects answer, and nothing leaves the machine."""

import io
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from chromium import Browser, browser, lacking
from numpy.typing import NDArray
from PIL import Image

import geoseg
from geoseg.view import viewing

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

WIDE, NARROW = (1280, 800), (360, 740)

HOSTILE = "<img src=x onerror=\"document.title='broken'\"> & co.tif"
HOSTILE_TEXT = "</script><script>document.title='broken'</script><b>bold</b>"

CHOSEN = (240, 228, 66)

MIDDLE = """
const one = geoseg.features.filter((one) => one.layer.name === 'buildings')[0];
const rows = [];
const [west, south, east, north] = one.box;
const frame = document.getElementById('map').getBoundingClientRect();
for (let i = 1; i < 40; i++) for (let j = 1; j < 40; j++) {
  const at = geoseg.map.project([west + (east - west) * i / 40, south + (north - south) * j / 40]);
  const found = geoseg.map.queryRenderedFeatures([at.x, at.y], { layers: ['buildings/fill'] });
  if (found.some((other) => String(other.properties.id) === one.feature.properties.id)) {
    return [at.x + frame.x, at.y + frame.y, one.feature.properties];
  }
}
return null;
"""
"""A place within the largest building, and what is known of it."""


@pytest.fixture(scope="module", autouse=True)
def chromium() -> None:
    """Skips where there is no browser; CI has to have it."""
    said = lacking()
    if said is not None and os.environ.get("CI") == "true":
        pytest.fail(said)
    if said is not None:
        pytest.skip(said)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, patchwork_scene: Path, tiny_model: Path) -> geoseg.Run[Path]:
    """A run with tiles, of a scene and a model that say hostile things of themselves."""
    place = tmp_path_factory.mktemp("seen")
    scene = place / HOSTILE
    shutil.copy(patchwork_scene, scene)
    model = Path(shutil.copytree(tiny_model, place / "tiny"))
    card = json.loads((model / "card.json").read_text())
    card |= {"description": HOSTILE_TEXT, "attribution": [HOSTILE_TEXT], "licence": HOSTILE_TEXT}
    (model / "card.json").write_text(json.dumps(card))
    formats = ("geojson", "pmtiles")
    return geoseg.map_scenes(scene, place / "run", model=model, min_area=200, formats=formats, local=True)


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def file(window: Browser, run: geoseg.Run[Path]) -> str:
    """The page as a file, opened; where it lies."""
    address = (run.path / "report.html").as_uri()
    open_anew(window, address)
    return address


@pytest.fixture
def page(window: Browser, file: str) -> Iterator[Browser]:
    """The page as a file, wide and light, with nothing chosen."""
    if window.run("return location.href") != file:
        open_anew(window, file)
    window.resize(*WIDE)
    window.prefer("light")
    window.run("window.scrollTo(0, 0); geoseg.choose(null); document.activeElement.blur();")
    # A picture is not taken while the map still draws itself for another size.
    window.settle()
    yield window
    assert window.log("browser") == []


def open_anew(window: Browser, address: str) -> None:
    window.log("browser")
    window.log("performance")
    window.resize(*WIDE)
    window.open(address)
    window.settle()


def pixels(png: bytes) -> NDArray[np.int64]:
    """A picture (row, column, red-green-blue)."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int64)


def near(seen_hwc: NDArray[np.int64], rgb: tuple[int, int, int]) -> int:
    """How many pixels are about of a colour."""
    return int((np.abs(seen_hwc - np.array(rgb)).max(axis=2) <= 6).sum())


def attributes(page: Browser) -> dict[str, str]:
    script = (
        "return [...document.querySelectorAll('[data-attribute]')].map((e) => [e.dataset.attribute, e.textContent])"
    )
    return dict(page.run(script))


def drawn_and_clicked(page: Browser, address: str) -> None:
    """A page that was just opened draws its map, tells of a building that is clicked, and asks nobody else."""
    assert page.run("return document.documentElement.dataset.map") == "drawn"
    seen_hwc = pixels(page.picture("#map"))
    # The patches of the scene, under the layers: hundreds of colours, and none of them everywhere.
    colors, counts = np.unique(seen_hwc.reshape(-1, 3), axis=0, return_counts=True)
    assert len(colors) > 200
    assert counts.max() < 0.7 * counts.sum()
    x, y, known = page.run(MIDDLE)
    page.click(x, y)
    page.wait("document.querySelector('[data-attribute=\"id\"]')")
    shown = attributes(page)
    assert shown["class"] == "building"
    assert shown["id"] == known["id"]
    assert shown["confidence"] == f"{known['confidence'] * 100:.1f}".removesuffix(".0") + " %"
    assert {"area_m2", "perimeter_m"} <= set(shown)
    page.settle()
    assert near(pixels(page.picture("#map")), CHOSEN) > 50 > near(seen_hwc, CHOSEN)
    page.press("Escape")
    assert page.run("return document.querySelector('#chosen .attributes').hidden")
    assert page.log("browser") == []
    asked = [url for url in page.requests() if not url.startswith(("data:", "blob:", "chrome:"))]
    assert address in asked
    for url in asked:
        assert urlsplit(url)[:2] == urlsplit(address)[:2], url


def test_the_file_draws_its_map_and_tells_of_a_building_and_asks_nobody(page: Browser, file: str) -> None:
    drawn_and_clicked(page, file)


def test_lines_of_the_network_are_drawn_and_tell_how_long_they_are(page: Browser) -> None:
    page.settle()
    found = page.run("return geoseg.map.queryRenderedFeatures({ layers: ['road_lines/line'] }).length")
    assert found > 5
    page.run("geoseg.choose(geoseg.features.find((one) => one.layer.name === 'road_lines'))")
    said = page.run("return document.querySelector('[data-attribute=\"length_m\"]').textContent")
    assert float(said.removesuffix(" m").replace("\u202f", "")) > 10
    assert page.run("return document.querySelector('[data-layer=\"road_lines\"]').checked")
    page.run("geoseg.choose(null)")


def test_layers_can_be_hidden(page: Browser) -> None:
    page.run("document.querySelector('[data-show=\"scene\"]').click()")
    page.run("document.querySelector('[data-show=\"patterns\"]').click()")
    page.settle()
    fill = tuple(
        round(0.42 * value + 0.58 * paper) for value, paper in zip((170, 0, 0), (230, 233, 237), strict=True)
    )
    with_buildings = near(pixels(page.picture("#map")), (fill[0], fill[1], fill[2]))
    assert with_buildings > 500
    page.run("document.querySelector('[data-layer=\"buildings\"]').click()")
    page.settle()
    assert near(pixels(page.picture("#map")), (fill[0], fill[1], fill[2])) < 0.05 * with_buildings
    page.run("document.querySelectorAll('[data-show], [data-layer]').forEach((box) => box.checked || box.click());")
    page.run("document.querySelector('[data-show=\"classes\"]').click()")


def test_the_keyboard_reaches_and_chooses_an_object(page: Browser) -> None:
    before = page.run("return geoseg.map.getZoom()")
    stops = []
    page.run("document.querySelector('.skip').focus()")
    for _ in range(40):
        seen: dict[str, Any] = page.run(
            "const e = document.activeElement; const s = getComputedStyle(e);"
            "const ring = s.outlineStyle !== 'none' || s.boxShadow !== 'none';"
            "return {tag: e.tagName, cls: String(e.className), ring}"
        )
        stops.append(seen)
        if seen["cls"] == "row":
            break
        page.press("Tab")
    assert stops[-1]["cls"] == "row", stops
    assert all(stop["ring"] for stop in stops if stop["tag"] != "BODY"), stops
    assert {"INPUT", "SELECT", "CANVAS", "A"} <= {stop["tag"] for stop in stops}
    page.press("ArrowDown", "Enter")
    second = page.run("return document.querySelectorAll('.row')[1].getAttribute('aria-selected')")
    assert second == "true"
    assert attributes(page)["id"]
    page.wait(f"geoseg.map.getZoom() > {before} && !geoseg.map.isMoving()")


def test_a_narrow_window_scrolls_one_way_only(page: Browser) -> None:
    page.resize(*NARROW)
    page.settle()
    assert page.run("return document.documentElement.scrollWidth") <= NARROW[0]
    box = page.run("return document.getElementById('map').getBoundingClientRect().toJSON()")
    assert box["width"] > 0.85 * NARROW[0]
    assert box["height"] > 300
    # One below the other: nothing lies over what comes next.
    ends = page.run(
        "return ['header', '.stage', 'aside', '.cards'].map((one) => document.querySelector(one))"
        ".map((one) => one.getBoundingClientRect()).flatMap((one) => [one.top, one.bottom])"
    )
    assert ends == sorted(ends)


def test_it_is_dark_where_that_is_asked_for(page: Browser) -> None:
    light = pixels(page.picture())
    page.prefer("dark")
    page.settle()
    dark = pixels(page.picture())
    assert light[:40].mean() > 230
    assert dark[:40].mean() < 60
    # The map's own ground too: its corners hold no data.
    assert pixels(page.picture("#map"))[-3, -3].max() < 90


def test_names_do_nothing(page: Browser) -> None:
    page.run("document.querySelectorAll('.row')[0].click()")
    assert page.run("return document.title") == f"{HOSTILE} · geoseg"
    assert page.run("return document.querySelectorAll('b, img[src=\"x\"]').length") == 0
    assert page.run("return document.querySelector('h1').textContent") == HOSTILE
    assert HOSTILE_TEXT in page.run("return document.body.textContent")


def test_the_server_has_the_layers_as_tiles(window: Browser, run: geoseg.Run[Path]) -> None:
    with viewing(run.path) as view:
        thread = threading.Thread(target=view.server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        open_anew(window, view.server.address)
        assert window.run("return geoseg.map.getSource('picture:tiles').loaded()")
        drawn_and_clicked(window, view.server.address)
        view.server.shutdown()
        thread.join()


def test_without_webgl_the_picture_stands_still_and_the_list_works(run: geoseg.Run[Path], tmp_path: Path) -> None:
    with browser(tmp_path / "profile", "--disable-3d-apis") as window:
        window.resize(*WIDE)
        window.open((run.path / "report.html").as_uri())
        assert window.run("return document.documentElement.dataset.map") == "none"
        assert window.run("return document.getElementById('no-map').checkVisibility()")
        colors = np.unique(pixels(window.picture("#map")).reshape(-1, 3), axis=0)
        assert len(colors) > 100
        window.run("document.querySelectorAll('.row')[0].click()")
        assert attributes(window)["id"]
        assert window.log("browser") == []
