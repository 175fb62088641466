"""Where the links of a document from a stranger may lead: to its own place, or to the public network."""

import re
from pathlib import Path
from urllib.parse import urljoin

from geoseg.errors import SceneError
from geoseg.io.addresses import Address, is_remote, parse_address, refuse_strange, shown

_LONGEST = 8192

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def follow(href: object, document: str, folder: Path | None) -> str:
    """The path or address that a document names, if it may.

    Args:
        href: What stands in the document.
        document: Its own path or address, whose server the user named, or was led to by this function.
        folder: Of a document on this machine, the folder that its links must not leave, without links in its own
            path.

    Raises:
        SceneError: It leads elsewhere: out of the folder, to another machine of the network around this one, or to
            what is no place at all.
    """
    try:
        return _followed(href, document, folder)
    except SceneError as error:
        name = shown(href)[:200] if isinstance(href, str) else href
        raise SceneError(
            f"{shown(document)} names {name!r}, where it must not lead: {error}; a STAC document may name what "
            "lies beside it, and public https, s3, gs and az addresses"
        ) from None


def _followed(href: object, document: str, folder: Path | None) -> str:
    if not isinstance(href, str) or not 0 < len(href) <= _LONGEST or not href.isprintable() or "\\" in href:
        raise SceneError("expected the text of a path or address")
    if href.startswith("/vsi"):
        raise SceneError("expected a path or address, not one of GDAL's own")
    if _SCHEME.match(href):
        found = parse_address(href)
        _refuse_unless_public(found, document)
        return found.text
    if is_remote(document):
        found = parse_address(urljoin(document, href))
        _refuse_unless_public(found, document)
        return found.text
    if folder is None or href.startswith("//"):
        raise SceneError("expected a path within the document's folder")
    try:
        path = (Path(document).parent / href).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise SceneError(f"expected a path ({error})") from None
    if not path.is_relative_to(folder):
        raise SceneError(f"expected a path within {folder}")
    return str(path)


def _refuse_unless_public(found: Address, document: str) -> None:
    if is_remote(document) and found.origin == parse_address(document).origin:
        return
    refuse_strange(found)
