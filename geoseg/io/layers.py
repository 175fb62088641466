"""Layers of features: what every format is written from, and the columns that every format has."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("part", pa.int64()),
        ("class", pa.string()),
        ("confidence", pa.float64()),
        ("area_m2", pa.float64()),
        ("perimeter_m", pa.float64()),
        ("scene", pa.string()),
        ("date", pa.string()),
        ("run", pa.string()),
    ]
)
"""The columns of a feature besides its geometry, in every format; the README says what each one means."""

_COLUMNS = ("id", "part", "class_id", "confidence", "area_m2", "perimeter_m", "geometry", "scene")


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of one or more layers, a row each.

    Attributes:
        id: int64 (n,); the object's id. JavaScript reads numbers above 2^53 with an error, that is, on grids
            of more than 9 x 10^15 pixels.
        part: int64 (n,); 0 for a whole object. Of one that is too large for that, each feature is a part: 1 + row
            x grid width + column of the part's first pixel.
        class_id: uint8 (n,).
        confidence: float64 (n,); mean probability of the object's class over its pixels, 0 to 1.
        area_m2: float64 (n,); ground area of the geometry.
        perimeter_m: float64 (n,); length of its exterior and its holes on the ground.
        geometry: shapely polygons (n,) in the grid's CRS, exteriors counter-clockwise.
        scene: int64 (n,); index of the scene that most of the object's pixels come from.
    """

    id: NDArray[np.int64]
    part: NDArray[np.int64]
    class_id: NDArray[np.uint8]
    confidence: NDArray[np.float64]
    area_m2: NDArray[np.float64]
    perimeter_m: NDArray[np.float64]
    geometry: NDArray[np.object_]
    scene: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.id)

    @property
    def feature(self) -> NDArray[np.int64]:
        """int64 (n,); what tells each apart: its part, else its id."""
        return feature_of(self.id, self.part)

    def at(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> "Features":
        """The features at an index (m,), or where a mask (n,) is true."""
        return Features(*(getattr(self, name)[index] for name in _COLUMNS))

    @classmethod
    def concatenate(cls, parts: Sequence["Features"]) -> "Features":
        """The features of all parts, at least one, one after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))


def feature_of(ids: NDArray[np.int64], parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """What tells features apart, int64 (n,), by which they are in raster order of their first pixels.

    Args:
        ids: int64 (n,); as of `Features`.
        parts: int64 (n,); as of `Features`.
    """
    return np.where(parts > 0, parts, ids)


Batches = Callable[[], Iterable[Features]]
"""Features of a layer, in order and a batch at a time; each call gives all of them again."""


@dataclass(frozen=True, slots=True)
class Source:
    """The run that layers come from, as it is written into them.

    Attributes:
        run: The run's id (its plan hash).
        missing_blocks: How many blocks of its mosaic failed, and are nodata.
        scenes: Name and date (ISO 8601, or None) of each scene, by index.
    """

    run: str
    scenes: tuple[tuple[str, str | None], ...]
    missing_blocks: int = 0

    @property
    def status(self) -> str:
        """Complete or incomplete."""
        return "incomplete" if self.missing_blocks else "complete"

    @property
    def in_words(self) -> str:
        """A line for people, which says so loudly where the run is incomplete."""
        missing = (
            f", INCOMPLETE: {self.missing_blocks} block(s) failed and are missing" if self.missing_blocks else ""
        )
        return f"geoseg run {self.run[:12]}{missing}"

    def to_json(self) -> dict[str, str | int]:
        """A JSON object."""
        return {"run": self.run, "status": self.status, "missing_blocks": self.missing_blocks}
