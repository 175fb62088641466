"""What a block leaves behind for the merge, and the merge: pieces of objects in, whole objects out."""

import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.objects.label import BlockObjects
from geoseg.objects.seams import BlockBorders, join
from geoseg.vectorize.polygons import dissolve, trace
from geoseg.vectorize.rings import Rings


@dataclass(frozen=True, slots=True, eq=False)
class BlockPieces:
    """The components of one block as polygons, with what is needed to join them with their neighbours.

    Attributes:
        borders: The labels along the block's border.
        class_id: uint8 (n,); entry k belongs to label k + 1, here and below.
        first_pixel: int64 (n,); see `BlockObjects`.
        pixels: int64 (n,); size in pixels.
        confidence_sum: int64 (n,); sum of probability x 254.
        polygons: shapely polygons (n,) in the grid's pixel coordinates.
    """

    borders: BlockBorders
    class_id: NDArray[np.uint8]
    first_pixel: NDArray[np.int64]
    pixels: NDArray[np.int64]
    confidence_sum: NDArray[np.int64]
    polygons: NDArray[np.object_]

    @classmethod
    def of(cls, objects: BlockObjects) -> Self:
        """Trace the objects of a block."""
        return cls(
            borders=BlockBorders.of(objects),
            class_id=objects.class_id,
            first_pixel=objects.first_pixel,
            pixels=objects.pixels,
            confidence_sum=objects.confidence_sum,
            polygons=trace(objects.labels_hw, objects.window),
        )

    def to_bytes(self) -> bytes:
        """A numpy archive (npz) of the pieces; the same pieces give the same bytes."""
        rings = Rings.of(self.polygons)
        borders = {
            f"border_{field.name}": getattr(self.borders, field.name)
            for field in fields(BlockBorders)
            if field.name != "window"
        }
        file = io.BytesIO()
        np.savez(
            file,
            allow_pickle=False,
            window=np.array(astuple(self.borders.window), np.int64),
            class_id=self.class_id,
            first_pixel=self.first_pixel,
            pixels=self.pixels,
            confidence_sum=self.confidence_sum,
            # Pixel corners are integers, at most 2^31 a side.
            ring_xy=rings.xy.astype(np.int32),
            ring_size=rings.size,
            ring_count=rings.count,
            **borders,
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The pieces that `to_bytes` wrote; no pickle is read."""
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            window = Window(*(int(value) for value in archive["window"]))
            lines = {
                field.name: archive[f"border_{field.name}"]
                for field in fields(BlockBorders)
                if field.name != "window"
            }
            rings = Rings(archive["ring_xy"].astype(np.float64), archive["ring_size"], archive["ring_count"])
            return cls(
                borders=BlockBorders(window=window, **lines),
                class_id=archive["class_id"],
                first_pixel=archive["first_pixel"],
                pixels=archive["pixels"],
                confidence_sum=archive["confidence_sum"],
                polygons=rings.polygons(),
            )


@dataclass(frozen=True, slots=True, eq=False)
class PixelObjects:
    """Whole objects in pixel coordinates, sorted by id; they depend on the class mosaic and on nothing else.

    Attributes:
        id: int64 (n,); 1 + row x grid width + column of the object's first pixel in raster order.
        class_id: uint8 (n,).
        pixels: int64 (n,); size in pixels.
        confidence_sum: int64 (n,); sum of probability x 254.
        polygons: shapely polygons (n,) in pixel coordinates (x = column, y = row, at pixel corners), in
            shapely's normal form.
    """

    id: NDArray[np.int64]
    class_id: NDArray[np.uint8]
    pixels: NDArray[np.int64]
    confidence_sum: NDArray[np.int64]
    polygons: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.id)


def merge(blocks: Sequence[BlockPieces]) -> PixelObjects:
    """Join the pieces of blocks across their borders.

    Args:
        blocks: Disjoint blocks in any order; blocks without any data may be missing.

    Returns:
        The objects of all blocks. Memory grows with the number of their vertices.

    Raises:
        ValueError: A block is given twice.
    """
    border_ids = join([block.borders for block in blocks])
    if not blocks:
        nothing = np.empty(0, np.int64)
        return PixelObjects(nothing, np.empty(0, np.uint8), nothing, nothing, np.empty(0, object))
    ids = []
    for block, border_id in zip(blocks, border_ids, strict=True):
        block_ids = block.first_pixel + 1
        block_ids[block.borders.label - 1] = border_id
        ids.append(block_ids)
    id_of_piece = np.concatenate(ids)
    object_id, polygons = dissolve(np.concatenate([block.polygons for block in blocks]), id_of_piece)

    object_of_piece = np.searchsorted(object_id, id_of_piece)
    class_id = np.empty(len(object_id), np.uint8)
    class_id[object_of_piece] = np.concatenate([block.class_id for block in blocks])
    pixels = np.zeros(len(object_id), np.int64)
    np.add.at(pixels, object_of_piece, np.concatenate([block.pixels for block in blocks]))
    confidence_sum = np.zeros(len(object_id), np.int64)
    np.add.at(confidence_sum, object_of_piece, np.concatenate([block.confidence_sum for block in blocks]))
    # Where a ring starts depends on the blocks, and simplification on where a ring starts.
    return PixelObjects(object_id, class_id, pixels, confidence_sum, shapely.normalize(polygons))
