"""What tells one version of a raster on a server from another."""

import hashlib
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from rasterio.io import DatasetReader

from geoseg.errors import SceneError
from geoseg.io.addresses import Address, parse_address, shown
from geoseg.io.answers import Answer, ask
from geoseg.io.openings import layout_of, open_in_cloud

_HEAD_BYTES = 16384
"""Read of a file when it is identified: enough to tell what it is."""

_FRESH_S = 30.0
"""A file's identity is believed for so long by whoever asks for each block."""

_MOST_REMEMBERED = 10_000

_SAMPLED_BLOCKS = 1024
"""Of a file in a cloud, whose server only GDAL can ask, the places of so many blocks tell one version apart."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one version of a remote file from another.

    Attributes:
        size: Bytes, 0 where only GDAL can ask for it.
        etag: The server's name for the version, or of a cloud's file a digest of where its blocks lie, or "".
        changed_ns: When the server says that it changed, nanoseconds since 1970, or 0.
        content: sha256 of the first and last bytes where the server says neither, or "".
    """

    size: int
    etag: str
    changed_ns: int
    content: str

    @property
    def fingerprint(self) -> str:
        """sha256 of all that is known."""
        return hashlib.sha256(repr((self.size, self.etag, self.changed_ns, self.content)).encode()).hexdigest()


_remembered: dict[str, tuple[float, Identity]] = {}
_remembering = threading.Lock()


def identify(text: str, *, within_s: float = _FRESH_S) -> Identity:
    """What a remote file is now, or was at most some seconds ago.

    Args:
        text: Its address.
        within_s: Seconds for which an earlier answer in this process is as good.

    Raises:
        RemoteError: The server does not answer, or has no such file.
        SceneError: It is none that is read.
    """
    with _remembering:
        seen, identity = _remembered.get(text, (-1e9, None))
    if identity is not None and time.monotonic() - seen <= within_s:
        return identity
    address = parse_address(text)
    try:
        identity = web_identity(address, head_of(address)) if address.is_web else _cloud_identity(address)
    except SceneError:
        with _remembering:
            _remembered.pop(text, None)
        raise
    return remember(text, identity)


def remember(text: str, identity: Identity) -> Identity:
    """Believe for a while that the file at an address is this one.

    Returns:
        The same identity.
    """
    with _remembering:
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[text] = time.monotonic(), identity
    return identity


def head_of(address: Address, count: int = _HEAD_BYTES) -> Answer:
    """The first bytes of a file on a web server.

    Raises:
        RemoteError: The server does not answer, or has no such file.
        SceneError: The file is empty, or the server does not send parts of files.
    """
    answer = ask(address, 0, count)
    if answer.size == 0:
        raise SceneError(f"{shown(address.text)} is empty (0 bytes): expected a raster")
    if not answer.partial or answer.size is None:
        raise SceneError(
            f"{shown(address.text)} lies on a server that does not send parts of files: expected one that knows "
            "Range requests; download the file"
        )
    return answer


def web_identity(address: Address, head: Answer) -> Identity:
    """What tells a file on a web server from another, given the answer to its first bytes.

    Raises:
        RemoteError: The server says neither version nor time, and does not send the file's last bytes.
    """
    size = head.size or 0
    etag, changed = head.headers.get("etag", ""), head.headers.get("last-modified", "")
    try:
        changed_ns = round(parsedate_to_datetime(changed).timestamp()) * 10**9 if changed else 0
    except ValueError:
        changed_ns = 0
    content = ""
    if not etag and not changed_ns:
        tail = ask(address, max(0, size - _HEAD_BYTES), min(size, _HEAD_BYTES)).body
        content = hashlib.sha256(head.body[:_HEAD_BYTES] + tail).hexdigest()
    return Identity(size, etag, changed_ns, content)


def _cloud_identity(address: Address) -> Identity:
    dataset, _ = open_in_cloud(address)
    with dataset:
        return Identity(0, _where_blocks_lie(dataset), 0, "")


def _where_blocks_lie(dataset: DatasetReader) -> str:
    """sha256 of a raster's layout: blocks of other pixels have other lengths once they are compressed."""
    digest = hashlib.sha256(repr(layout_of(dataset)).encode())
    rows, cols = dataset.block_shapes[0]
    down, across = -(-dataset.height // rows), -(-dataset.width // cols)
    for number in range(0, down * across, max(1, down * across // _SAMPLED_BLOCKS)):
        i, j = divmod(number, across)
        for item in ("OFFSET", "SIZE"):
            tag = dataset.get_tag_item(f"BLOCK_{item}_{j}_{i}", "TIFF", bidx=1)
            digest.update(f"{tag}:".encode())
    return digest.hexdigest()
