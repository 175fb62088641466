"""report.html: a run on one page that needs nothing else, neither a network nor files beside it.

What a page may do is said by its Content-Security-Policy: the scripts and styles whose sha256 it names, pictures in
it, and nothing from anywhere. Names come from users and their files: all text is escaped by the template, and data
for scripts is JSON in which nothing can end an element.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from geoseg.io.record import RunRecord
from geoseg.io.run_folder import RunFolder
from geoseg.report.facts import Facts
from geoseg.report.page_parts import page_parts
from geoseg.report.units import FILTERS

_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""What could end an element of HTML, or a line of JavaScript, and how JSON says it otherwise."""

_SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)

_NONE = "'none'"

_OWN = ("map.js", "objects.js")
"""Our scripts, in the order in which they run."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Where a page finds its layers as vector tiles, if it does not hold all of them.

    Attributes:
        path: Of a PMTiles archive on the page's own server.
        layers: Names of the layers in it.
    """

    path: str
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        text: Its HTML.
        policy: Its Content-Security-Policy, which it names itself; in a server's header it holds from the start.
    """

    text: str
    policy: str


def report_page(run: RunFolder, record: RunRecord, tiles: Tiles | None = None) -> Page:
    """The page of a run.

    Args:
        run: The RUN folder; its parts of a page (`page_parts`) and its plan.json are read.
        record: What became of it.
        tiles: Of a page that is served, where its layers are; without, it is a file of its own.

    Raises:
        RunFolderError: What the page is made of is missing or damaged.
    """
    parts = page_parts(run)
    facts = Facts.of(record, run.existing_plan() or {}, parts)
    scripts = [_bundled("maplibre-gl.js"), *(() if tiles is None else (_bundled("pmtiles.js"),))]
    scripts += [_own(name) for name in _OWN]
    styles = [_bundled("maplibre-gl.css"), _own("report.css")]
    data: dict[str, Any] = {
        "corners": parts.map["corners"],
        "digits": parts.map["digits"],
        "layers": parts.map["layers"],
        "tiles": None if tiles is None else {"path": tiles.path, "layers": tiles.layers},
    }
    allowed = policy(scripts, styles, served=tiles is not None)
    text = _template().render(
        facts=facts,
        served=tiles is not None,
        scene=parts.scene,
        classes=parts.classes,
        policy=allowed,
        # Ours and MapLibre's, whose hashes the policy names: escaped, they would be other scripts.
        scripts=[Markup(text) for text in scripts],  # noqa: S704
        styles=[Markup(text) for text in styles],  # noqa: S704
        data=embedded_json(data),
        features=harmless(parts.features),
        licences=_licences(served=tiles is not None),
    )
    return Page(text, allowed)


def policy(scripts: list[str], styles: list[str], *, served: bool) -> str:
    """The Content-Security-Policy (level 3) of a page with these scripts and styles and no others.

    Args:
        scripts: Texts of its script elements.
        styles: Texts of its style elements.
        served: Whether it may read from the server that it came from.
    """
    # MapLibre starts its own worker from a blob, and reads pictures from the page through fetch.
    connect = "connect-src data: blob:" + (" 'self'" if served else "")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts)) or _NONE}",
            f"style-src {' '.join(map(_hash, styles))}",
            "img-src data: blob:",
            connect,
            "worker-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def embedded_json(data: Any) -> Markup:  # noqa: ANN401  # whatever JSON can say
    """JSON to stand in a script element: nothing in it ends the element, whatever the texts say.

    Args:
        data: What JSON can say; no NaN.
    """
    return harmless(json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False))


def harmless(text: str) -> Markup:
    """JSON without what could end an element, which it says otherwise.

    Args:
        text: JSON.
    """
    for char, escaped in _UNSAFE.items():
        text = text.replace(char, escaped)
    return Markup(text)  # noqa: S704  # escaped above


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


@cache
def _own(name: str) -> str:
    return files("geoseg").joinpath("report", "web", name).read_text(encoding="utf-8")


@cache
def _bundled(name: str) -> str:
    text = files("geoseg").joinpath("bundled", "web", name).read_text(encoding="utf-8")
    # There is no map of the source beside a page, and browsers would look for it.
    return _SOURCE_MAP.sub("", text)


def _licences(*, served: bool) -> list[str]:
    names = ["maplibre-gl", *(["pmtiles"] if served else [])]
    return [_bundled(f"{name}.LICENSE.txt") for name in names]


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(FILTERS)
    return environment.from_string(_own("report.html"))
