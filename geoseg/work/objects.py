"""Objects of the mosaic: labelled and measured block by block, then joined across the seams of blocks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Grid
from geoseg.io.arrays import read_arrays, write_arrays
from geoseg.io.run_folder import RunFolder
from geoseg.objects.ground import pixel_ground
from geoseg.objects.label import label_block
from geoseg.objects.measures import Measures
from geoseg.objects.seams import BlockBorders, LinkedRow, link, settle
from geoseg.objects.thresholds import Thresholds
from geoseg.tiling import Block


@dataclass(frozen=True, slots=True)
class LabelBlocks:
    """Label and measure the objects of blocks, as far as a block can see them.

    Attributes:
        run: The RUN folder.
        grid: The mosaic's grid.
        keep: Ids of the classes that have a layer.
        thresholds: How probable they must be.
        depends: Hash of all that the objects depend on besides the mosaic.
    """

    run: RunFolder
    grid: Grid
    keep: tuple[int, ...]
    thresholds: Thresholds
    depends: str

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Nothing to prepare."""
        mosaic, ledger = self.run.mosaic, self.run.ledger("objects")

        def label(block: Block) -> dict[str, Any]:
            classes_hw = self.thresholds.read(mosaic, block.window)
            confidence_hw = mosaic.read(0, "confidence", block.window)
            ground_hw = pixel_ground(self.grid, block.window)
            objects = label_block(classes_hw, confidence_hw, block.window, self.grid.width, self.keep, ground_hw)
            arrays: dict[str, NDArray[Any]] = {
                "class_id": objects.class_id,
                **objects.measures.to_arrays(),
                **BlockBorders.of(objects).to_arrays(),
            }
            file = _objects_file(self.run, block)
            sha256 = write_arrays(file, arrays)
            files = {file.relative_to(self.run.path).as_posix(): sha256}
            ledger.commit(block.key, {"depends": self.depends, "components": len(objects), "files": files})
            return {"components": len(objects)}

        return label


def join_seams(
    run: RunFolder, blocks: Iterable[Block], advance: Callable[[int], None] = lambda _: None
) -> dict[str, str]:
    """Find the whole objects of all components on block borders, a row of blocks in memory at a time.

    Args:
        run: The RUN folder.
        blocks: All blocks that were labelled, in row-major order.
        advance: Told of the pixels of each row of blocks that was gone over, once on the way down and once up.

    Returns:
        sha256 of each file written, by its path within the RUN folder.
    """
    folder = run.ledger("seams").folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = [list(row) for _, row in groupby(blocks, lambda block: block.i)]
    hashes: dict[str, str] = {}
    with TemporaryDirectory(prefix=".rows.", suffix=".partial", dir=folder) as name:
        above: LinkedRow | None = None
        for number, row in enumerate(rows):
            borders = [
                BlockBorders.from_arrays(block.window, read_arrays(_objects_file(run, block))) for block in row
            ]
            above = link(borders, above)
            write_arrays(Path(name) / f"{number}.npz", above.to_arrays())
            advance(_pixels(row))
        below = None
        for number, row in reversed(list(enumerate(rows))):
            of_blocks, below = settle(read_arrays(Path(name) / f"{number}.npz"), below)
            for block, measures in zip(row, of_blocks, strict=True):
                file = _seams_file(run, block)
                hashes[file.relative_to(run.path).as_posix()] = write_arrays(file, measures.to_arrays())
            advance(_pixels(row))
    return dict(sorted(hashes.items()))


def whole_objects(run: RunFolder, block: Block) -> tuple[NDArray[np.uint8], Measures]:
    """The objects that have pixels in a block: class, and measures of the whole object.

    Returns:
        uint8 (n,) and measures (n,); entry k belongs to label k + 1 of the block.
    """
    arrays = read_arrays(_objects_file(run, block))
    measures = Measures.from_arrays(arrays)
    at_border = arrays["border_label"] - 1
    whole = Measures.from_arrays(read_arrays(_seams_file(run, block)))
    for column, value in zip(measures.columns, whole.columns, strict=True):
        column[at_border] = value
    return arrays["class_id"], measures


def _pixels(blocks: Iterable[Block]) -> int:
    return sum(block.window.height * block.window.width for block in blocks)


def _objects_file(run: RunFolder, block: Block) -> Path:
    return run.ledger("objects").folder / f"{block.key}.npz"


def _seams_file(run: RunFolder, block: Block) -> Path:
    return run.ledger("seams").folder / f"{block.key}.npz"
