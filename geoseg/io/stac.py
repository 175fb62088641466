"""STAC: the scenes that an item, a collection of items or a catalog names, wherever these documents are.

pystac knows what the documents mean, in all their versions; it reads none of them itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pystac
from pystac.utils import str_to_datetime

from geoseg.errors import SceneError
from geoseg.io.addresses import is_remote, shown
from geoseg.io.assets import RASTER_SUFFIXES, choose_assets
from geoseg.io.documents import NotJsonError, may_be_json, read_document
from geoseg.io.hrefs import follow
from geoseg.io.sources import SceneSource

_MOST_DOCUMENTS = 100_000
_MOST_ITEMS = 100_000
_DEEPEST = 32

_SUFFIXES = frozenset({".json", ".geojson"})

_MALFORMED = (
    pystac.STACError,
    pystac.STACTypeError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What pystac raises over documents that are not what they say."""


def is_stac(address: str) -> bool:
    """Whether there is a STAC document: of a file by its name and content, of an address by what is there.

    Args:
        address: A path or address, as the user gave it.

    Raises:
        SceneError: The server does not answer, or it is too long to be looked at.
    """
    suffix = PurePosixPath(shown(address)).suffix.lower()
    if is_remote(address):
        if not address.lower().startswith(("http:", "https:")) or suffix in RASTER_SUFFIXES:
            return False
        if not may_be_json(address):
            return False
    elif suffix not in _SUFFIXES or not Path(address).is_file():
        return False
    try:
        document, _ = read_document(address)
    except NotJsonError:
        return False
    return _kind(document) is not None


def read_stac(
    address: str, assets: tuple[str, ...] | None, bands: tuple[str, ...], *, keep_bad: bool = False
) -> list[SceneSource]:
    """The scenes of a STAC document, in the order in which it and those that it links to name them.

    Args:
        address: Path or address of an item, a collection of items, a catalog or a collection.
        assets: Keys or roles of the assets that hold the bands, or None to go by what the items say.
        bands: What the model calls its bands, in its order.
        keep_bad: Whether an item that names what it must not, or does not tell which files to read or when they are
            from, is a scene with a `problem` rather than an error.

    Raises:
        SceneError: A document cannot be read, is none of these, names what it must not, or does not tell which
            files to read; or there are too many of them, or none with an item.
    """
    walk = _Walk(None if is_remote(address) else Path(address).resolve().parent)
    sources: list[SceneSource] = []
    for found in walk.items(address, 0):
        item, document = found.item, found.document
        if len(sources) >= _MOST_ITEMS:
            raise SceneError(f"{shown(address)} leads to more than {_MOST_ITEMS} items: name fewer")
        name = _name(item, document)
        try:
            files = _files(found, assets, bands, walk.folder)
            sources.append(SceneSource(files, _date(item, document), name))
        except SceneError as error:
            if not keep_bad:
                raise
            sources.append(SceneSource((shown(document),), None, name, str(error)))
    if not sources:
        raise SceneError(f"{shown(address)} leads to no STAC item: expected one at least")
    return sources


def _files(
    found: "_Found", assets: tuple[str, ...] | None, bands: tuple[str, ...], folder: Path | None
) -> tuple[str, ...]:
    """Where the bands of an item lie."""
    try:
        keys = choose_assets(found.item, assets, bands)
    except SceneError as error:
        raise SceneError(f"{shown(found.document)}: {error}") from None
    return tuple(follow(found.hrefs.get(key), found.document, folder) for key in keys)


@dataclass(frozen=True, slots=True)
class _Found:
    """An item, the document that it stands in, and its assets' hrefs as they stand there: pystac mends them."""

    item: pystac.Item
    document: str
    hrefs: dict[str, object]


@dataclass(slots=True)
class _Walk:
    """From document to document, each once.

    Attributes:
        folder: What documents on this machine must not leave.
        seen: Where documents were read.
    """

    folder: Path | None
    seen: set[str] = field(default_factory=set)

    def items(self, place: str, depth: int) -> Iterator[_Found]:
        """Items, in the order of the documents."""
        if place in self.seen:
            return
        if len(self.seen) >= _MOST_DOCUMENTS:
            raise SceneError(f"{shown(place)} is one of more than {_MOST_DOCUMENTS} STAC documents: name fewer")
        if depth > _DEEPEST:
            raise SceneError(
                f"{shown(place)} lies more than {_DEEPEST} catalogs deep: name one that is nearer to it"
            )
        self.seen.add(place)
        content, found_at = read_document(place)
        match _kind(content):
            case "Feature":
                yield _item(content, found_at)
            case "FeatureCollection":
                yield from self._pages(content, found_at)
            case "Catalog" | "Collection" as kind:
                for href in _links(content, kind, found_at):
                    yield from self.items(follow(href, found_at, self.folder), depth + 1)
            case _:
                raise SceneError(
                    f"{shown(place)} is no STAC document: expected a Feature or FeatureCollection with assets, a "
                    "Catalog or a Collection"
                )

    def _pages(self, content: dict[str, Any], document: str) -> Iterator[_Found]:
        """All items of a search, which may come in many answers."""
        page: dict[str, Any] | None = content
        while page is not None:
            features = page.get("features")
            if not isinstance(features, list):
                raise SceneError(f"{shown(document)} has no list of features: expected a STAC FeatureCollection")
            for feature in features:
                yield _item(feature, document)
            following = _next_page(page, document)
            page = None
            if following is not None:
                place = follow(following, document, self.folder)
                if place not in self.seen and len(self.seen) < _MOST_DOCUMENTS:
                    self.seen.add(place)
                    page, document = read_document(place)


def _kind(content: dict[str, Any]) -> str | None:
    """The type of a STAC document, or None where it is other JSON."""
    kind = content.get("type")
    versioned = isinstance(content.get("stac_version"), str)
    match kind:
        case "Feature" if versioned or isinstance(content.get("assets"), dict):
            return "Feature"
        case "FeatureCollection":
            features = content.get("features")
            first = features[0] if isinstance(features, list) and features else {}
            ours = versioned or (isinstance(first, dict) and _kind(first) == "Feature")
            return "FeatureCollection" if ours else None
        case "Catalog" | "Collection" if isinstance(content.get("links"), list):
            return str(kind)
        case None if versioned and isinstance(content.get("links"), list):
            return "Collection" if "extent" in content else "Catalog"
    return None


def _item(content: object, document: str) -> _Found:
    if not isinstance(content, dict) or not isinstance(content.get("assets"), dict):
        raise SceneError(f"{shown(document)} has a feature without assets: expected a STAC item")
    try:
        hrefs = {key: asset.get("href") for key, asset in content["assets"].items()}
        item = pystac.Item.from_dict({"stac_version": "1.0.0", **content}, preserve_dict=False)
        return _Found(item, document, hrefs)
    except _MALFORMED as error:
        raise SceneError(f"{shown(document)} is no STAC item that can be read ({_words(error)})") from None


def _links(content: dict[str, Any], kind: str, document: str) -> list[object]:
    """What a catalog consists of, as it stands there."""
    reader = pystac.Catalog if kind == "Catalog" else pystac.Collection
    try:
        links = [link.get("href") for link in content["links"] if link.get("rel") in {"item", "child"}]
        reader.from_dict({"stac_version": "1.0.0", **content}, preserve_dict=False)
    except _MALFORMED as error:
        raise SceneError(
            f"{shown(document)} is no STAC {kind.lower()} that can be read ({_words(error)})"
        ) from None
    return links


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error)[:200].split())}"


def _next_page(page: dict[str, Any], document: str) -> object:
    links = page.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "next":
            if str(link.get("method", "GET")).upper() != "GET":
                raise SceneError(
                    f"{shown(document)} is one page of a search whose next is asked for with {link['method']}: "
                    "save all its items to one file, and name that"
                )
            return link.get("href")
    return None


def _date(item: pystac.Item, document: str) -> str | None:
    """When it was taken, or began to be, as ISO 8601 in UTC."""
    try:
        found: datetime | None = item.datetime
        if found is None:
            start = item.properties.get("start_datetime")
            found = None if start is None else str_to_datetime(start)
        if found is None:
            return None
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except _MALFORMED as error:
        raise SceneError(f"{shown(document)}: item {item.id} has no date that can be read ({error})") from None
    return found.isoformat().replace("+00:00", "Z")


def _name(item: pystac.Item, document: str) -> str:
    if not isinstance(item.id, str) or not 0 < len(item.id) <= 1000 or not item.id.isprintable():
        raise SceneError(f"{shown(document)} has an item without an id that can be printed: {item.id!r:.100}")
    return item.id
