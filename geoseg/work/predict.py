"""Blocks of the mosaic: read, predict, blend, write, commit."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geoseg.errors import ModelError, SceneError
from geoseg.io.raster import SceneReader, SceneRef
from geoseg.io.run_folder import RunFolder
from geoseg.io.stamp import refuse_changes
from geoseg.labels import NODATA_CLASS
from geoseg.models.package import load_package
from geoseg.predict import Numerics, Predictor, predict_block
from geoseg.tiling import Block, BlockPlan


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
            InputChangedError: The scene is no longer the one that was planned with.
        """
        torch.set_num_threads(self.numerics.threads)
        model = load_package(Path(self.model_path))
        if model.identity != self.model_identity:
            raise ModelError(
                f"the model package {self.model_path} changed since the run was planned: "
                "put the old one back, or start another run with -o"
            )
        refuse_changes(self.scene.stamps)
        predictor = Predictor(model.build(), self.numerics)
        reader = SceneReader(self.scene)
        mosaic, ledger = self.run.mosaic, self.run.ledger("mosaic")
        numerics = self.numerics.fingerprint()

        alone = threading.Lock()

        def predict(block: Block) -> dict[str, Any]:
            with alone:
                return predict_alone(block)

        def predict_alone(block: Block) -> dict[str, Any]:
            start = time.perf_counter()
            try:
                fields = predict_block(reader, model.imagery, self.blocks, block, predictor, len(model.labels))
            except (SceneError, OSError):
                # A file that is being written again reads like a damaged one.
                refuse_changes(self.scene.stamps)
                raise
            stored: tuple[str, ...] = ()
            if fields is not None:
                mosaic.write(0, "classes", block.window, fields.classes_hw)
                mosaic.write(0, "confidence", block.window, fields.confidence_hw)
                stored = ("classes", "confidence")
                if self.probability:
                    mosaic.write(0, "probability", block.window, fields.probability_chw)
                    stored = (*stored, "probability")
            # A marker vouches for the scene that was planned with.
            refuse_changes(self.scene.stamps)
            valid_px = 0 if fields is None else int((fields.classes_hw != NODATA_CLASS).sum())
            ledger.commit(
                block.key,
                {
                    "valid_px": valid_px,
                    "numerics": numerics,
                    "chunks": mosaic.chunk_hashes(0, stored, block.window),
                },
            )
            return {
                "tiles": 0 if fields is None else fields.tiles,
                "valid_px": valid_px,
                "seconds": time.perf_counter() - start,
            }

        return predict
