"""How much of decoded files a training keeps at hand: crops come from all over, and each block many times."""

import os
from collections.abc import Iterable

from geoseg.io.gdal_environment import GDAL_CACHE_MIB
from geoseg.io.scene_ref import SceneRef

_SHARE = 1 / 8
"""Of the machine's memory, at most; the network and its gradients need the rest."""

_LABEL_BYTES = 2
"""Of a pixel's label: a byte, or its mask."""

_ROOM = 1.1
"""Blocks at the far edges are whole ones, and GDAL's books take some memory too."""


def cache_mib(refs: Iterable[SceneRef], memory_bytes: int | None = None) -> int:
    """What GDAL's cache needs to hold these scenes and their labels whole, as far as memory allows.

    Where it holds them all, each block is decoded once in a training; where it does not, which blocks it holds is
    chance, and most windows are decoded anew: on scenes of large JPEG blocks that takes five times as long.

    Args:
        refs: The scenes that are read.
        memory_bytes: Of the machine; looked up when not given.
    """
    if memory_bytes is None:
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wanted = sum(_decoded_bytes(ref) for ref in refs)
    return max(GDAL_CACHE_MIB, int(min(_ROOM * wanted, _SHARE * memory_bytes) / 2**20) + 1)


def _decoded_bytes(ref: SceneRef) -> int:
    rows, cols = (
        -(-size // block)
        for size, block in zip((ref.source_height, ref.source_width), ref.block_shape, strict=True)
    )
    return rows * cols * ref.block_bytes + ref.source_height * ref.source_width * _LABEL_BYTES
