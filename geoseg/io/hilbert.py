"""Rows in the order of a Hilbert curve, sorted on disk: what lies near on the ground lies near in a file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

_ORDER = 16
"""Bits of each axis of the curve."""

_RUN_ROWS = 2**17
_RUN_BYTES = 2**27

_OPEN_ROWS = 2**19
_CHUNK_ROWS = (64, 4096)
"""Rows that all runs together hold in memory while they are merged, and the least and most of one."""


def hilbert_keys(xy: NDArray[np.float64], bounds: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Places on a Hilbert curve of order 16 over a box.

    Args:
        xy: Points (n, 2) within the box.
        bounds: Left, bottom, right and top of the box (4,).

    Returns:
        uint32 (n,).
    """
    span = np.maximum(bounds[2:] - bounds[:2], np.finfo(np.float64).tiny)
    cell = np.clip((xy - bounds[:2]) / span * 2**_ORDER, 0, 2**_ORDER - 1).astype(np.uint32)
    x, y = cell[:, 0], cell[:, 1]
    key = np.zeros(len(xy), np.uint32)
    for bit in range(_ORDER - 1, -1, -1):
        right, upper = (x >> bit) & 1, (y >> bit) & 1
        key += ((3 * right) ^ upper) << np.uint32(2 * bit)
        # Each quarter of the square holds the curve of the next order, turned.
        last = np.uint32(2**_ORDER - 1)
        flipped_x = np.where((upper == 0) & (right == 1), last - x, x)
        flipped_y = np.where((upper == 0) & (right == 1), last - y, y)
        x, y = np.where(upper == 0, flipped_y, flipped_x), np.where(upper == 0, flipped_x, flipped_y)
    return key


class HilbertSort:
    """Rows sorted by a key, in memory that does not grow with them: runs on disk, merged a part at a time.

    The same rows in the same batches come out in the same order, those of the same key too.

    Args:
        folder: An empty one for the runs.
        schema: Of the rows.
        run_rows: How many are sorted in memory and laid on disk together, or fewer if they take many bytes.
    """

    def __init__(self, folder: Path, schema: pa.Schema, run_rows: int = _RUN_ROWS) -> None:
        self._folder = folder
        self._schema = schema
        self._run_rows = run_rows
        self._waiting: list[tuple[NDArray[np.uint32], pa.RecordBatch]] = []
        self._runs: list[Path] = []

    def add(self, keys: NDArray[np.uint32], rows: pa.RecordBatch) -> None:
        """Add rows, with the key (n,) of each."""
        if not len(keys):
            return
        self._waiting.append((keys, rows))
        many = sum(len(waiting) for waiting, _ in self._waiting) >= self._run_rows
        if many or sum(batch.nbytes for _, batch in self._waiting) >= _RUN_BYTES:
            self._write_run()

    def sorted(self) -> Iterator[pa.Table]:
        """All rows that were added, in order, as tables of any size."""
        if self._waiting:
            self._write_run()
        if not self._runs:
            return
        least, most = _CHUNK_ROWS
        chunk_rows = min(most, max(least, _OPEN_ROWS // len(self._runs)))
        runs = [_Run(path, chunk_rows) for path in self._runs]
        while runs:
            # What is not greater than the least of the last keys at hand cannot come again from any run, but
            # for equals from the same.
            limit = min(run.last for run in runs)
            parts = [run.take(limit) for run in runs]
            keys = np.concatenate([key for key, _ in parts])
            together = pa.concat_tables([rows for _, rows in parts])
            yield together.take(pa.array(np.argsort(keys, kind="stable")))
            runs = [run for run in runs if run.more()]

    def _write_run(self) -> None:
        keys = np.concatenate([key for key, _ in self._waiting])
        rows = pa.Table.from_batches([batch for _, batch in self._waiting], self._schema)
        self._waiting = []
        order = np.argsort(keys, kind="stable")
        table = rows.take(pa.array(order)).append_column("key", pa.array(keys[order]))
        path = self._folder / f"{len(self._runs)}.arrow"
        with pyarrow.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=_CHUNK_ROWS[0])
        self._runs.append(path)


class _Run:
    """A sorted run on disk, of which some rows are at hand."""

    def __init__(self, path: Path, chunk_rows: int) -> None:
        self._file = pyarrow.ipc.open_file(pa.OSFile(str(path)))
        self._chunks = chunk_rows // _CHUNK_ROWS[0]
        self._next = 0
        self._keys = np.empty(0, np.uint32)
        self._rows: pa.Table | None = None
        self.more()

    @property
    def last(self) -> int:
        """The greatest key at hand."""
        return int(self._keys[-1])

    def take(self, limit: int) -> tuple[NDArray[np.uint32], pa.Table]:
        """Remove and return what is at hand up to a key."""
        assert self._rows is not None
        count = int(np.searchsorted(self._keys, limit, side="right"))
        keys, rows = self._keys[:count], self._rows.slice(0, count)
        self._keys, self._rows = self._keys[count:], self._rows.slice(count)
        return keys, rows

    def more(self) -> bool:
        """Have something at hand; returns whether there was anything left."""
        if len(self._keys):
            return True
        stop = min(self._next + self._chunks, self._file.num_record_batches)
        batches = [self._file.get_batch(i) for i in range(self._next, stop)]
        self._next = stop
        if not batches:
            return False
        table = pa.Table.from_batches(batches)
        self._keys = table.column("key").to_numpy()
        self._rows = table.drop_columns(["key"])
        return True
