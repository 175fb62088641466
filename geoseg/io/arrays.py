"""Named arrays in a file of their own (npz): what one stage of a run leaves to the next."""

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.io.place import Place, write_whole

_READ_AT_ONCE = 8


def write_arrays(path: Place, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write arrays in one step: readers see the whole file or none.

    Args:
        path: File to write, ending in `.npz`; its folder is made.
        arrays: Arrays by name; the same arrays give the same bytes.

    Returns:
        sha256 of the file.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    content = buffer.getvalue()
    write_whole(path, content)
    return sha256(content).hexdigest()


def read_arrays(path: Place) -> dict[str, NDArray[Any]]:
    """The arrays that `write_arrays` wrote; no pickle is read.

    Raises:
        OSError: There is no such file.
        ValueError: It holds something else.
    """
    with np.load(path if isinstance(path, Path) else io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
        return dict(archive)


def read_each(places: Sequence[Place]) -> list[dict[str, NDArray[Any]]]:
    """The arrays of several files, in their order; those of an object store, where each takes a while, together.

    Raises:
        OSError: There is no such file.
        ValueError: One holds something else.
    """
    if len(places) < 2 or isinstance(places[0], Path):
        return [read_arrays(place) for place in places]
    with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
        return list(pool.map(read_arrays, places))
