"""The page of a training in a browser: it opens whole, asks for nothing, and fits a narrow window."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chromium import Browser, browser, lacking
from PIL import Image

from geoseg.labels import LabelSet
from geoseg.report.chip_picture import JudgedChip
from geoseg.report.training_facts import CurvePoint, SplitFacts, TrainingFacts
from geoseg.report.training_report import write_training_report

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

HOSTILE = (
    "</style><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\"> " + 90 * "x"
)


@pytest.fixture(scope="module", autouse=True)
def chromium() -> None:
    """Skips where there is no browser; CI has to have it."""
    said = lacking()
    if said is not None and os.environ.get("CI") == "true":
        pytest.fail(said)
    if said is not None:
        pytest.skip(said)


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, labels: LabelSet) -> Path:
    """Of a training with names that are long, and hostile."""
    rng = np.random.default_rng(0)
    chip = JudgedChip(
        HOSTILE,
        rng.uniform(0, 255, (3, 200, 256)).astype(np.float32),
        np.ones((200, 256), np.bool_),
        rng.integers(0, 3, (200, 256)).astype(np.uint8),
        rng.integers(0, 3, (200, 256)).astype(np.uint8),
        0.25,
    )
    iou = dict(zip(labels.names, (0.5, None, 1.0), strict=True))
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 6]], np.int64)
    splits = tuple(
        SplitFacts(split, 0.75, 0.9, 12, iou, counts, ((HOSTILE, 0.7, 6), ("b", None, 6)))
        for split in ("val", "test")
    )
    curve = tuple(CurvePoint(10 * n, 1e-3 / n, 2 / n, n / 9, iou, 3.0 * n) for n in range(1, 6))
    rows = (("Network", HOSTILE),)
    facts = TrainingFacts(
        "tiny", HOSTILE, labels, curve, 50, splits, (chip, chip), (chip,), rows, f"geoseg map {HOSTILE}", "x", ()
    )
    return write_training_report(tmp_path_factory.mktemp("report"), facts)


@pytest.mark.parametrize("size", [(1280, 800), (360, 740)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_whole_and_asks_for_nothing(
    size: tuple[int, int], scheme: str, window: Browser, page: Path
) -> None:
    window.resize(*size)
    window.prefer(scheme)
    window.requests(), window.log("browser")
    window.open(page.as_uri())
    window.run("for (const one of document.querySelectorAll('details')) one.open = true;")
    window.wait("[...document.images].every((one) => one.complete)")
    assert window.log("browser") == []
    own = [url for url in window.requests() if not url.startswith(("chrome:", "data:"))]
    assert own == [page.as_uri()]
    assert window.run("return document.title") == "Training of tiny · geoseg"
    assert window.run("return [...document.images].map((one) => one.naturalWidth)") == [256] * 12
    assert window.run("return document.documentElement.scrollWidth") <= size[0]
    # No text or picture is cut off, but in tables that scroll by themselves.
    wide = (
        "return [...document.querySelectorAll('main h2, main h3, main dd, main figure, .next, .key div')]"
        ".filter((one) => !one.closest('.wide') && one.getBoundingClientRect().right > innerWidth).length"
    )
    assert window.run(wide) == 0
    with Image.open(io.BytesIO(window.picture())) as seen:
        middle = np.asarray(seen.convert("L"))[2, 2]
    assert (middle < 60) == (scheme == "dark")
