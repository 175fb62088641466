"""What web servers answer: whole parts of files, asked for again where that can help, from nowhere unexpected.

GDAL follows redirects wherever they lead and takes an answer that was cut short for the whole; what geoseg itself
decides by (whether a file changed, what a STAC document says) comes from here.
"""

import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import IO, Any
from urllib.parse import urljoin

from geoseg.errors import SceneError
from geoseg.io.addresses import Address, parse_address, refuse_strange, shown
from geoseg.io.turns import waiting

HTTP_SETTINGS: Mapping[str, str] = {
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "30",
}
"""How patient reading is, in seconds where it is time; environment variables of these names come first."""

_RETRIED = frozenset({429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_CHUNK_BYTES = 65536
_CUT_SHORT = "the answer was cut short"
_LONGEST_PAUSE_S = 10.0


class RemoteError(SceneError):
    """A server did not answer, or not with what was asked for.

    Attributes:
        status: What it answered, or 0 where it did not.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type["RemoteError"], tuple[str, int]]:
        return type(self), (str(self), self.status)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered.

    Attributes:
        address: Where it was found in the end.
        size: Bytes of the whole file, or None if only a whole file was sent and cut off here.
        partial: Whether the server sends parts.
        headers: By lower-case name.
        body: What was asked for.
    """

    address: Address
    size: int | None
    partial: bool
    headers: Mapping[str, str]
    body: bytes


def setting(name: str) -> str:
    """One of `HTTP_SETTINGS`, as the environment has it."""
    return os.environ.get(name) or HTTP_SETTINGS[name]


def ask(address: Address, first: int | None, count: int) -> Answer:
    """The bytes of a file on a web server.

    Args:
        address: An http or https address.
        first: Ask for `count` bytes from this one on; None for the whole file of at most `count` bytes.
        count: Bytes.

    Raises:
        RemoteError: No answer, or none that helps, after as many tries as `HTTP_SETTINGS` say.
        SceneError: It leads where it must not.
    """
    return waiting(lambda: _asked(address, first, count))


def _asked(address: Address, first: int | None, count: int) -> Answer:
    tries = 1 + int(setting("GDAL_HTTP_MAX_RETRY"))
    pause_s = float(setting("GDAL_HTTP_RETRY_DELAY"))
    for left in range(tries - 1, -1, -1):
        try:
            return _followed(address, first, count)
        except _TryAgainError as error:
            if not left:
                raise RemoteError(
                    f"{shown(address.text)} cannot be read: {error}, {tries} times: expected a server that "
                    "answers; try again later",
                    error.status,
                ) from None
            time.sleep(min(max(pause_s, error.pause_s), _LONGEST_PAUSE_S))
            pause_s *= 2
    raise AssertionError("the last try returns or raises")


class _TryAgainError(Exception):
    def __init__(self, words: str, status: int = 0, pause_s: float = 0.0) -> None:
        super().__init__(words)
        self.status = status
        self.pause_s = pause_s


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects are looked at before they are followed."""

    def redirect_request(self, *_: Any, **__: Any) -> None:  # noqa: ANN401  # urllib's own
        return None


@cache
def _trusted() -> ssl.SSLContext:
    """Whom to believe: read once, which takes as long as many a server to answer."""
    return ssl.create_default_context()


def _opener(address: Address) -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _NoRedirects(),
    ]
    if address.scheme == "https":
        # This machine needs no proxy to reach itself.
        handlers += [urllib.request.HTTPSHandler(context=_trusted()), urllib.request.ProxyHandler()]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _followed(address: Address, first: int | None, count: int) -> Answer:
    for _ in range(_MOST_REDIRECTS + 1):
        answer = _once(address, first, count)
        if isinstance(answer, Answer):
            return answer
        address = _redirected(address, answer)
    raise RemoteError(f"{shown(address.text)} cannot be read: more than {_MOST_REDIRECTS} redirects")


def _redirected(address: Address, location: str) -> Address:
    """Where an answer leads, if it may: to the same server, or to a public one by https.

    Raises:
        SceneError: It may not.
    """
    try:
        found = parse_address(urljoin(address.text, location))
        if found.origin != address.origin:
            refuse_strange(found)
    except SceneError as error:
        raise SceneError(f"{shown(address.text)} is redirected to where it must not lead: {error}") from None
    return found


def _once(address: Address, first: int | None, count: int) -> Answer | str:
    """An answer, or where it leads."""
    timeout_s = float(setting("GDAL_HTTP_TIMEOUT"))
    connect_s = min(timeout_s, float(setting("GDAL_HTTP_CONNECTTIMEOUT")))
    headers = {"User-Agent": "geoseg", "Accept-Encoding": "identity"}
    if first is not None:
        headers["Range"] = f"bytes={first}-{first + count - 1}"
    request = urllib.request.Request(address.text, headers=headers)  # noqa: S310  # http and https alone
    end = time.monotonic() + timeout_s
    try:
        with _opener(address).open(request, timeout=max(connect_s, timeout_s)) as response:
            body = _body(response, count, end)
            return _answer(address, response.status, response.headers, body, first, count)
    except urllib.error.HTTPError as error:
        return _refused(address, error, first, count)
    except TimeoutError:
        raise _TryAgainError(f"no whole answer within {timeout_s:g} s") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise RemoteError(f"{shown(address.text)} cannot be read: {error.reason.verify_message}") from None
        raise _TryAgainError(_words(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _TryAgainError(_words(error)) from None


def _words(reason: object) -> str:
    # The same fault: in which of these forms it comes, and after how many bytes, is a matter of moments.
    if isinstance(reason, ConnectionResetError | ConnectionAbortedError | http.client.IncompleteRead):
        return _CUT_SHORT
    return (reason.strerror if isinstance(reason, OSError) else None) or str(reason) or type(reason).__name__


def _body(response: IO[bytes], count: int, end: float) -> bytes:
    """At most `count` bytes and one, before a time; a server that drips gets no longer than one that is silent."""
    parts: list[bytes] = []
    length = 0
    while length <= count:
        part = response.read1(min(_CHUNK_BYTES, count + 1 - length))  # type: ignore[attr-defined]
        if not part:
            break
        parts.append(part)
        length += len(part)
        if time.monotonic() > end:
            raise TimeoutError
    return b"".join(parts)


def _refused(address: Address, error: urllib.error.HTTPError, first: int | None, count: int) -> Answer | str:
    status = error.code
    location = error.headers.get("Location")
    if status in _REDIRECTS and location:
        return location
    words = f"the server answered {status} {error.reason}".rstrip()
    if status in _RETRIED:
        after = error.headers.get("Retry-After", "")
        raise _TryAgainError(words, status, float(after) if after.isdigit() else 0.0)
    if status == 416 and first == 0:
        return _answer(address, 206, {"Content-Range": "bytes 0-0/0"}, b"", first, count)
    ways = {
        401: "it asks for a login, which geoseg has none of",
        403: "a signed address that has expired? Ask for a new one",
        404: "there is no such file",
        410: "there is no such file any more",
    }
    hint = f"; {ways[status]}" if status in ways else ""
    raise RemoteError(f"{shown(address.text)} cannot be read: {words}{hint}", status)


def _answer(
    address: Address, status: int, headers: Mapping[str, str], body: bytes, first: int | None, count: int
) -> Answer:
    """An answer that is whole."""
    named = {name.lower(): value for name, value in headers.items()}
    length, whole = named.get("content-length", ""), named.get("content-range", "").rpartition("/")[2]
    expected = min(int(length), count + 1) if length.isdigit() else None
    if expected is not None and len(body) < expected:
        raise _TryAgainError(_CUT_SHORT)
    if first is None:
        if len(body) > count:
            raise RemoteError(f"{shown(address.text)} holds more than {count} bytes: expected at most so many")
        return Answer(address, len(body), status == 206, named, body)
    if status == 206:
        size = int(whole) if whole.isdigit() else None
        if size is not None and size > first and len(body) < min(count, size - first):
            raise _TryAgainError(_CUT_SHORT)
        return Answer(address, size, True, named, body[:count])
    return Answer(address, int(length) if length.isdigit() else None, False, named, body[:count])
