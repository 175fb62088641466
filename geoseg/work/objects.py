"""Objects of the mosaic, block by block."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.io.ledger import file_sha256
from geoseg.io.run_folder import RunFolder
from geoseg.objects.label import label_block
from geoseg.tiling import Block
from geoseg.vectorize.pieces import BlockPieces


@dataclass(frozen=True, slots=True)
class TraceBlocks:
    """Label and trace the objects of blocks, as far as a block can see them.

    Attributes:
        run: The RUN folder.
        grid_width: Columns of the grid.
        keep: Ids of the classes that have a layer.
    """

    run: RunFolder
    grid_width: int
    keep: tuple[int, ...]

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Nothing to prepare."""
        mosaic, ledger = self.run.mosaic, self.run.ledger("objects")

        def trace(block: Block) -> dict[str, Any]:
            classes_hw = mosaic.read(0, "classes", block.window)
            confidence_hw = mosaic.read(0, "confidence", block.window)
            objects = label_block(classes_hw, confidence_hw, block.window, self.grid_width, self.keep)
            file = pieces_file(self.run, block.key)
            partial = file.with_suffix(".partial")
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(BlockPieces.of(objects).to_bytes())
            partial.replace(file)
            ledger.commit(block.key, {"components": len(objects), "sha256": file_sha256(file)})
            return {"components": len(objects)}

        return trace


def pieces_file(run: RunFolder, key: str) -> Path:
    """Where the pieces of a block's objects lie."""
    return run.ledger("objects").folder / f"{key}.npz"
