"""Blocks of the mosaic: read, predict, blend, write, commit."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import torch

from geoseg.errors import ModelError, RunFolderError, SceneError, StoppedError
from geoseg.fields import Below, BlockFields, BlockPredictor
from geoseg.grid import Window
from geoseg.heap import trim_heap
from geoseg.imagery import Imagery
from geoseg.io.aoi import Aoi
from geoseg.io.place import write_whole
from geoseg.io.region import NO_SCENE, Region, RegionReader
from geoseg.io.run_folder import RunFolder
from geoseg.io.stamp import Stamp, refuse_changes
from geoseg.labels import NODATA_CLASS
from geoseg.models.fetched import package_folder
from geoseg.models.folding import fold_batch_norms
from geoseg.models.package import load_package
from geoseg.pixels import BlockPixels
from geoseg.predict import Numerics, Predictor, differences
from geoseg.runner import is_disk_full
from geoseg.threads import Turns
from geoseg.tiling import Block, BlockPlan


@dataclass(frozen=True, slots=True)
class PredictBlocks:
    """Read, predict, blend and write blocks of the mosaic.

    Attributes:
        run: The RUN folder.
        region: The scenes on their grid.
        model_path: The model package.
        model_identity: What it must be.
        blocks: Lattice and blocks.
        probability: Whether to keep the probabilities of all classes.
        numerics: Device, precision, threads and batch.
        things: The classes whose objects a panoptic model tells apart; None of a model that does not.
        aoi: What of the grid is to be mapped; None for all of it.
        begun: The numerics of blocks that are there, one of which the worker's must be; none for any.
    """

    run: RunFolder
    region: Region
    model_path: str
    model_identity: str
    blocks: BlockPlan
    probability: bool
    numerics: Numerics
    things: tuple[int, ...] | None = None
    aoi: Aoi | None = None
    begun: tuple[dict[str, Any], ...] = ()

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Load the model and get ready to read.

        Raises:
            ModelError: There is no such package here, or it is another one.
            InputChangedError: The scene is no longer the one that was planned with.
            RunFolderError: The RUN folder is not the one that the run was planned in, or cannot be written.
            SceneError: The first scene cannot be opened here.
        """
        torch.set_num_threads(self.numerics.threads)
        numerics = self.numerics.here()
        other = [differences(before, numerics.fingerprint()) for before in self.begun]
        if other and all(other):
            raise RunFolderError(f"{self.run.path} has blocks of {other[0]}")
        model = load_package(package_folder(self.model_path))
        if model.identity != self.model_identity:
            raise ModelError(
                f"the model package {self.model_path} changed since the run was planned: "
                "put the old one back, or start another run with -o"
            )
        reader = RegionReader(self.region)
        reader.open_first()
        refuse_changes(self.region.stamps)
        _refuse_elsewhere(self.run)
        predictor = Predictor(fold_batch_norms(model.build()), numerics)
        blockwise = BlockPredictor(
            self.blocks,
            predictor,
            len(model.labels),
            probability=self.probability,
            activation=model.card.activation,
            things=self.things,
        )
        return _Worker(self, reader, model.imagery, blockwise).predict


def _refuse_elsewhere(run: RunFolder) -> None:
    """Refuse a RUN folder that is another one than where the run was planned, or that cannot be written.

    Raises:
        RunFolderError: It is one of these.
    """
    probe = run.path / f".probe.{uuid4().hex}.partial"
    try:
        if not run.mosaic.path.exists():
            raise RunFolderError(
                f"expected the run's mosaic in {run.path}, there is none: mount the same storage at the same path "
                "on every node, or name another RUN with -o"
            )
        write_whole(probe, b"")
        probe.unlink()
    except StoppedError as error:  # the store lets others in, perhaps
        raise RunFolderError(str(error)) from error
    except OSError as error:
        if is_disk_full(error):
            raise
        raise RunFolderError(f"{run.path} cannot be written ({error.strerror}): let geoseg write there") from error


class _Worker:
    """One process at work: while the network computes one block, another is read, and a third written."""

    def __init__(
        self, job: PredictBlocks, reader: RegionReader, imagery: Imagery, blockwise: BlockPredictor
    ) -> None:
        self._job = job
        self._reader = reader
        self._imagery = imagery
        self._blockwise = blockwise
        self._numerics = job.numerics.here().fingerprint()
        self._reading = threading.Lock()
        self._turns = Turns()
        self._begun: Block | None = None
        self._below: Below | None = None
        self._computed_s: float | None = None

    def predict(self, block: Block) -> dict[str, Any]:
        """Do one block; called by several threads at once."""
        start = time.perf_counter()
        with self._turns.place((block.j, block.i)) as turn:
            with self._reading:
                follows = block.i > 0 and self._begun == self._job.blocks.block(block.i - 1, block.j)
                self._begun = block
                reading = time.perf_counter()
                pixels = self._read(block, whole=not follows)
                read_s = time.perf_counter() - reading
            with turn():
                computing = time.perf_counter()
                wait_s = 0.0 if self._computed_s is None else computing - self._computed_s
                fields = self._compute(block, pixels)
                self._computed_s = time.perf_counter()
                infer_s = self._computed_s - computing
        del pixels
        valid_px = self._write(block, fields)
        tiles, cached = (0, 0) if fields is None else (fields.tiles, fields.cached)
        if fields is not None:
            del fields
            # What blocks leave in the heap would be torn into ever smaller pieces by those that follow.
            trim_heap()
        end = time.perf_counter()
        return {
            "tiles": tiles,
            "cached": cached,
            "valid_px": valid_px,
            "read_s": read_s,
            "wait_s": wait_s,
            "infer_s": infer_s,
            "write_s": end - computing - infer_s,
            "seconds": end - start,
        }

    def _compute(self, block: Block, pixels: BlockPixels) -> BlockFields | None:
        above, self._below = self._below, None
        if above is not None and above.block == block:
            if pixels.whole:  # read before it was known that the block above would come first
                pixels = pixels.beyond(self._job.blocks)
        else:
            above = None
            if not pixels.whole:  # the block above failed, or holds no data
                with self._reading:
                    pixels = self._read(block, whole=True)
        fields, self._below = self._blockwise.predict(pixels, above)
        return fields

    def _read(self, block: Block, *, whole: bool) -> BlockPixels:
        try:
            pixels = BlockPixels.read(
                self._reader, self._imagery, self._job.blocks, block, whole=whole, wanted=self._job.aoi
            )
        except (SceneError, OSError):
            # A file that is being written again reads like a damaged one.
            refuse_changes(self._stamps(block))
            raise
        if pixels.tiles:
            trim_heap()
        return pixels

    def _stamps(self, block: Block) -> list[Stamp]:
        """The files that a block's pixels come from."""
        margin = self._job.blocks.lattice.tile_px
        seen = Window(
            block.window.row - margin,
            block.window.col - margin,
            block.window.height + 2 * margin,
            block.window.width + 2 * margin,
        )
        scenes = self._job.region.scenes
        return [stamp for index in self._reader.touching(seen).tolist() for stamp in scenes[index].stamps]

    def _write(self, block: Block, fields: BlockFields | None) -> int:
        """Write a block's chunks, then its marker; returns how many pixels hold data."""
        mosaic, ledger = self._job.run.mosaic, self._job.run.ledger("mosaic")
        stored: tuple[str, ...] = ()
        if fields is not None:
            mosaic.write(0, "classes", block.window, fields.classes_hw)
            mosaic.write(0, "confidence", block.window, fields.confidence_hw)
            stored = ("classes", "confidence")
            if self._job.probability:
                mosaic.write(0, "probability", block.window, fields.probability_chw)
                stored = (*stored, "probability")
            if fields.centres is not None:
                mosaic.write(0, "heat", block.window, fields.centres.heat_hw)
                mosaic.write(0, "offset", block.window, fields.centres.offset_ahw)
                stored = (*stored, "heat", "offset")
            if len(self._job.region.scenes) > 1:
                with self._reading:
                    sources_hw = self._reader.sources(block.window)
                sources_hw[fields.classes_hw == NODATA_CLASS] = NO_SCENE
                mosaic.write(0, "scene", block.window, sources_hw)
                stored = (*stored, "scene")
        # A marker vouches for the scenes that were planned with.
        refuse_changes(self._stamps(block))
        valid_px = 0 if fields is None else int((fields.classes_hw != NODATA_CLASS).sum())
        chunks = mosaic.chunk_hashes(0, stored, block.window)
        ledger.commit(block.key, {"valid_px": valid_px, "numerics": self._numerics, "chunks": chunks})
        return valid_px
