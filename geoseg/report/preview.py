"""preview.png: the scene, its classes and its objects side by side, with a legend and a scale bar.

Objects of things, such as buildings, have a colour each within the outline of their class; stuff has the outline
alone. Where the data lies far apart, the groups that hold most of it have a row each.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import shapely
from affine import Affine
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.path import Path as Curve
from numpy.typing import NDArray

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window
from geoseg.groups import Group
from geoseg.io.layers import Batches
from geoseg.io.mosaic import Mosaic
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.report.picture import Picture, displayed

_PANEL_PX = 900
"""Longest side of a panel's raster."""

_MOST_LINES = 10_000
"""Outlines of a layer that are drawn, the largest first."""

_MOST_ROWS = 4
"""Groups that are shown."""

_GOLDEN = (math.sqrt(5) - 1) / 2
"""Of a turn of the colour circle, from number to number: what follows one another is far apart."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A row of the picture.

    Attributes:
        window: What of the grid it shows.
        name: What it is called, or None where there is only one.
    """

    window: Window
    name: str | None = None


def most_covered(groups: Sequence[Group], names: Sequence[str]) -> list[Shown]:
    """The groups with the most covered pixels, as many as are shown, in their own order.

    Args:
        groups: All groups.
        names: The name of each.
    """
    ranked = sorted(range(len(groups)), key=lambda number: -groups[number].covered_px)
    return [Shown(groups[number].box, names[number]) for number in sorted(ranked[:_MOST_ROWS])]


def write_preview(
    path: Path,
    picture: Picture,
    grid: Grid,
    rows: Sequence[Shown],
    mosaic: Mosaic,
    layers: Mapping[str, Batches],
    labels: LabelSet,
) -> None:
    """Draw a finished run.

    Args:
        path: PNG to write; it appears whole or not at all.
        picture: Gives the scene.
        grid: The mosaic's grid.
        rows: What to show of it; all of it where there are none.
        mosaic: Its classes, with overviews.
        layers: Features in the grid's CRS by layer name.
        labels: Names and colours.
    """
    rows = rows or [Shown(grid.window)]
    # Tall scenes get narrower panels, so that a row keeps to about 2700 x 1050 px; slivers get some room.
    aspects = [shown.window.height / shown.window.width for shown in rows]
    width_in = max(max(6.0 / max(1.0, aspect), 1.5) for aspect in aspects)
    heights_in = [max(min(6.0, 6.0 * aspect), 0.5) for aspect in aspects]
    figsize = (3 * width_in + 0.4, sum(heights_in) + 0.3 * (len(rows) - 1) + 1.0)
    figure = Figure(figsize=figsize, dpi=150, layout="constrained")
    panels = figure.subplots(len(rows), 3, squeeze=False, height_ratios=heights_in)
    for shown, axes in zip(rows, panels, strict=True):
        _draw_row(list(axes), shown, picture, grid, mosaic, layers, labels)
    handles = [Patch(facecolor=label.color, edgecolor="0.3", label=label.name) for label in labels.classes]
    handles.append(Patch(facecolor="white", edgecolor="0.3", label="no data"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=10)
    partial = path.with_name(f".{path.name}.partial")
    with mpl.rc_context({"svg.hashsalt": "geoseg"}):
        figure.savefig(partial, format="png", metadata={"Software": None})
    partial.replace(path)


def _draw_row(
    panels: Sequence[Axes],
    shown: Shown,
    picture: Picture,
    grid: Grid,
    mosaic: Mosaic,
    layers: Mapping[str, Batches],
    labels: LabelSet,
) -> None:
    place = grid.part(shown.window)
    try:
        image_hwc, image_title = displayed(*picture(shown.window, _PANEL_PX)), "image"
    except SceneError:
        # A damaged scene still has a result where it could be read, and the run says which blocks failed.
        image_hwc, image_title = np.full((1, 1, 3), 255, np.uint8), "image (cannot be read as a whole)"
    classes_hwc = _class_picture(mosaic, labels, shown.window)
    extent = (0, place.width, place.height, 0)
    for axes, title, drawn in zip(
        panels, (image_title, "classes", "objects"), (image_hwc, classes_hwc, image_hwc), strict=True
    ):
        axes.imshow(drawn, extent=extent, interpolation="nearest" if title == "classes" else "antialiased")
        named = axes is panels[0] and shown.name is not None
        axes.set_title(f"{shown.name}: {title}" if named else title, fontsize=11)
        axes.set_axis_off()
    for class_id, layer in labels.layers:
        if layer not in layers:
            continue
        lines, ids = _outlines(layers[layer], place)
        label = labels.classes[class_id]
        if label.kind == "thing" and lines:
            panels[2].add_collection(_filled(lines, ids))
        panels[2].add_collection(LineCollection(lines, colors=[label.color], linewidths=0.7))
    panels[2].set_xlim(0, place.width)
    panels[2].set_ylim(place.height, 0)
    _scale_bar(panels[0], place)


def _class_picture(mosaic: Mosaic, labels: LabelSet, window: Window) -> NDArray[np.uint8]:
    """A window's classes in their colours (row, column, red-green-blue), from the finest level that is small."""
    levels = len(mosaic.level_shapes())
    parts = [_reduced(window, level) for level in range(levels)]
    small = [level for level, part in enumerate(parts) if max(part.shape) <= 2 * _PANEL_PX]
    level = small[0] if small else levels - 1
    classes_hw = mosaic.read(level, "classes", parts[level])
    # As many pixels as the panel has: drawing takes a hundred bytes for each.
    longest = max(classes_hw.shape)
    sides = (max(1, round(size * min(1.0, _PANEL_PX / longest))) for size in classes_hw.shape)
    rows, cols = (
        (np.arange(side) + 0.5) * size // side for side, size in zip(sides, classes_hw.shape, strict=True)
    )
    classes_hw = classes_hw[np.ix_(rows.astype(int), cols.astype(int))]
    colors = np.full((NODATA_CLASS + 1, 3), 255, np.uint8)
    colors[: len(labels)] = [label.rgb for label in labels.classes]
    picture: NDArray[np.uint8] = colors[classes_hw]
    return picture


def _reduced(window: Window, level: int) -> Window:
    """The pixels of a level that the window's went into."""
    row, col = window.row >> level, window.col >> level
    row_stop, col_stop = ((window.row_stop - 1) >> level) + 1, ((window.col_stop - 1) >> level) + 1
    return Window(row, col, row_stop - row, col_stop - col)


def _outlines(batches: Batches, grid: Grid) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
    """The largest rings of a layer within a grid, in its pixel coordinates, each (vertex, x-y).

    Returns:
        The rings, and the id of the object that each is of (n,).
    """
    # What is below a pixel of the panel cannot be seen and takes long to draw.
    tolerance = max(grid.height, grid.width) / _PANEL_PX / 2
    t = ~grid.transform
    sizes, lines, ids = np.empty(0), np.empty(0, object), np.empty(0, np.int64)
    for features in batches():
        rings, owner = shapely.get_rings(
            shapely.transform(features.geometry, partial(_apply, t)), return_index=True
        )
        left, top, right, bottom = shapely.bounds(rings).T
        size = np.maximum(right - left, bottom - top)
        inside = (right > 0) & (left < grid.width) & (bottom > 0) & (top < grid.height)
        seen = (size > tolerance) & inside
        sizes, lines = np.append(sizes, size[seen]), np.append(lines, shapely.simplify(rings[seen], tolerance / 2))
        ids = np.append(ids, features.id[owner[seen]])
        largest = np.argsort(-sizes, kind="stable")[:_MOST_LINES]
        sizes, lines, ids = sizes[largest], lines[largest], ids[largest]
    return [shapely.get_coordinates(line) for line in lines], ids


def _filled(lines: Sequence[NDArray[np.float64]], ids: NDArray[np.int64]) -> PathCollection:
    """What rings (n,), holes turning the other way than exteriors, have inside, in a colour for each id (n,)."""
    order = np.argsort(ids, kind="stable")
    each, first = np.unique(ids[order], return_index=True)
    curves = [
        Curve.make_compound_path(*(Curve(lines[number], closed=True) for number in one))
        for one in np.split(order, first[1:])
    ]
    hue = np.arange(len(each)) * _GOLDEN % 1
    colors = hsv_to_rgb(np.column_stack((hue, np.full(len(each), 0.8), np.full(len(each), 0.95))))
    return PathCollection(curves, facecolors=colors, edgecolors="none", alpha=0.6)


def _apply(transform: Affine, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    t, x, y = transform, xy[:, 0], xy[:, 1]
    return np.column_stack((t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f))


def _scale_bar(axes: Axes, grid: Grid) -> None:
    """A bar of a round ground length, about a quarter of the panel."""
    metres_per_px = grid.ground_resolution_m()[1]
    wanted_m = grid.width * metres_per_px / 4
    magnitude = 10 ** math.floor(math.log10(wanted_m))
    length_m = max(step * magnitude for step in (1, 2, 5) if step * magnitude <= wanted_m)
    length_px = length_m / metres_per_px
    height_px = max(grid.height, grid.width) / 90
    x, y = grid.width * 0.04, grid.height - 3.2 * height_px
    style: dict[str, Any] = {"transform": axes.transData, "clip_on": False}
    pad = height_px
    axes.add_patch(
        Rectangle((x - pad, y - 4.2 * height_px), length_px + 2 * pad, 6.4 * height_px, color="white", alpha=0.8)
    )
    axes.add_patch(Rectangle((x, y), length_px, height_px, color="black", **style))
    text = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    axes.text(x + length_px / 2, y - height_px / 2, text, ha="center", va="bottom", fontsize=9, color="black")
