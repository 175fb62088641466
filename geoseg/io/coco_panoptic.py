"""The JSON of COCO's panoptic format, written image by image: what is in memory is one image's segments.

The format is that of https://cocodataset.org/#format-data (sections 1 and 3), with keys of our own, which readers
pass over, under `geoseg`: of an image its place, of a segment its object, of the document its run. PNGs lie in a
folder that is called as the JSON.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import NO_PLACE, Grid, Window
from geoseg.labels import LabelSet

DOCUMENT = "panoptic.json"
"""The file in the folder of a panoptic export."""

PNGS = "panoptic"
"""The folder of its PNGs beside it."""


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """The segments of a PNG, a row each.

    Attributes:
        number: int64 (n,); what stands for each in the PNG.
        category: int64 (n,); ids of categories.
        area_px: int64 (n,); its pixels in the PNG.
        box: int64 (n, 4); first row, first column, the row after the last, the column after the last.
        object_id: uint64 (n,); the object that it is, or a part of; 0 of stuff.
    """

    number: NDArray[np.int64]
    category: NDArray[np.int64]
    area_px: NDArray[np.int64]
    box: NDArray[np.int64]
    object_id: NDArray[np.uint64]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The entries of `segments_info`."""
        columns = (self.number, self.category, self.area_px, self.box, self.object_id)
        for row in range(len(self.number)):
            number, category, area_px, (top, left, bottom, right), object_id = (
                one[row].tolist() for one in columns
            )
            entry = {
                "id": number,
                "category_id": category,
                "area": area_px,
                "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0,
            }
            yield entry | ({"geoseg": {"object": object_id}} if object_id else {})


class PanopticDocument:
    """A document that is being written.

    Args:
        stream: Takes its text.
        info: What it says of itself.
        categories: Of its segments; see `categories_of`.
    """

    def __init__(self, stream: TextIO, info: Mapping[str, Any], categories: Sequence[Mapping[str, Any]]) -> None:
        self._stream = stream
        self._images: list[dict[str, Any]] = []
        self._stream.write(f'{{"info": {_text(info)},\n"licenses": [],\n"categories": {_lines(categories)},\n')
        self._stream.write('"annotations": [')

    def add(self, name: str, window: Window, grid: Grid, segments: Segments) -> None:
        """Write what a PNG holds.

        Args:
            name: Of the PNG, without ending: images that are to lie beside it are called so too.
            window: Which pixels of the grid it is.
            grid: The whole grid.
            segments: Its segments.
        """
        number, part = len(self._images) + 1, grid.part(window)
        self._images.append(
            {
                "id": number,
                "file_name": f"{name}.tif",
                "height": window.height,
                "width": window.width,
                "geoseg": {
                    "row": window.row,
                    "col": window.col,
                    "crs": None if grid.crs == NO_PLACE else grid.crs,
                    "transform": list(part.transform)[:6],
                },
            }
        )
        self._stream.write(",\n" if number > 1 else "\n")
        self._stream.write(f'{{"image_id": {number}, "file_name": {_text(f"{name}.png")}, "segments_info": [')
        before = "\n"
        for entry in segments:
            self._stream.write(before + _text(entry))
            before = ",\n"
        self._stream.write("]}")

    def finish(self) -> None:
        """Write what comes last: the images."""
        self._stream.write(f'],\n"images": {_lines(self._images)}}}\n')


@contextmanager
def panoptic_document(
    folder: Path, info: Mapping[str, Any], categories: Sequence[Mapping[str, Any]]
) -> Iterator[PanopticDocument]:
    """Write the document of a folder; whole only if the block ends well.

    Args:
        folder: Where; it is there.
        info: What the document says of itself.
        categories: See `categories_of`.
    """
    with (folder / DOCUMENT).open("w", encoding="utf-8", newline="\n") as stream:
        document = PanopticDocument(stream, info, categories)
        yield document
        document.finish()


def categories_of(labels: LabelSet, things: frozenset[int]) -> list[dict[str, Any]]:
    """The categories of a model's classes: their ids from 1 on, since many readers take 0 for void.

    Args:
        labels: The classes.
        things: Ids of those whose objects are segments of their own.
    """
    return [
        {
            "id": category_id(class_id),
            "name": label.name,
            "supercategory": "thing" if class_id in things else "stuff",
            "isthing": int(class_id in things),
            "color": list(label.rgb),
        }
        for class_id, label in enumerate(labels.classes)
    ]


def category_id(class_id: int) -> int:
    """The id of the category of a class."""
    return class_id + 1


def _text(content: Mapping[str, Any] | str) -> str:
    return json.dumps(content, allow_nan=False)


def _lines(entries: Sequence[Mapping[str, Any]]) -> str:
    return "[" + ",".join("\n" + _text(entry) for entry in entries) + "]"
