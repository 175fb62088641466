"""Instances of a panoptic model: their pieces added up where their centre lies, and painted into the mosaic."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Grid, Window
from geoseg.io.arrays import read_arrays, read_each, write_arrays
from geoseg.io.mosaic import Mosaic
from geoseg.io.place import Place, name_within
from geoseg.io.run_folder import RunFolder
from geoseg.objects.grouping import Panoptic
from geoseg.objects.instances import Instances, Pieces
from geoseg.objects.measures import Measures
from geoseg.objects.segments import key_of, of_instances
from geoseg.objects.thresholds import Thresholds
from geoseg.tiling import Block, BlockPlan
from geoseg.work.objects import Wholes, is_labelled, read_labels
from geoseg.work.stage_files import StageFiles

CERTAIN = 254
"""Heat of what needs no centre."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledObjects:
    """The objects that have pixels in a block; entry k belongs to label k + 1 of the block.

    Attributes:
        class_id: uint8 (n,).
        id: int64 (n,); 1 + row x grid width + column of the object's first pixel.
        part: int64 (n,); 0 of an object in one piece, and of the largest piece of an instance in several; of every
            other piece 1 + row x grid width + column of its own first pixel, or if that is the whole instance's, of
            the largest piece's.
        heat: uint8 (n,); of an instance's centre x 254, else `CERTAIN`.
        measures: Of the whole object.
        piece: Of the piece, over all blocks.
    """

    class_id: NDArray[np.uint8]
    id: NDArray[np.int64]
    part: NDArray[np.int64]
    heat: NDArray[np.uint8]
    measures: Measures
    piece: Measures

    @classmethod
    def read(cls, run: RunFolder, block: Block, panoptic: Panoptic | None) -> Self:
        """Those of a block whose seams are joined, and of a panoptic model whose instances are painted."""
        wholes = Wholes.read(run, block)
        if panoptic is None:
            return cls.of_classes(wholes)
        arrays = read_arrays(_painted_file(run, block))
        columns = {field.name: arrays[field.name] for field in fields(cls) if field.name not in _MEASURES}
        return cls(**columns, measures=Measures.from_arrays(arrays), piece=wholes.measures)

    @classmethod
    def of_classes(cls, wholes: Wholes) -> Self:
        """Where every component is an object."""
        measures, count = wholes.measures, len(wholes.measures)
        return cls(
            class_id=wholes.segment.astype(np.uint8),
            id=measures.first_pixel + 1,
            part=np.zeros(count, np.int64),
            heat=np.full(count, CERTAIN, np.uint8),
            measures=measures,
            piece=measures,
        )

    @classmethod
    def of_instances(cls, wholes: Wholes, instances: Instances, panoptic: Panoptic) -> Self:
        """Where some components are pieces of instances.

        Args:
            wholes: The components.
            instances: Those with a centre in the block or around it.
            panoptic: How objects are told apart.
        """
        found = cls.of_classes(wholes)
        key = key_of(wholes.segment)
        with_centre = np.flatnonzero(key > 0)
        at = instances.of(key[with_centre])
        of_instance = instances.measures.take(at)
        columns = tuple(column.copy() for column in found.measures.columns)
        for column, value in zip(columns, of_instance.columns, strict=True):
            column[with_centre] = value
        first, body = wholes.measures.first_pixel[with_centre], instances.body[at]
        # The number of the piece with the first pixel is the object's own, and that goes with the largest.
        number = np.where(first == of_instance.first_pixel, body, first) + 1
        found.class_id[with_centre] = instances.class_id[at]
        found.id[with_centre] = of_instance.first_pixel + 1
        found.part[with_centre] = np.where(first == body, 0, number)
        found.heat[np.isin(wholes.segment, panoptic.things)] = panoptic.grouping.least_heat
        found.heat[with_centre] = instances.heat[at]
        return cls(found.class_id, found.id, found.part, found.heat, Measures(*columns), found.piece)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Mean probability of the object's pixels' classes, times the heat of its centre; 0 to 1, float64 (n,)."""
        return self.measures.confidence_sum / (self.measures.pixels * float(CERTAIN)) * (self.heat / float(CERTAIN))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, but for the pieces' measures."""
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _MEASURES}
        return {**columns, **self.measures.to_arrays()}


_MEASURES = {"measures", "piece"}


def read_segments(
    mosaic: Mosaic, thresholds: Thresholds, panoptic: Panoptic | None, window: Window
) -> tuple[NDArray[np.integer[Any]], NDArray[np.uint8]]:
    """What tells the objects of a window apart, (row, column), and its classes, uint8 (row, column).

    Args:
        mosaic: Of a panoptic model, with its instances painted.
        thresholds: How probable classes must be.
        panoptic: How objects are told apart; None where classes alone do.
        window: On the grid.
    """
    classes_hw = thresholds.read(mosaic, window)
    if panoptic is None:
        return classes_hw, classes_hw
    return of_instances(classes_hw, mosaic.read_instances(window)), classes_hw


@dataclass(frozen=True, slots=True)
class InstanceBlocks:
    """Where the instances of a run lie.

    Attributes:
        run: The RUN folder.
        grid: The mosaic's grid.
        blocks: Lattice and blocks.
        panoptic: How objects are told apart.
        depends: Hash of all that instances depend on.
    """

    run: RunFolder
    grid: Grid
    blocks: BlockPlan
    panoptic: Panoptic
    depends: str

    @property
    def files(self) -> StageFiles:
        """What `GatherInstances` leaves."""
        return StageFiles(self.run, "instances", self.depends)

    def done(self, stage: str) -> frozenset[str]:
        """Keys of the blocks that a stage has done; what depends on something else is removed."""
        if stage == "instances":
            return self.files.remove_others()
        return self.run.ledger(stage).done_for(self.depends)

    def around(self, block: Block) -> Iterator[Block]:
        """The block and those beside it, also diagonally, that were labelled."""
        rows, cols = self.blocks.shape
        for i in range(max(block.i - 1, 0), min(block.i + 2, rows)):
            for j in range(max(block.j - 1, 0), min(block.j + 2, cols)):
                other = self.blocks.block(i, j)
                if is_labelled(self.run, other):
                    yield other


@dataclass(frozen=True, slots=True)
class GatherInstances:
    """Add up the pieces of the instances whose centre lies in a block.

    Attributes:
        of: Where they lie.
    """

    of: InstanceBlocks

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Nothing to prepare."""
        of, files = self.of, self.of.files

        def gather(block: Block) -> dict[str, Any]:
            pieces = [_pieces(Wholes.read(of.run, other)) for other in of.around(block)]
            heat_hw = of.run.mosaic.read(0, "heat", block.window)
            found = Instances.gather(pieces, block.window, of.grid.width, of.panoptic.things, heat_hw)
            file = files.folder / f"{block.key}.npz"
            files.commit(block.key, {file: write_arrays(file, found.to_arrays())}, {"centres": len(found.key)})
            return {"centres": len(found.key)}

        return gather


@dataclass(frozen=True, slots=True)
class PaintInstances:
    """Write which object each pixel of a block is of.

    Attributes:
        of: Where they lie.
    """

    of: InstanceBlocks

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Nothing to prepare."""
        of, mosaic, ledger = self.of, self.of.run.mosaic, self.of.run.ledger("painted")

        def paint(block: Block) -> dict[str, Any]:
            tables = read_each([of.files.folder / f"{other.key}.npz" for other in of.around(block)])
            instances = Instances.concatenate([Instances.from_arrays(table) for table in tables])
            wholes = Wholes.read(of.run, block)
            found = LabelledObjects.of_instances(wholes, instances, of.panoptic)
            is_thing = np.isin(found.class_id, of.panoptic.things)
            id_of = np.concatenate(([0], np.where(is_thing, found.id, 0))).astype(np.uint64)
            mosaic.write(0, "instances", block.window, id_of[read_labels(of.run, block)])
            file = _painted_file(of.run, block)
            sha256 = write_arrays(file, found.to_arrays())
            chunks = mosaic.chunk_hashes(0, ("instances",), block.window)
            files = {name_within(file, of.run.path): sha256}
            ledger.commit(block.key, {"depends": of.depends, "files": files, "chunks": chunks})
            return {}

        return paint


def _pieces(wholes: Wholes) -> Pieces:
    key = key_of(wholes.segment)
    with_centre = key > 0
    if wholes.counted is None or wholes.counted_pixels is None:
        raise ValueError("expected blocks labelled by centres, got some labelled by classes alone")
    return Pieces(key[with_centre], wholes.measures.take(with_centre), wholes.counted, wholes.counted_pixels)


def _painted_file(run: RunFolder, block: Block) -> Place:
    return run.ledger("painted").folder / f"{block.key}.npz"
