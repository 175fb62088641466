"""JSON documents from strangers, on this machine or on a web server: bounded, and objects in the end."""

import json
from pathlib import Path
from typing import Any

from geoseg.errors import SceneError
from geoseg.io.addresses import is_remote, parse_address, shown
from geoseg.io.answers import ask

MOST_BYTES = 32 * 2**20
"""Longest document."""

_SNIFFED_BYTES = 1024


class NotJsonError(SceneError):
    """It is something else."""


def read_document(place: str) -> tuple[dict[str, Any], str]:
    """A JSON object, and where it was found in the end.

    Args:
        place: A path, or an http or https address.

    Raises:
        SceneError: It cannot be read, is too long, or is no JSON object.
    """
    text, found_at = _web_bytes(place) if is_remote(place) else (_file_bytes(place), place)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotJsonError(
            f"{shown(place)} is no JSON that can be read ({error}): expected a STAC document"
        ) from None
    if not isinstance(content, dict):
        raise NotJsonError(f"{shown(place)} holds a JSON {type(content).__name__}: expected an object")
    return content, found_at


def may_be_json(place: str) -> bool:
    """Whether what lies at an address begins as a JSON object does; little of it is read.

    Raises:
        SceneError: The server does not send it.
    """
    address = parse_address(place)
    return address.is_web and ask(address, 0, _SNIFFED_BYTES).body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def _web_bytes(place: str) -> tuple[bytes, str]:
    address = parse_address(place)
    if not address.is_web:
        raise SceneError(
            f"{shown(place)} cannot be read: expected a document on this machine or at an https address"
        )
    answer = ask(address, None, MOST_BYTES)
    return answer.body, answer.address.text


def _file_bytes(place: str) -> bytes:
    file = Path(place)
    try:
        if not file.is_file():
            raise SceneError(f"no such file: {place}; expected a STAC document")
        with file.open("rb") as stream:
            text = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SceneError(f"{place} cannot be read ({error}): expected a STAC document") from None
    if len(text) > MOST_BYTES:
        raise SceneError(
            f"{place} is longer than {MOST_BYTES >> 20} MiB: expected a STAC document of at most so much"
        )
    return text
