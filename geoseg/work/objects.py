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
from geoseg.io.arrays import read_arrays, read_each, write_arrays
from geoseg.io.mosaic import PROBABILITY_SCALE
from geoseg.io.place import Place, name_within
from geoseg.io.run_folder import RunFolder
from geoseg.objects.ground import pixel_ground
from geoseg.objects.grouping import Panoptic
from geoseg.objects.instances import count_classes
from geoseg.objects.label import label_block, painted
from geoseg.objects.measures import Measures
from geoseg.objects.seams import BlockBorders, LinkedRow, link, settle
from geoseg.objects.segments import decode
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
        panoptic: How objects are told apart that touch; None where what touches is one.
    """

    run: RunFolder
    grid: Grid
    keep: tuple[int, ...]
    thresholds: Thresholds
    depends: str
    panoptic: Panoptic | None = None

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Nothing to prepare."""
        mosaic, ledger = self.run.mosaic, self.run.ledger("objects")

        def label(block: Block) -> dict[str, Any]:
            segments_hw, arrays, more = self._segments(block)
            confidence_hw = mosaic.read(0, "confidence", block.window)
            ground_hw = pixel_ground(self.grid, block.window)
            objects = label_block(segments_hw, confidence_hw, block.window, self.grid.width, self.keep, ground_hw)
            arrays |= {
                "segment": objects.segment,
                **objects.measures.to_arrays(),
                **BlockBorders.of(objects).to_arrays(),
            }
            written = {_objects_file(self.run, block): arrays}
            if self.panoptic is not None:
                # Told apart once: what paints them need not decode again.
                written[_runs_file(self.run, block)] = objects.runs.to_arrays()
            files = {
                name_within(file, self.run.path): write_arrays(file, content) for file, content in written.items()
            }
            marker = {"depends": self.depends, "components": len(objects), "files": files, **more}
            ledger.commit(block.key, marker)
            return {"components": len(objects)}

        return label

    def _segments(self, block: Block) -> tuple[NDArray[Any], dict[str, NDArray[Any]], dict[str, int]]:
        """The segments of a block, what it counts of them, and figures for its marker."""
        mosaic, panoptic = self.run.mosaic, self.panoptic
        if panoptic is None:
            return self.thresholds.read(mosaic, block.window), {}, {}
        found = decode(mosaic, self.thresholds, panoptic, self.grid, block.window)
        counted, pixels = count_classes(found.keys_hw, found.classes_hw, panoptic.things)
        figures = {"things_px": found.things_px, "clipped_px": found.clipped_px}
        return found.segments_hw, {"counted": counted, "counted_pixels": pixels}, figures


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
    rows = [list(row) for _, row in groupby(blocks, lambda block: block.i)]
    hashes: dict[str, str] = {}
    with TemporaryDirectory(prefix=".rows.", suffix=".partial", dir=_scratch(run)) as name:
        above: LinkedRow | None = None
        for number, row in enumerate(rows):
            found = read_each([_objects_file(run, block) for block in row])
            borders = [
                BlockBorders.from_arrays(block.window, arrays) for block, arrays in zip(row, found, strict=True)
            ]
            above = link(borders, above)
            write_arrays(Path(name) / f"{number}.npz", above.to_arrays())
            advance(_pixels(row))
        below = None
        for number, row in reversed(list(enumerate(rows))):
            of_blocks, below = settle(read_arrays(Path(name) / f"{number}.npz"), below)
            for block, measures in zip(row, of_blocks, strict=True):
                file = _seams_file(run, block)
                hashes[name_within(file, run.path)] = write_arrays(file, measures.to_arrays())
            advance(_pixels(row))
    return dict(sorted(hashes.items()))


def told_apart(run: RunFolder, depends: str, panoptic: Panoptic) -> dict[str, Any]:
    """How the objects of a panoptic model were told apart, as run.json has it.

    Args:
        run: The RUN folder, its blocks labelled.
        depends: Hash of all that the objects depend on besides the mosaic.
        panoptic: How objects are told apart.
    """
    records = [record for _, record in run.ledger("objects").records() if record["depends"] == depends]
    grouping = panoptic.grouping
    return {
        "reach_px": grouping.reach_px,
        "capture_px": grouping.capture_px,
        "suppress_px": grouping.suppress_px,
        "least_heat": grouping.least_heat / PROBABILITY_SCALE,
        "things_px": sum(record["things_px"] for record in records),
        "clipped_px": sum(record["clipped_px"] for record in records),
    }


@dataclass(frozen=True, slots=True, eq=False)
class Wholes:
    """The components of a block as what they are over all blocks; entry k belongs to label k + 1 of the block.

    Attributes:
        segment: int64 (n,); the class, or which instance (`geoseg.objects.segments`).
        measures: Of the whole component.
        counted: int64 (m,); centres of the block's pixels, as of `Pieces`; None of a model that is not panoptic.
        counted_pixels: int64 (m, thing); of each thing class, likewise.
    """

    segment: NDArray[np.int64]
    measures: Measures
    counted: NDArray[np.int64] | None = None
    counted_pixels: NDArray[np.int64] | None = None

    @classmethod
    def read(cls, run: RunFolder, block: Block) -> "Wholes":
        """Those of a block that was labelled, of which the seams are joined."""
        arrays = read_arrays(_objects_file(run, block))
        measures = Measures.from_arrays(arrays)
        at_border = arrays["border_label"] - 1
        whole = Measures.from_arrays(read_arrays(_seams_file(run, block)))
        for column, value in zip(measures.columns, whole.columns, strict=True):
            column[at_border] = value
        return cls(arrays["segment"], measures, arrays.get("counted"), arrays.get("counted_pixels"))


def read_labels(run: RunFolder, block: Block) -> NDArray[np.int32]:
    """The component of each pixel of a block of a panoptic model, int32 (row, column); 0 where there is none."""
    return painted(read_arrays(_runs_file(run, block)), block.window.width)


def is_labelled(run: RunFolder, block: Block) -> bool:
    """Whether a block was labelled; those without data never are."""
    return _objects_file(run, block).exists()


def _scratch(run: RunFolder) -> Path | None:
    """Where rows of blocks wait: on the disk of the run, which has room; without one where temporary files go."""
    return run.path if isinstance(run.path, Path) else None


def _pixels(blocks: Iterable[Block]) -> int:
    return sum(block.window.height * block.window.width for block in blocks)


def _objects_file(run: RunFolder, block: Block) -> Place:
    return run.ledger("objects").folder / f"{block.key}.npz"


def _runs_file(run: RunFolder, block: Block) -> Place:
    return run.ledger("objects").folder / f"{block.key}.runs.npz"


def _seams_file(run: RunFolder, block: Block) -> Place:
    return run.ledger("seams").folder / f"{block.key}.npz"
