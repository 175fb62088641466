"""Features: the parts of each object brought together, placed and measured, by the block in which it begins."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from geoseg.grid import Grid
from geoseg.io.arrays import read_arrays, write_arrays
from geoseg.io.layers import Features
from geoseg.io.ledger import canonical_hash
from geoseg.io.run_folder import RunFolder
from geoseg.objects.votes import Votes
from geoseg.vectorize.features import from_arrays, place, to_arrays
from geoseg.vectorize.outlines import Outlines, assemble
from geoseg.work.stage_files import StageFiles


@dataclass(frozen=True, slots=True)
class PlaceFeatures:
    """Make the features of the objects that begin in a block.

    Attributes:
        run: The RUN folder.
        grid: The mosaic's grid.
        exact_block_px: (height, width) of the blocks where outlines are those of pixels; None where they are
            simplified.
        depends: Hash of all that outlines and features depend on.
        several_scenes: Whether the mosaic keeps which scene each pixel comes from.
    """

    run: RunFolder
    grid: Grid
    exact_block_px: tuple[int, int] | None
    depends: str
    several_scenes: bool = False

    def open(self) -> Callable[[str], dict[str, Any]]:
        """Nothing to prepare."""
        outlines = StageFiles(self.run, "outlines", self.depends)
        files = StageFiles(self.run, "features", self.depends)

        def make(key: str) -> dict[str, Any]:
            of_blocks = sorted((outlines.folder / key).glob("*.npz"))
            arrays = [read_arrays(file) for file in of_blocks]
            outlines_here = Outlines.concatenate([Outlines.from_arrays(part) for part in arrays])
            whole = assemble(outlines_here, self.exact_block_px)
            scene = None
            if self.several_scenes:
                scene = Votes.together([Votes.from_arrays(part) for part in arrays]).winners(whole.feature)
            features = place(whole, self.grid, scene)
            file = files.folder / f"{key}.npz"
            files.commit(key, {file: write_arrays(file, to_arrays(features))}, {"features": len(features)})
            return {"features": len(features)}

        return make


def shapes_hash(mosaic: str, shapes: Mapping[str, Any]) -> str:
    """Hash of all that outlines and features depend on.

    Args:
        mosaic: Hash of the mosaic's content.
        shapes: What they depend on besides, as plan.json has it.
    """
    return canonical_hash({"mosaic": mosaic, **shapes})


def owner_keys(run: RunFolder, depends: str) -> list[str]:
    """Keys of the blocks in which objects begin that have outlines."""
    return sorted(path.name for path in StageFiles(run, "outlines", depends).folder.iterdir())


def features_of(run: RunFolder, depends: str, class_id: int) -> Iterator[Features]:
    """The features of a class in raster order of their first pixels, those of a row of blocks at a time."""
    # An id is a place in raster order, and a block's key begins with its row; so is the number of a part.
    files = sorted(StageFiles(run, "features", depends).folder.glob("*.npz"))
    for _, row in groupby(files, lambda file: file.stem.partition("-")[0]):
        parts = [from_arrays(read_arrays(file)) for file in row]
        parts = [part.at(part.class_id == np.uint8(class_id)) for part in parts]
        together = Features.concatenate(parts)
        yield together.at(np.argsort(together.feature, kind="stable"))
