"""A look at a few windows of a scene: how much of it is nodata, and whether it looks like what the model knows."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.addresses import is_remote
from geoseg.io.damage import DamagedError
from geoseg.io.raster import SceneReader
from geoseg.io.scene_ref import SceneRef

_SIDE_PX = 128
_ACROSS = 4
"""Windows along each axis of a scene that are looked at."""

_ACROSS_REMOTE = 2
"""Likewise of a scene at an address, where each asks a server."""

_FAR = 2.0
"""A band whose mean lies so many of the model's standard deviations from the model's own is not what it knows."""

_SPREAD = 3.0
"""Nor is one that varies so many times more; less is usual, a scene may be all forest."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a few windows hold.

    Attributes:
        valid_share: How much of them holds data, 0 to 1.
        mean: Of each band over that, in the model's numbers; empty where there is none.
        std: Likewise.
        damage: Why one of them cannot be read, or empty.
    """

    valid_share: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    damage: str = ""

    def doubt(self, imagery: Imagery) -> str:
        """What to say where it differs strongly from what the model was trained on; empty where it does not."""
        known = zip(imagery.bands, imagery.mean, imagery.std, self.mean, self.std, strict=False)
        for band, model_mean, model_std, mean, std in known:
            apart = abs(mean - model_mean) / model_std
            if apart > _FAR or std > _SPREAD * model_std:
                return (
                    f"its {band} band ({mean:.3g} +- {std:.2g}) is far from what the model was trained on "
                    f"({model_mean:.3g} +- {model_std:.2g}): expect poor classes"
                )
        return ""


def sample_scene(ref: SceneRef) -> Sample:
    """Look at windows spread evenly over a scene.

    Args:
        ref: The scene, on a grid of its own.

    Raises:
        SceneError: It holds values outside the model's range.
    """
    grid = ref.grid
    values = []
    seen = valid = 0
    damage = ""
    reader = SceneReader(ref)
    try:
        across = _ACROSS_REMOTE if is_remote(ref.path) else _ACROSS
        for row, col in product(_starts(grid.height, across), _starts(grid.width, across)):
            window = Window(row, col, min(_SIDE_PX, grid.height), min(_SIDE_PX, grid.width))
            try:
                image_chw, valid_hw = reader.read(window)
            except DamagedError as error:
                damage = str(error)
                continue
            seen, valid = seen + valid_hw.size, valid + int(valid_hw.sum())
            values.append(image_chw[:, valid_hw])
    finally:
        reader.close()
    together = np.concatenate(values, axis=1) if values else np.empty((0, 0), np.float32)
    if not together.size:
        return Sample(0.0, (), (), damage)
    mean, std = together.mean(axis=1, dtype=np.float64), together.std(axis=1, dtype=np.float64)
    return Sample(valid / seen, tuple(mean.tolist()), tuple(std.tolist()), damage)


def _starts(size: int, most: int) -> list[int]:
    """Where windows begin along an axis, at most so many that do not overlap."""
    last = max(0, size - _SIDE_PX)
    count = min(most, max(1, size // _SIDE_PX))
    return sorted({round(start) for start in np.linspace(0, last, count).tolist()})
