"""Named arrays in a file of their own (npz): what one stage of a run leaves to the next."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from geoseg.io.ledger import file_sha256


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write arrays in one step: readers see the whole file or none.

    Args:
        path: File to write, ending in `.npz`; its folder is made.
        arrays: Arrays by name; the same arrays give the same bytes.

    Returns:
        sha256 of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may write the same file: a unit whose answer was lost is done again.
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    partial.write_bytes(buffer.getvalue())
    sha256 = file_sha256(partial)
    partial.replace(path)
    return sha256


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays that `write_arrays` wrote; no pickle is read.

    Raises:
        OSError: There is no such file.
        ValueError: It holds something else.
    """
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)
