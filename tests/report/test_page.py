"""report.html as a text: what it may do, what it says, and that no name on it becomes markup."""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import RunFolderError
from geoseg.io.run_folder import RunFolder
from geoseg.report.page import Page, Tiles, embedded_json, report_page
from geoseg.report.page_parts import page_parts
from geoseg.report.units import area, count, length, seconds, share
from geoseg.run import open_run

Handmade = Callable[..., RunFolder[Path]]

HOSTILE = "<img src=x onerror=alert(1)> & 'co' \"q\" \u2028 {{ 7 * 7 }}.tif"
HOSTILE_CARD = {
    "description": "</script><script>alert(1)</script><!--",
    "attribution": ["<a href='javascript:alert(1)'>us</a>"],
}


class Elements(HTMLParser):
    """Elements of a page, with their attributes and texts, as a browser has them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[int] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(len(self.found))
        self.found.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self.found[self._open.pop()][0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.found[self._open[-1]][2].append(data)

    def texts(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, "".join(data)) for name, attributes, data in self.found if name == tag]

    def data(self) -> dict[str, Any]:
        """What the page tells its scripts."""
        (text,) = (text for one, text in self.texts("script") if one.get("id") == "map-data")
        return dict(json.loads(text))


def page_of(run: RunFolder[Path], tiles: Tiles | None = None) -> Page:
    return report_page(run, open_run(run.path).record, tiles)


def sources(policy: str) -> dict[str, list[str]]:
    """A policy's directives."""
    return {name: words for name, *words in (part.split() for part in policy.split(";"))}


def sha256_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("tiles", [None, Tiles("layers.pmtiles", ("roads",))])
def test_the_policy_names_just_the_scripts_and_styles_that_are_there(
    handmade: Handmade, tiles: Tiles | None
) -> None:
    page = page_of(handmade(HOSTILE, HOSTILE_CARD), tiles)
    elements = Elements(page.text)
    (policy,) = (one["content"] for one, _ in elements.texts("meta") if one.get("http-equiv"))
    assert policy == page.policy
    allowed = sources(page.policy)
    assert allowed["default-src"] == ["'none'"]
    assert allowed["connect-src"] == ["data:", "blob:", *(["'self'"] if tiles else [])]
    scripts = [text for attributes, text in elements.texts("script") if "type" not in attributes]
    styles = [text for _, text in elements.texts("style")]
    assert allowed["script-src"] == [sha256_of(text) for text in scripts]
    assert allowed["style-src"] == [sha256_of(text) for text in styles]
    assert len(scripts) == (3 if tiles is None else 4)
    assert not re.search(r"unsafe|https?:|\*", policy)
    # Nothing that a policy with hashes would refuse, and no address that a browser would fetch.
    for tag, attributes, _ in elements.found:
        assert "style" not in attributes, tag
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "srcset", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), tag
        assert tag not in {"iframe", "object", "embed", "base", "form"}
        if tag == "link":
            assert attributes == {"rel": "icon", "href": "data:,"}
    assert elements.data()["tiles"] == (None if tiles is None else {"path": "layers.pmtiles", "layers": ["roads"]})


def test_no_name_becomes_markup(handmade: Handmade) -> None:
    error = "</dd><script>alert(2)</script>"
    outputs = ({"path": 'layers/"><script>.geojson', "format": "geojson", "features": 5, "sha256": None},)
    failed = {"total": 2, "done": 1, "skipped": 0, "quarantined": [{"block": "0", "error": error}]}
    left_out = [{"name": HOSTILE, "uri": "a", "reason": error}]
    run = handmade(HOSTILE, HOSTILE_CARD, 0, outputs, blocks=failed, warnings=[HOSTILE], scenes_left_out=left_out)
    page = page_of(run)
    elements = Elements(page.text)
    assert [one for one, _ in elements.texts("img") if not (one["src"] or "").startswith("data:image/webp")] == []
    assert [
        one for one, _ in elements.texts("script") if one.get("type", "application/json") != "application/json"
    ] == []
    assert len(elements.texts("script")) == 5
    assert elements.texts("h1")[0][1] == HOSTILE
    assert elements.texts("title")[0][1] == HOSTILE + " · geoseg"
    assert any(text.strip() == HOSTILE for one, text in elements.texts("p") if one.get("class") == "note")
    assert {HOSTILE_CARD["description"], error} <= {text for _, text in elements.texts("dd")}
    assert HOSTILE_CARD["attribution"][0] in [text for _, text in elements.texts("li")]
    links = [one["href"] for one, _ in elements.texts("a") if not (one["href"] or "").startswith("#")]
    assert links == ["layers/%22%3E%3Cscript%3E.geojson"]


def test_it_says_what_is_missing_and_what_is_doubtful(handmade: Handmade) -> None:
    failed = {"total": 9, "done": 7, "skipped": 0, "quarantined": [{"block": "00001-00002", "error": "no memory"}]}
    run = handmade(status="incomplete", blocks=failed, warnings=["pixels of 9 m"])
    elements = Elements(page_of(run).text)
    assert ({"class": "status incomplete"}, "incomplete") in elements.texts("p")
    assert "Block 00001-00002" in [text for _, text in elements.texts("dt")]
    assert "no memory" in [text for _, text in elements.texts("dd")]
    assert any("pixels of 9 m" in text for _, text in elements.texts("p"))


@pytest.mark.parametrize("unseen", [0, 12_345_000])
def test_of_more_objects_than_it_holds_it_says_so(handmade: Handmade, unseen: int) -> None:
    text = " ".join(page_of(handmade(unseen=unseen)).text.replace("\N{NARROW NO-BREAK SPACE}", "_").split())
    assert ("This page holds the largest objects:" in text) == (unseen > 0)
    assert ("5 of 12_345_005 buildings" in text) == (unseen > 0)
    assert ("<code>geoseg view</code>" in text) == (unseen > 0)


def test_damaged_parts_are_refused(handmade: Handmade) -> None:
    run = handmade()
    (run.path / "ledger" / "page" / "parts" / "classes.webp").write_bytes(b"")
    with pytest.raises(RunFolderError, match=r"classes\.webp is missing or damaged: repeat"):
        page_parts(run)
    shutil.rmtree(run.path / "ledger" / "page")
    with pytest.raises(RunFolderError, match="has nothing to make a page of"):
        page_parts(run)


JSON = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from("</script>!-&'\"\\\u2028\u2029a"), max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=25)
@given(JSON)
def test_data_for_scripts_is_the_same_data_without_what_ends_an_element(data: Any) -> None:  # noqa: ANN401  # JSON
    text = embedded_json(data)
    assert json.loads(text) == data
    assert not set(text) & set("<>&\u2028\u2029")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (area(0), "0 m²"),
        (area(1234.4), "1 234 m²"),
        (area(46_330), "4.63 ha"),
        (area(9.65e6), "9.65 km²"),
        (area(1.5e10), "15 000 km²"),
        (length(12.34), "12.3 m"),
        (length(1234.5), "1.23 km"),
        (count(1_234_567), "1 234 567"),
        (seconds(0.04), "0.0 s"),
        (seconds(71), "1 min 11 s"),
        (seconds(7260), "2 h 1 min"),
        (share(0.5), "50.0 %"),
        (share(1e-5), "< 0.1 %"),
    ],
)
def test_figures_are_in_words(said: str, words: str) -> None:
    assert said.replace("\N{NARROW NO-BREAK SPACE}", " ") == words
