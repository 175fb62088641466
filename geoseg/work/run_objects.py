"""Which object each pixel of a finished mosaic is of: as it is stored, or else by the components of its classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import RunFolderError
from geoseg.grid import Grid, Window
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelSet
from geoseg.objects.label import components
from geoseg.objects.thresholds import Thresholds
from geoseg.outcome import MosaicState
from geoseg.tiling import Block
from geoseg.work.objects import Wholes

ARRAY = "instances"
"""The array of a mosaic that holds the ids of objects, uint64 (row, column), 0 where there is none."""


class RunObjects(Protocol):
    """The objects of a mosaic; an id is 1 + row x grid width + column of the first pixel in raster order."""

    @property
    def things(self) -> frozenset[int]:
        """Ids of the classes whose pixels are of objects; the others are stuff."""
        ...

    @property
    def is_mixed(self) -> bool:
        """Whether an object may have pixels of several classes."""
        ...

    def read(self, window: Window) -> NDArray[np.uint64]:
        """The id of each pixel's object, uint64 (row, column), 0 where there is none."""
        ...

    def begin(self, block: Block) -> NDArray[np.uint64]:
        """Ids of the objects whose first pixel lies in a block, uint64 (n,), sorted."""
        ...


def objects_of(
    run: RunFolder, grid: Grid, labels: LabelSet, blocks: Sequence[Block], shapes: Mapping[str, Any]
) -> RunObjects:
    """The objects of a finished run.

    Args:
        run: The RUN folder.
        grid: Of its mosaic.
        labels: Its classes.
        blocks: Those that hold data.
        shapes: What its objects depend on besides the mosaic, as plan.json has it.

    Raises:
        RunFolderError: plan.json does not say that.
    """
    kinds = frozenset(class_id for class_id, label in enumerate(labels.classes) if label.kind == "thing")
    if (run.mosaic.path / "0" / ARRAY / "zarr.json").is_file():
        return StoredObjects(run, grid, kinds)
    try:
        keep = tuple(int(class_id) for class_id in shapes["layers"])
        thresholds = Thresholds(tuple((int(class_id), float(share)) for class_id, share in shapes["thresholds"]))
        height_px, width_px = (int(side) for side in shapes["block_px"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unsaid(run, error) from error
    return ComponentObjects(run, grid, kinds & set(keep), keep, thresholds, (height_px, width_px), tuple(blocks))


def data_blocks(run: RunFolder, grid: Grid, shapes: Mapping[str, Any]) -> tuple[Block, ...]:
    """The blocks of a finished run that hold data, in row-major order.

    Args:
        run: The RUN folder.
        grid: Of its mosaic.
        shapes: What its objects depend on besides the mosaic, as plan.json has it.

    Raises:
        RunFolderError: plan.json does not say that.
    """
    try:
        height, width = (int(side) for side in shapes["block_px"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unsaid(run, error) from error
    places = (tuple(map(int, key.split("-"))) for key in sorted(MosaicState.of(run.ledger("mosaic")).with_data))
    return tuple(
        Block(
            i,
            j,
            Window(
                i * height, j * width, min(height, grid.height - i * height), min(width, grid.width - j * width)
            ),
        )
        for i, j in places
    )


def _unsaid(run: RunFolder, error: Exception) -> RunFolderError:
    return RunFolderError(
        f"{run.plan_file} does not say how objects were found ({error}): remove {run.run_file}, then repeat the "
        "run's geoseg map command, which finds the rest done"
    )


@dataclass(frozen=True, slots=True)
class StoredObjects:
    """The array of a panoptic model's mosaic.

    Attributes:
        run: The RUN folder.
        grid: The mosaic's grid.
        things: The classes of things.
    """

    run: RunFolder
    grid: Grid
    things: frozenset[int]

    @property
    def is_mixed(self) -> bool:
        """Whether an object may have pixels of several classes: it is of the one that most of them are of."""
        return len(self.things) > 1

    def read(self, window: Window) -> NDArray[np.uint64]:
        """The id of each pixel's object, uint64 (row, column); see `RunObjects`."""
        return self.run.mosaic.read_instances(window)

    def begin(self, block: Block) -> NDArray[np.uint64]:
        """Ids of the objects that begin in a block, uint64 (n,); see `RunObjects`."""
        window = block.window
        rows = np.arange(window.row, window.row_stop, dtype=np.uint64)
        cols = np.arange(window.col, window.col_stop, dtype=np.uint64)
        own_hw = np.uint64(1) + rows[:, None] * np.uint64(self.grid.width) + cols
        return own_hw[self.read(window) == own_hw]


@dataclass(slots=True)
class ComponentObjects:
    """The components of the classes of a semantic model, as its run has found them.

    A thing's class without a layer has no objects in a run: it is stuff here.

    Attributes:
        run: The RUN folder.
        grid: The mosaic's grid.
        things: The classes of things that have a layer.
        keep: The classes that have a layer.
        thresholds: How probable classes must be at a pixel for it to be of an object.
        block_px: (height, width) of blocks.
        blocks: Those that hold data.
    """

    run: RunFolder
    grid: Grid
    things: frozenset[int]
    keep: tuple[int, ...]
    thresholds: Thresholds
    block_px: tuple[int, int]
    blocks: tuple[Block, ...]
    _at: dict[tuple[int, int], Block] = field(init=False, repr=False)
    _painted: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._at = {(block.i, block.j): block for block in self.blocks}
        # Windows go down a picture: of each block of its columns that is higher than a window several ask.
        self._painted = lru_cache(4)(self._paint)

    @property
    def is_mixed(self) -> bool:
        """Whether an object may have pixels of several classes: a component has one."""
        return False

    def read(self, window: Window) -> NDArray[np.uint64]:
        """The id of each pixel's object, uint64 (row, column); see `RunObjects`.

        Raises:
            RunFolderError: What the run left of its objects is missing or damaged.
        """
        ids_hw = np.zeros(window.shape, np.uint64)
        height, width = self.block_px
        for i in range(window.row // height, (window.row_stop - 1) // height + 1):
            for j in range(window.col // width, (window.col_stop - 1) // width + 1):
                block = self._at.get((i, j))
                common = None if block is None else block.window.intersection(window)
                if block is None or common is None:
                    continue
                labels_hw, ids = self._painted(block)
                ids_hw[common.slices_in(window)] = ids[labels_hw[common.slices_in(block.window)]]
        return ids_hw

    def begin(self, block: Block) -> NDArray[np.uint64]:
        """Ids of the objects that begin in a block, uint64 (n,); see `RunObjects`."""
        wholes = Wholes.read(self.run, block)
        place = wholes.measures.first_pixel[np.isin(wholes.segment, sorted(self.things))]
        row, col = np.divmod(place, self.grid.width)
        window = block.window
        inside = (row >= window.row) & (row < window.row_stop) & (col >= window.col) & (col < window.col_stop)
        # Of an object that leaves the block and comes back there are several components.
        return np.unique(place[inside] + 1).astype(np.uint64)

    def _paint(self, block: Block) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
        """The component of each pixel of a block, int32 (row, column), and the id of each, uint64 (1 + n,)."""
        try:
            wholes = Wholes.read(self.run, block)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise RunFolderError(self._damaged(block, str(error))) from error
        labels_hw = components(self.thresholds.read(self.run.mosaic, block.window), self.keep)
        if int(labels_hw.max(initial=0)) != len(wholes.segment):
            raise RunFolderError(self._damaged(block, "they are not those of the mosaic"))
        ids = np.zeros(len(wholes.segment) + 1, np.uint64)
        is_thing = np.isin(wholes.segment, sorted(self.things))
        ids[1:][is_thing] = wholes.measures.first_pixel[is_thing].astype(np.uint64) + np.uint64(1)
        return labels_hw, ids

    def _damaged(self, block: Block, why: str) -> str:
        return (
            f"the objects of block {block.key} of {self.run.path} are missing or damaged ({why}): geoseg verify "
            f"{self.run.path} --mend, then repeat its geoseg map command"
        )
