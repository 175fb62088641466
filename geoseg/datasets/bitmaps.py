"""Masks that annotations carry as PNG in base64, unpacked no further than they may be."""

import base64
import binascii
import io
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geoseg.errors import SceneError

_BYTES_PER_PX = 8
"""A PNG of two bytes in four bands takes no more, but for its head."""

_HEAD_BYTES = 2**16

_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, zlib.error, Image.DecompressionBombError)
"""What Pillow raises of a PNG that is damaged; its parser has no error of its own."""


def from_base64(text: str, where: str) -> bytes:
    """The bytes that a text stands for.

    Raises:
        SceneError: It is no base64.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SceneError(f"{where}: expected a mask in base64, got something else ({error})") from error


def inflate(packed: bytes, most_px: int, where: str) -> bytes:
    """What zlib packed, if it is no longer than a PNG of so many pixels may be.

    Raises:
        SceneError: It is longer, or damaged.
    """
    most_bytes = _HEAD_BYTES + _BYTES_PER_PX * most_px
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(packed, most_bytes)
    except zlib.error as error:
        raise SceneError(f"{where}: expected a mask packed with zlib, got something else ({error})") from error
    if not unpacker.eof:
        kept = "ends too soon" if len(content) < most_bytes else f"is longer than {most_bytes} bytes"
        raise SceneError(f"{where}: expected a mask of at most {most_px} px packed with zlib, it {kept}")
    return content


def png_mask(content: bytes, most: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """A mask (row, column) kept as PNG: what is not transparent, or without transparency what is not 0.

    Args:
        content: The file.
        most: Most rows and columns; its header is looked at before any pixel is unpacked.
        where: The annotation, for messages.

    Raises:
        SceneError: It is no PNG, is damaged, or larger.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            width, height = picture.size
            if height > most[0] or width > most[1]:
                raise SceneError(
                    f"{where}: expected a mask of at most {most[0]} x {most[1]} px (height x width), got "
                    f"{height} x {width}"
                )
            if "transparency" in picture.info or picture.mode in {"LA", "PA", "RGBA"}:
                return np.asarray(picture.convert("RGBA"))[..., 3] > 0
            values = np.asarray(picture) != 0
    except _DAMAGED as error:
        raise SceneError(f"{where}: expected a mask as PNG that can be read ({error})") from error
    return values if values.ndim == 2 else values.any(-1)
