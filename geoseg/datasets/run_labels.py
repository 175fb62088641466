"""Labels from a finished run: what a model is sure of, to train another on (pseudo-labels, Lee 2013).

A pixel whose confidence reaches the threshold of its class has that class; of all others nothing is known. With a
threshold for each class rare ones can be kept too, as in Zou et al. 2018 (Unsupervised domain adaptation for
semantic segmentation via class-balanced self-training, section 4).
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from geoseg.errors import ConfigError, RunFolderError, SceneError
from geoseg.grid import Grid, Window, parse_crs
from geoseg.io.mosaic import PROBABILITY_SCALE
from geoseg.io.record import GridRecord
from geoseg.io.run_folder import RunFolder
from geoseg.io.slant import Slant
from geoseg.io.warp import Warp
from geoseg.labels import NODATA_CLASS

OTHERS = "*"
"""Stands for all classes whose threshold is not given."""


def confident_labels(
    classes_hw: NDArray[np.uint8], confidence_hw: NDArray[np.uint8], least_k: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """The classes of pixels that a model is sure of.

    Args:
        classes_hw: Class ids (row, column), `NODATA_CLASS` where there is no data.
        confidence_hw: Probability of that class x 254, as mosaics keep it; `NODATA_CLASS` where there is no data.
        least_k: For each class (class,) the least probability, from 0 to 1, with which it is believed.

    Returns:
        Class ids (row, column), `NODATA_CLASS` where nothing is believed.
    """
    # What is stored was rounded: a threshold is met by what rounds to it.
    least_v = np.full(NODATA_CLASS + 1, np.inf)
    least_v[: len(least_k)] = np.rint(least_k * PROBABILITY_SCALE)
    sure_hw = (confidence_hw >= least_v[classes_hw]) & (confidence_hw != NODATA_CLASS)
    return np.where(sure_hw, classes_hw, np.uint8(NODATA_CLASS))


def thresholds(least: Mapping[str, float], names: tuple[str, ...]) -> NDArray[np.float64]:
    """The threshold of each class (class,).

    Args:
        least: By class; "*" stands for all others, which are never believed where it is not given.
        names: Of the classes, by id.

    Raises:
        ConfigError: A class has no such name, or a threshold is no probability.
    """
    for name, value in least.items():
        if name != OTHERS and name not in names:
            raise ConfigError(f"min_confidence: expected one of {', '.join(names)}, got {name!r}")
        if not 0 <= value <= 1:
            raise ConfigError(f"min_confidence: expected a probability from 0 to 1 for {name}, got {value:g}")
    return np.array([least.get(name, least.get(OTHERS, np.inf)) for name in names])


class RunLabels:
    """Coded labels on a scene's grid from what a run is sure of; the run may lie on another grid or in another CRS.

    Attributes:
        labelled: Ids of the classes that the run tells apart.
        names: Of the run's classes, by the run's own ids.
        grid: The run's pixels.
    """

    def __init__(
        self,
        path: Path,
        grid: Grid | None,
        ids: Mapping[str, int] | None,
        least: Mapping[str, float],
        rest: int = NODATA_CLASS,
    ) -> None:
        """Look at the run.

        Args:
            path: The RUN folder.
            grid: The pixels to label; the run's own when not given.
            ids: From class name to class id; the run's own ids when not given.
            least: As for `thresholds`, with the run's names.
            rest: The label of pixels that are surely of a class of the run that `ids` does not know.

        Raises:
            RunFolderError: There is no finished run.
            ConfigError: The thresholds are wrong, or no class of the run is known.
        """
        record = _record(path)
        self.names = record.classes
        self.grid = Grid(record.grid.crs, Affine(*record.grid.transform), record.grid.height, record.grid.width)
        self._path, self._mosaic, self._target = path, RunFolder(path).mosaic, grid or self.grid
        self._least_k = thresholds(least, self.names)
        if ids is None:
            ids = {name: number for number, name in enumerate(self.names)}
        self.labelled = frozenset(ids[name] for name in self.names if name in ids)
        if not self.labelled:
            raise ConfigError(
                f"{path}: expected a run with one of the classes {', '.join(ids)}, it has {', '.join(self.names)}"
            )
        self._coded_v = np.full(NODATA_CLASS + 1, NODATA_CLASS, np.uint8)
        self._coded_v[: len(self.names)] = [ids.get(name, rest) for name in self.names]
        self._warp: Slant | Warp
        if parse_crs(self.grid.crs) == parse_crs(self._target.crs):
            self._warp = Slant(~self.grid.transform @ self._target.transform, self.grid.height, self.grid.width)
        else:
            self._warp = Warp.between(self._target, self.grid)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Coded labels (row, column) of a window of the grid: those of the run's pixel that holds each centre.

        Raises:
            SceneError: The mosaic cannot be read.
        """
        rows_hw, cols_hw = self._warp.places(window)
        inside_hw = self._warp.inside(rows_hw, cols_hw)
        coded_hw = np.full(window.shape, NODATA_CLASS, np.uint8)
        if inside_hw.any():
            rows = np.minimum(rows_hw[inside_hw].astype(np.int64), self.grid.height - 1)
            cols = np.minimum(cols_hw[inside_hw].astype(np.int64), self.grid.width - 1)
            row, col = int(rows.min()), int(cols.min())
            source = Window(row, col, int(rows.max()) + 1 - row, int(cols.max()) + 1 - col)
            sure_hw = confident_labels(
                self._array("classes", source), self._array("confidence", source), self._least_k
            )
            coded_hw[inside_hw] = self._coded_v[sure_hw][rows - row, cols - col]
        return coded_hw

    def close(self) -> None:
        """Nothing is open between reads."""

    def _array(self, name: str, window: Window) -> NDArray[np.uint8]:
        try:
            return self._mosaic.read(0, name, window)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise SceneError(
                f"{self._mosaic.path} cannot be read ({name}): geoseg verify {self._path} says what is damaged"
            ) from error


class _Record(BaseModel):
    """What of run.json is needed."""

    classes: tuple[str, ...]
    grid: GridRecord


def _record(path: Path) -> _Record:
    run = RunFolder(path)
    try:
        content = run.record()
        if content is None:
            raise RunFolderError(f"expected a RUN folder with run.json, got {path}")
        return _Record.model_validate(content)
    except (OSError, ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise RunFolderError(f"{run.run_file} cannot be used ({reason}): map the scene again") from error
