"""The centre lines of roads that a run wrote."""

from pathlib import Path

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray

from geoseg.errors import GeosegError
from geoseg.io.features_file import FileLayer, read_layers
from geoseg.io.place import read_here
from geoseg.run import Run

LINES_LAYER = "road_lines"
"""The layer's name: LineStrings that share their end points at junctions, with an attribute `class`."""

_FORMATS = ("gpkg", "fgb", "parquet", "geojson", "geojsonseq")
"""Those that hold lines whole, exact ones first."""


def run_lines(run: Run, class_name: str) -> tuple[str, NDArray[np.object_]]:
    """The lines of a class that a run wrote, and their CRS.

    Args:
        run: The run.
        class_name: The value of their attribute `class`.

    Returns:
        An authority code or WKT, and LineStrings (n,).

    Raises:
        GeosegError: The run has no layer of lines, or its file is missing or damaged.
    """
    layer = _layer(run)
    if layer is None:
        raise GeosegError(
            f"expected a layer {LINES_LAYER} in {run.path}, there is none: map the scene again, so that its roads "
            "become lines too"
        )
    mine = np.ones(len(layer.geometry), np.bool_) if layer.values is None else layer.values == class_name
    return layer.crs, shapely.get_parts(layer.geometry[mine])


def _layer(run: Run) -> FileLayer | None:
    for kind in _FORMATS:
        for output in run.record.outputs:
            file = run.path / output.path
            if output.format != kind or (kind != "gpkg" and Path(output.path).stem != LINES_LAYER):
                continue
            if not file.is_file():
                raise GeosegError(f"{file} is missing: geoseg verify {run.path} --mend, then repeat geoseg map")
            with read_here(file) as here:
                if kind == "gpkg" and LINES_LAYER not in {str(name) for name, _ in pyogrio.list_layers(here)}:
                    continue
                return next(one for one in read_layers(here, "class") if kind != "gpkg" or one.name == LINES_LAYER)
    return None
