"""Run lengths of masks, as COCO and CVAT write them: first how many pixels are not marked, then how many are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import SceneError


def coco_mask(
    size: Sequence[int], counts: str | Sequence[int], shape: tuple[int, int], where: str
) -> NDArray[np.bool_]:
    """A mask (row, column) from COCO's run lengths, which run down the columns.

    Args:
        size: (height, width) as the annotation says.
        counts: The runs, or a text that packs them (`counts_of`).
        shape: (height, width) of the image in pixels, which the size must be: nothing larger is unpacked.
        where: The annotation, for messages.

    Raises:
        SceneError: The size is another, or the runs do not make up as many pixels.
    """
    if tuple(size) != shape:
        raise SceneError(f"{where}: expected a mask of {list(shape)} (height, width), got {list(size)[:4]}")
    runs = counts_of(counts, where) if isinstance(counts, str) else counts
    return mask_of(runs, shape[::-1], where).T


def mask_of(runs: Sequence[int], shape: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """A mask (row, column) from runs along its rows.

    Args:
        runs: Lengths of runs, of pixels that are not marked and marked in turn.
        shape: (height, width).
        where: The annotation, for messages.

    Raises:
        SceneError: The runs do not make up as many pixels.
    """
    if min(runs, default=0) < 0 or sum(runs) != shape[0] * shape[1]:
        raise SceneError(
            f"{where}: expected run lengths that make up {shape[0] * shape[1]} px, got {sum(runs)} in "
            f"{len(runs)} runs: the annotation is damaged"
        )
    marked = np.arange(len(runs)) % 2 == 1
    return np.repeat(marked, np.asarray(runs, np.int64)).reshape(shape)


def counts_of(text: str, where: str) -> list[int]:
    """Run lengths from COCO's text: five bits a character from "0" on, the sixth says that the number goes on.

    From the fourth run on a number is the difference to the run before the last (rleFrString in maskApi.c of
    https://github.com/cocodataset/cocoapi).

    Raises:
        SceneError: A character is none of those, a number has more than 60 bits, or the last one is cut short.
    """
    counts: list[int] = []
    number = bits = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits >= 60:
            raise SceneError(f"{where}: expected run lengths as COCO packs them, got {text[:20]!r}: it is damaged")
        number |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            number -= 1 << bits
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = bits = 0
    if bits:
        raise SceneError(f"{where}: the run lengths end within a number: the annotation is cut short")
    return counts
