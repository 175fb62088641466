"""Addresses of what is not on this machine: which are read at all, and what is said of them.

An address is judged by its text alone, except in `refuse_strange`, which asks where a host lies.
"""

import ipaddress
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from geoseg.errors import SceneError

REMOTE_SCHEMES = ("https", "s3", "gs", "az")
"""Schemes that may be read; http only from this machine itself."""

_PREFIXES = {"http": "/vsicurl/", "https": "/vsicurl/", "s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/"}
"""How GDAL calls them."""

_EXPECTED = "expected a path on this machine, or an address with https://, s3://, gs:// or az://"

_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?|\[[0-9a-f:.]+\]", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9$][a-z0-9._$-]*", re.ASCII)

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Address:
    """An address that may be read.

    Attributes:
        scheme: In lower case.
        host: Host, in lower case and without brackets, or bucket.
        port: Of http and https.
        text: The whole address, with whatever signature it carries.
    """

    scheme: str
    host: str
    port: int
    text: str

    @property
    def is_web(self) -> bool:
        """Whether it is read by plain requests, not with a cloud's own credentials."""
        return self.scheme in {"http", "https"}

    @property
    def origin(self) -> tuple[str, str, int]:
        """Who answers for it."""
        return self.scheme, self.host, self.port

    @property
    def gdal_path(self) -> str:
        """The address as GDAL takes it."""
        return _PREFIXES[self.scheme] + (self.text if self.is_web else self.text.partition("://")[2])


def is_remote(text: str) -> bool:
    """Whether a text is an address rather than a path; not whether it may be read."""
    return "://" in text or text.startswith("/vsi")


def is_on_web(text: str) -> bool:
    """Whether a text is an address of a web server, likewise."""
    return text.partition("://")[0].lower() in {"http", "https"} and is_remote(text)


def shown(text: str) -> str:
    """What people and files are told of an address: without query, fragment or user, which may hold secrets."""
    if "://" not in text:
        return text
    bare = re.split(r"[?#]", text, maxsplit=1)[0]
    scheme, _, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def parse_address(text: str) -> Address:
    """An address that the user named, or that was found where it may be.

    Raises:
        SceneError: It is of no kind that is read.
    """
    name = shown(text)
    if not text.isprintable() or any(letter in text for letter in ' \\<>"^`{|}'):
        raise SceneError(f"{_EXPECTED}, got {name!r}: write blanks and signs as %XX")
    parts = _split(text, name)
    scheme = parts.scheme.lower()
    if text.startswith(("/", "\\")) or (scheme not in REMOTE_SCHEMES and scheme != "http"):
        raise SceneError(f"{_EXPECTED}, got {name!r}")
    if "@" in parts.netloc:
        raise SceneError(f"expected an address without user or password, got {name!r} with one before the host")
    if parts.fragment or text.endswith("#"):
        raise SceneError(f"expected an address without a fragment, got {name!r}: write # as %23")
    if scheme in {"http", "https"}:
        return _web(text, name, scheme, parts)
    if not _BUCKET.fullmatch(parts.netloc) or not parts.path.strip("/"):
        raise SceneError(f"expected {scheme}://BUCKET/NAME, got {name!r}")
    if parts.query or "?" in text or {"..", ".", ""} & set(parts.path[1:].split("/")):
        raise SceneError(f"expected {scheme}://BUCKET/NAME without query, empty parts or dots, got {name!r}")
    return Address(scheme, parts.netloc, 0, f"{scheme}://{parts.netloc}{parts.path}")


def _split(text: str, name: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise SceneError(f"{_EXPECTED}, got {name!r} ({error})") from None
    return parts


def _web(text: str, name: str, scheme: str, parts: SplitResult) -> Address:
    if not text.isascii():
        raise SceneError(f"expected an address in ASCII, got {name!r}: write other letters as %XX")
    netloc = parts.netloc.lower()
    bare = netloc if parts.port is None else netloc.rpartition(":")[0]
    host = (parts.hostname or "").lower()
    if not _HOST.fullmatch(bare.removesuffix(":")) or not host:
        raise SceneError(f"{_EXPECTED}, got {name!r}, whose host is no name or number")
    if scheme == "http" and not is_loopback(host):
        raise SceneError(
            f"expected https, got {name!r}: plain http can be changed on its way, and is read only from this "
            "machine itself (127.0.0.1, ::1, localhost)"
        )
    port = parts.port if parts.port is not None else 443 if scheme == "https" else 80
    path = parts.path or "/"
    query = f"?{parts.query}" if parts.query else ""
    return Address(scheme, host, port, f"{scheme}://{netloc}{path}{query}")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its number, or the name that every machine has for itself."""
    if host == "localhost":
        return True
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Not every IPv6 form of it: the two that people type.
    return number in ipaddress.ip_network("127.0.0.0/8") if number.version == 4 else str(number) == "::1"


def refuse_strange(address: Address) -> None:
    """Refuse an address that leads to this machine or the networks around it, which strangers may not name.

    Of a cloud's addresses the provider answers for all, so that there is nothing to look up.

    Raises:
        SceneError: It is plain http, or its host is, or is called by a name of, a private, loopback, link-local or
            reserved number, or has no number at all.
    """
    name = shown(address.text)
    if address.scheme == "http":
        raise SceneError(f"expected https, s3, gs or az, got {name}")
    if not address.is_web:
        return
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SceneError(
            f"{name} cannot be read: its host {address.host} has no number ({error}); check the name and "
            "the network"
        ) from None
    for *_, place in found:
        if not is_public(str(place[0]).partition("%")[0]):
            raise SceneError(
                f"expected an address in the public network, got {name}, which lies at {place[0]}: download the "
                "file, or name its address yourself"
            )


def is_public(number: str) -> bool:
    """Whether an IP address is one of the whole network; those that wrap another one are what they wrap."""
    return all(ip.is_global and not ip.is_multicast for ip in _unwrapped(ipaddress.ip_address(number)))


def _unwrapped(ip: Ip) -> Iterator[Ip]:
    inner: Ip | None = None
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    yield ip if inner is None else inner


def place_of(text: str) -> tuple[str, str]:
    """What a scene's place is called, and the address that it is opened at: "" where that is the same.

    Args:
        text: A path or an address, as the user gave it.
    """
    if not is_remote(text):
        return str(Path(text).resolve()), ""
    address = parse_address(text).text
    name = shown(address)
    return name, "" if name == address else address
