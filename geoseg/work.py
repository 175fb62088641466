"""The kinds of work: what one worker does with one unit. Addresses in, bytes in storage and a few numbers out.

Each job is small and picklable. The function that `open` returns is repeatable: the same unit leaves the same
bytes, and its marker comes last.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoseg.errors import ModelError
from geoseg.grid import Window
from geoseg.io.ledger import file_sha256
from geoseg.io.mosaic import majority_of_four, mean_of_four
from geoseg.io.raster import SceneReader, SceneRef
from geoseg.io.run_folder import RunFolder
from geoseg.labels import NODATA_CLASS
from geoseg.models.package import load_package
from geoseg.objects.label import label_block
from geoseg.predict import Numerics, Predictor, predict_block
from geoseg.tiling import Block, BlockPlan
from geoseg.vectorize.pieces import BlockPieces


@dataclass(frozen=True, slots=True)
class PredictBlocks:
    """Read, predict, blend and write blocks of the mosaic.

    Attributes:
        run: The RUN folder.
        scene: The scene.
        model_path: The model package.
        model_identity: What it must be.
        blocks: Lattice and blocks.
        probability: Whether to keep the probabilities of all classes.
        numerics: Device, precision, threads and batch.
    """

    run: RunFolder
    scene: SceneRef
    model_path: str
    model_identity: str
    blocks: BlockPlan
    probability: bool
    numerics: Numerics

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Load the model and open the scene.

        Raises:
            ModelError: There is no such package here, or it is another one.
        """
        torch.set_num_threads(self.numerics.threads)
        model = load_package(Path(self.model_path))
        if model.identity != self.model_identity:
            raise ModelError(
                f"the model package {self.model_path} changed since the run was planned: "
                "put the old one back, or start another run with -o"
            )
        predictor = Predictor(model.build(), self.numerics)
        reader = SceneReader(self.scene)
        mosaic, ledger = self.run.mosaic, self.run.ledger("mosaic")

        def predict(block: Block) -> dict[str, Any]:
            start = time.perf_counter()
            fields = predict_block(reader, model.imagery, self.blocks, block, predictor, len(model.labels))
            stored: tuple[str, ...] = ()
            if fields is not None:
                mosaic.write(0, "classes", block.window, fields.classes_hw)
                mosaic.write(0, "confidence", block.window, fields.confidence_hw)
                stored = ("classes", "confidence")
                if self.probability:
                    mosaic.write(0, "probability", block.window, fields.probability_chw)
                    stored = (*stored, "probability")
            valid_px = 0 if fields is None else int((fields.classes_hw != NODATA_CLASS).sum())
            ledger.commit(
                block.key,
                {"valid_px": valid_px, "chunks": mosaic.chunk_hashes(0, stored, block.window)},
            )
            return {
                "tiles": 0 if fields is None else fields.tiles,
                "valid_px": valid_px,
                "seconds": time.perf_counter() - start,
            }

        return predict


@dataclass(frozen=True, slots=True)
class ReduceBlocks:
    """Write one level of overviews from the level below.

    Attributes:
        run: The RUN folder.
        level: The level to write, from 1.
    """

    run: RunFolder
    level: int

    def open(self) -> Callable[[Window], dict[str, Any]]:
        """Nothing to prepare."""
        mosaic = self.run.mosaic
        below_height, below_width = mosaic.level_shapes()[self.level - 1]

        def reduce(window: Window) -> dict[str, Any]:
            row, col = 2 * window.row, 2 * window.col
            source = Window(
                row,
                col,
                min(2 * window.height, below_height - row),
                min(2 * window.width, below_width - col),
            )
            classes_hw = mosaic.read(self.level - 1, "classes", source)
            confidence_hw = mosaic.read(self.level - 1, "confidence", source)
            mosaic.write(self.level, "classes", window, majority_of_four(classes_hw))
            mosaic.write(self.level, "confidence", window, mean_of_four(confidence_hw))
            return {}

        return reduce


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


def level_windows(height: int, width: int, side: int) -> list[Window]:
    """Windows of `side` px that cover an overview of height x width pixels, in row-major order."""
    return [
        Window(int(row), int(col), min(side, height - int(row)), min(side, width - int(col)))
        for row in np.arange(0, height, side)
        for col in np.arange(0, width, side)
    ]
