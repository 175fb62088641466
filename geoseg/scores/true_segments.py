"""The segments of a reference, window by window: what objects it tells apart, and its stuff."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.datasets.instances import DrawnInstances
from geoseg.grid import Window
from geoseg.labels import LabelSet
from geoseg.scores.class_raster import ClassRaster, IdRaster
from geoseg.scores.overlaps import NOTHING, Rename, Segmented
from geoseg.scores.reference import Reference
from geoseg.scores.window_components import WindowComponents


class DrawnSegments:
    """Of vector files: each polygon of a class of things is an object, in the order of files and features.

    Ground without a polygon is known to be of none of the classes that are labelled. Where polygons overlap, the
    later one has the pixel: a segment for each pixel is what panoptic quality asks for.

    Args:
        reference: The polygons.
        labels: The classes.
        shape: (height, width) of the grid.
    """

    kind = "features"
    rename: Rename | None = None
    """Ids are those of features from the start."""

    def __init__(self, reference: Reference, labels: LabelSet, shape: tuple[int, int]) -> None:
        areas = {class_id: reference.classes[class_id] for class_id in reference.areas}
        is_thing = np.array([label.kind == "thing" for label in labels.classes])
        order = _joined([one.order for one in areas.values()], np.int64)
        class_id = np.repeat(np.array(list(areas), np.int64), [len(one.order) for one in areas.values()])
        drawn = _joined([one.drawn for one in areas.values()], object)
        first = np.argsort(order, kind="stable")
        self._class_of = np.append(np.uint8(NOTHING), class_id[first].astype(np.uint8))
        thing = np.append(False, is_thing[class_id[first]])
        self._id_of = np.where(thing, np.arange(len(thing)), 0)
        self._drawn = DrawnInstances(drawn[first], shape)
        self._things = DrawnInstances(drawn[first][thing[1:]], shape)

    def read(self, window: Window) -> Segmented:
        """The segments of a window of the grid."""
        number_hw = self._drawn.read(window)
        return Segmented(self._class_of[number_hw], self._id_of[number_hw])

    def contested_px(self, window: Window, counted_hw: NDArray[np.bool_]) -> int:
        """How many pixels of a window lie in several objects, of those (row, column) that count."""
        return int(np.count_nonzero(self._things.contested(window) & counted_hw))


class ComponentSegments:
    """Of a raster of classes: each 4-connected component of a class of things is an object.

    Args:
        raster: The classes, on the grid's pixels.
        things: Ids of the classes of things.
        grid_width: Columns of the grid.
    """

    kind = "components"

    def __init__(self, raster: ClassRaster, things: tuple[int, ...], grid_width: int) -> None:
        self._raster = raster
        self._components = WindowComponents(things, grid_width)

    def read(self, window: Window) -> Segmented:
        """The segments of a window of the grid, each window once; ids are those of `rename` when all were seen."""
        class_hw = self._raster.read(window)
        return Segmented(class_hw, self._components.add(class_hw, window))

    def rename(
        self, class_id: NDArray[np.int64], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Classes (n,) and ids (n,) over all windows of segments that were read."""
        return class_id, self._components.whole(ids)

    def contested_px(self, window: Window, counted_hw: NDArray[np.bool_]) -> int:  # noqa: ARG002  # as of the others
        """None: a pixel has one value."""
        return 0


class IdSegments:
    """Of a raster of ids: pixels of equal number are an object.

    Args:
        raster: The ids, on the grid's pixels.
        thing: Whether its class is one of things; otherwise all ids are one segment.
    """

    kind = "ids"
    rename: Rename | None = None
    """Ids are those of the file from the start."""

    def __init__(self, raster: IdRaster, *, thing: bool) -> None:
        self._raster, self._thing = raster, thing

    def read(self, window: Window) -> Segmented:
        """The segments of a window of the grid."""
        class_hw, ids_hw = self._raster.segments(window)
        return Segmented(class_hw, np.maximum(ids_hw, 0) if self._thing else np.zeros_like(ids_hw))

    def contested_px(self, window: Window, counted_hw: NDArray[np.bool_]) -> int:  # noqa: ARG002  # as of the others
        """None: a pixel has one value."""
        return 0


TrueSegments = DrawnSegments | ComponentSegments | IdSegments


def true_segments(reference: Reference, labels: LabelSet, shape: tuple[int, int]) -> TrueSegments:
    """The segments of a reference.

    Args:
        reference: Polygons, or a raster.
        labels: The classes.
        shape: (height, width) of the grid.
    """
    match reference.raster:
        case None:
            return DrawnSegments(reference, labels, shape)
        case IdRaster() as raster:
            return IdSegments(raster, thing=labels.classes[raster.class_id].kind == "thing")
        case ClassRaster() as raster:
            things = tuple(i for i, label in enumerate(labels.classes) if label.kind == "thing")
            return ComponentSegments(raster, things, shape[1])


def _joined(parts: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *parts])
