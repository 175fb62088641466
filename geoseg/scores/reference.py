"""The reference: polygons and lines of vector files, or a class raster, brought to a run's grid and plane."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.errors import GeosegError
from geoseg.grid import Window, parse_crs
from geoseg.io.features_file import FileLayer, read_layers
from geoseg.io.plane import Plane
from geoseg.io.regions import region_mask
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.scores.areas import Truth
from geoseg.scores.class_raster import ClassRaster, IdRaster, coding
from geoseg.scores.value_raster import is_raster
from geoseg.squares import Squares

_CELL_PX = 512
"""Polygons are drawn cell by cell, so that no pixel depends on the window that is asked for."""

_CELLS_KEPT = 64
_MARGIN = 0.2
"""Share of the run's extent, on each side, that labels are read in."""

_NO_CLASS, _FAR = -1, -2
"""What stands for the class of a feature that has none, and of one that lies far away."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What the user says of the reference.

    Attributes:
        files: (class name or None, file); None for a file that names the class of each feature, or is a raster.
        attribute: Which attribute names the class.
        values: (value, class name) of rasters and attributes; an empty name for values that mean nothing.
    """

    files: tuple[tuple[str | None, Path], ...]
    attribute: str = "class"
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ClassReference:
    """What a reference holds of a class.

    Attributes:
        polygons: Valid polygons and multipolygons (n,), one a feature, in the plane.
        lines: LineStrings (m,) in the plane.
        drawn: The polygons (n,) in pixel coordinates of the grid.
        order: int64 (n,); the place of each polygon among those of all classes, in the order of files and features.
        has_areas: Whether the class was labelled by polygons; by a file without any feature too.
        has_lines: Whether it was labelled by lines.
    """

    polygons: NDArray[np.object_]
    lines: NDArray[np.object_]
    drawn: NDArray[np.object_]
    order: NDArray[np.int64]
    has_areas: bool
    has_lines: bool


class Reference:
    """A reference on a run's grid.

    Attributes:
        classes: By class id, what vector files hold of it; of a raster nothing.
        raster: The raster of classes, or of the ids of a class's objects, where it is one.
        repaired: How many geometries were invalid, and repaired.
        left_out: How many had neither area nor length, or no class.
    """

    def __init__(
        self,
        classes: Mapping[int, ClassReference],
        raster: ClassRaster | IdRaster | None,
        shape: tuple[int, int],
        repaired: int = 0,
        left_out: int = 0,
    ) -> None:
        """Keep what was read for a grid of a shape (height, width)."""
        self.classes, self.raster, self.repaired, self.left_out = classes, raster, repaired, left_out
        self._trees = {class_id: shapely.STRtree(one.drawn) for class_id, one in classes.items() if one.has_areas}
        self._drawn = {
            class_id: Squares(partial(self._draw, class_id), shape, _CELL_PX, _CELLS_KEPT)
            for class_id in self._trees
        }

    @property
    def areas(self) -> tuple[int, ...]:
        """Ids of the classes whose areas are known."""
        if self.raster is not None:
            return self.raster.areas
        return tuple(sorted(self._trees))

    def truth(self, window: Window) -> Truth:
        """What is said of a window of the grid: by a raster where it has data, by vector files everywhere."""
        if self.raster is not None:
            ids_hw = self.raster.read(window)
            return Truth({one: ids_hw == one for one in self.areas}, ids_hw != NODATA_CLASS)
        masks = {class_id: drawn.read(window) for class_id, drawn in self._drawn.items()}
        return Truth(masks, np.ones(window.shape, np.bool_))

    def _draw(self, class_id: int, cell: Window) -> NDArray[np.bool_]:
        """The pixels of a cell whose centre lies in a polygon of a class."""
        box = shapely.box(cell.col - 1, cell.row - 1, cell.col_stop + 1, cell.row_stop + 1)
        found = np.sort(self._trees[class_id].query(box))
        drawn_hw = np.zeros(cell.shape, np.bool_)
        for polygon in self.classes[class_id].drawn[found]:
            near = shapely.clip_by_rect(polygon, *box.bounds)
            if near.area > 0:
                drawn_hw |= region_mask(near, cell)
        return drawn_hw


def read_reference(labels: Labels, plane: Plane, classes: LabelSet, opened: ExitStack) -> Reference:
    """Read labels for a run.

    Args:
        labels: What the user says of them.
        plane: Of the run.
        classes: Of the run.
        opened: What keeps a raster open.

    Raises:
        GeosegError: A file cannot be read, has no CRS or no class for its features, names classes that the run does
            not know, or lies elsewhere; or a raster stands beside others.
    """
    for name, _ in labels.files:
        if name is not None and name not in classes.names:
            raise GeosegError(f"--labels {name}=...: expected a class of {', '.join(classes.names)}, got {name}")
    values = coding(labels.values, classes.names)
    rasters = [path for _, path in labels.files if path.is_file() and is_raster(path)]
    if rasters:
        if len(labels.files) > 1:
            raise GeosegError(
                f"{rasters[0]} is a raster: expected it alone, as --labels FILE (classes; --value says what its "
                "values mean) or --labels CLASS=FILE (ids of the class's objects)"
            )
        return Reference({}, _raster(labels, plane, classes, values, opened), plane.grid.window.shape)
    return _from_vectors(labels, plane, classes, values or {})


def _raster(
    labels: Labels, plane: Plane, classes: LabelSet, values: Mapping[str, int] | None, opened: ExitStack
) -> ClassRaster | IdRaster:
    """A raster of classes; of ids of objects where the user says whose they are."""
    [(name, path)] = labels.files
    if name is None:
        ids = None if values is None else _whole_numbers(values)
        return opened.enter_context(ClassRaster(path, plane.grid, ids, len(classes)))
    if values is not None:
        raise GeosegError(
            f"--value has no meaning with --labels {name}={path}, a raster of ids of objects: leave it out, or "
            f"give a raster of classes as --labels {path}"
        )
    return opened.enter_context(IdRaster(path, plane.grid, classes.names.index(name)))


def _whole_numbers(values: Mapping[str, int]) -> dict[int, int]:
    try:
        return {int(value): class_id for value, class_id in values.items()}
    except ValueError:
        raise GeosegError(
            f"expected whole numbers as values of a raster, got --value {', '.join(values)}"
        ) from None


@dataclass(slots=True)
class _Found:
    """What was read so far: polygons and lines by class and CRS, and which polygon each is of all."""

    polygons: dict[tuple[int, str], list[shapely.Geometry]]
    order: dict[tuple[int, str], list[int]]
    lines: dict[tuple[int, str], list[shapely.Geometry]]
    named: set[int]
    count: int = 0
    repaired: int = 0
    left_out: int = 0


def _from_vectors(labels: Labels, plane: Plane, classes: LabelSet, values: Mapping[str, int]) -> Reference:
    found = _Found({}, {}, {}, set())
    for name, path in labels.files:
        for layer in read_layers(path, labels.attribute):
            ids = _ids(path, layer, name, labels.attribute, classes, values)
            _sort_in(layer, np.where(_near(path, layer, plane), ids, _FAR), found)
            found.named |= set(ids[ids >= 0].tolist())
        if name is not None:
            found.named.add(classes.names.index(name))
    if not found.named:
        raise GeosegError(
            f"no feature of the labels has a class: say whose they are with --labels CLASS=FILE "
            f"({', '.join(classes.names)})"
        )
    of_class = {}
    for class_id in sorted(found.named):
        polygons, lines = _of(class_id, found.polygons), _of(class_id, found.lines)
        of_class[class_id] = ClassReference(
            polygons=_all([plane.place(some, crs) for crs, some in polygons]),
            lines=_all([plane.place(some, crs) for crs, some in lines]),
            drawn=_all([plane.to_pixels(some, crs) for crs, some in polygons]),
            order=np.array(
                [at for (one, _), some in found.order.items() if one == class_id for at in some], np.int64
            ),
            # A file that holds nothing here says that there is nothing of either kind.
            has_areas=bool(polygons) or not lines,
            has_lines=bool(lines) or not polygons,
        )
    return Reference(of_class, None, plane.grid.window.shape, found.repaired, found.left_out)


def _of(
    class_id: int, found: Mapping[tuple[int, str], list[shapely.Geometry]]
) -> list[tuple[str, NDArray[np.object_]]]:
    """The shapes of a class, by their CRS."""
    shapes = []
    for (of_class, crs), some in found.items():
        if of_class == class_id:
            array = np.empty(len(some), object)
            array[:] = some
            shapes.append((crs, array))
    return shapes


def _all(parts: Sequence[NDArray[np.object_]]) -> NDArray[np.object_]:
    return np.concatenate(parts) if parts else np.empty(0, object)


def _ids(
    path: Path,
    layer: FileLayer,
    name: str | None,
    attribute: str,
    classes: LabelSet,
    values: Mapping[str, int],
) -> NDArray[np.int64]:
    """The class id (n,) of each feature, `_NO_CLASS` for none."""
    if name is not None:
        return np.full(len(layer.geometry), classes.names.index(name), np.int64)
    if layer.values is None:
        if not (shapely.get_dimensions(layer.geometry) > 0).any():
            # Nothing in it has an area or a length, such as a network's nodes.
            return np.full(len(layer.geometry), _NO_CLASS, np.int64)
        raise GeosegError(
            f"layer {layer.name} of {path} has no attribute {attribute!r}: name it with --class-attribute, or say "
            f"whose features they are with --labels CLASS={path.name} ({', '.join(classes.names)})"
        )
    known = {name: number for number, name in enumerate(classes.names)} | dict(values)
    unknown = sorted({str(value) for value in layer.values if value is not None and value not in known})
    if unknown:
        raise GeosegError(
            f"{path} names classes that the run does not know: {', '.join(unknown[:8])}; expected "
            f"{', '.join(classes.names)} in {attribute!r}: say what they mean with --value {unknown[0]}=CLASS, or "
            f"--value {unknown[0]}= for nothing"
        )
    ids = np.array([_NO_CLASS if value is None else known[value] for value in layer.values], np.int64)
    ids[ids == NODATA_CLASS] = _NO_CLASS
    return ids


def _near(path: Path, layer: FileLayer, plane: Plane) -> NDArray[np.bool_]:
    """Which features (n,) lie near the run: far from it, its CRS may have no place for them.

    Raises:
        GeosegError: The layer lies elsewhere.
    """
    near = np.ones(len(layer.geometry), np.bool_)
    if len(near) == 0:
        return near
    grid = plane.grid
    corners = [grid.transform @ corner for corner in ((0, 0), (grid.width, 0), (grid.width, grid.height))]
    corners.append(grid.transform @ (0, grid.height))
    x, y = zip(*corners, strict=True)
    move = Transformer.from_crs(parse_crs(grid.crs), parse_crs(layer.crs), always_xy=True)
    left, bottom, right, top = move.transform_bounds(min(x), min(y), max(x), max(y))
    # Across the antimeridian the left bound is the greater: then nothing can be said by a box.
    if not np.isfinite([left, bottom, right, top]).all() or left >= right or bottom >= top:
        return near
    extent = shapely.box(*shapely.total_bounds(layer.geometry))
    if not extent.intersects(shapely.box(left, bottom, right, top)):
        raise GeosegError(
            f"{path} lies elsewhere than the run: expected labels of the same place, those of {layer.name} lie "
            f"within {', '.join(f'{one:.6g}' for one in extent.bounds)}, the run within "
            f"{left:.6g}, {bottom:.6g}, {right:.6g}, {top:.6g} ({parse_crs(layer.crs).name})"
        )
    more_x, more_y = _MARGIN * (right - left), _MARGIN * (top - bottom)
    # By boxes: what is invalid cannot be asked more.
    boxes = shapely.box(*shapely.bounds(layer.geometry).T)
    around = shapely.box(left - more_x, bottom - more_y, right + more_x, top + more_y)
    return np.asarray(shapely.intersects(boxes, around), np.bool_)


def _sort_in(layer: FileLayer, ids: NDArray[np.int64], found: _Found) -> None:
    """Repair what is invalid, and sort polygons and lines by their classes."""
    known = layer.geometry[ids >= 0]
    found.left_out += int(np.count_nonzero(ids == _NO_CLASS))
    valid = shapely.is_valid(known)
    found.repaired += int(np.count_nonzero(~valid))
    repaired = np.where(valid, known, shapely.make_valid(known))
    polygonal = np.isin(
        shapely.get_type_id(known), (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
    )
    for shape, class_id, areal in zip(repaired, ids[ids >= 0].tolist(), polygonal.tolist(), strict=True):
        parts = shapely.get_parts(shapely.get_parts(shape))
        polygons = [part for part in parts if part.geom_type == "Polygon" and part.area > 0]
        # What is left of a polygon that was repaired may be lines; they are not a road's.
        lines = [] if areal else [part for part in parts if part.geom_type == "LineString" and part.length > 0]
        if polygons:
            whole = polygons[0] if len(polygons) == 1 else shapely.multipolygons(polygons)
            found.polygons.setdefault((class_id, layer.crs), []).append(whole)
            found.order.setdefault((class_id, layer.crs), []).append(found.count)
            found.count += 1
        elif lines:
            found.lines.setdefault((class_id, layer.crs), []).extend(lines)
        else:
            found.left_out += 1
