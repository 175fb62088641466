"""Layers of features: what every format is written from, and the columns that every format has."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar, Protocol, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geoseg.labels import LabelSet

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
        ("outline", pa.string()),
    ]
)
"""The columns of a feature besides its geometry, in every format; the README says what each one means."""


class Outcome(IntEnum):
    """What became of an outline that was to be regularized: it was, or why it is as it was."""

    REGULARIZED = 0
    UNCHANGED_IOU = 1
    UNCHANGED_DEVIATION = 2
    UNCHANGED_INVALID = 3
    UNCHANGED_ROUND = 4
    UNCHANGED_TOO_LONG = 5
    UNCHANGED_NODATA = 6
    UNCHANGED_OVERLAP = 7
    UNCHANGED_SPLIT = 8


NO_OUTCOME = 255
"""Of a feature whose outline was not to be regularized."""


@dataclass(frozen=True, slots=True)
class Table:
    """What the features of a layer are.

    Attributes:
        schema: Their columns besides the geometry.
        geometry_type: Polygon, LineString or Point.
    """

    schema: pa.Schema
    geometry_type: str


OBJECTS = Table(SCHEMA, "Polygon")
"""Objects of a class."""

LINES = Table(
    pa.schema(
        [
            ("id", pa.int64()),
            ("class", pa.string()),
            ("start", pa.int64()),
            ("end", pa.int64()),
            ("length_m", pa.float64()),
            ("width_m", pa.float64()),
            ("run", pa.string()),
        ]
    ),
    "LineString",
)
"""Lines of a network."""

NODES = Table(pa.schema([("id", pa.int64()), ("degree", pa.int64()), ("run", pa.string())]), "Point")
"""Nodes of a network."""

_COLUMNS = ("id", "part", "class_id", "confidence", "area_m2", "perimeter_m", "geometry", "scene", "outcome")


class Rows(Protocol):
    """Features of a layer, whatever they are, a row each.

    Attributes:
        id: int64 (n,).
        geometry: shapely geometries (n,) in the grid's CRS.
    """

    @property
    def id(self) -> NDArray[np.int64]:
        """int64 (n,)."""

    @property
    def geometry(self) -> NDArray[np.object_]:
        """Shapely geometries (n,)."""

    def __len__(self) -> int: ...

    def at(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """Those at an index (m,), or where a mask (n,) is true."""

    def with_geometry(self, geometry: NDArray[np.object_]) -> Self:
        """The same with other geometries (n,)."""

    @classmethod
    def concatenate(cls, parts: "Sequence[Self]") -> Self:
        """Those of all parts, at least one, one after the other."""

    def values(self, labels: LabelSet, source: "Source") -> list[pa.Array]:
        """The columns as they are written, in the order of the table, without the geometry."""


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
        outcome: uint8 (n,); what became of its outline (`Outcome`), or `NO_OUTCOME`.
    """

    id: NDArray[np.int64]
    part: NDArray[np.int64]
    class_id: NDArray[np.uint8]
    confidence: NDArray[np.float64]
    area_m2: NDArray[np.float64]
    perimeter_m: NDArray[np.float64]
    geometry: NDArray[np.object_]
    scene: NDArray[np.int64]
    outcome: NDArray[np.uint8]

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

    def with_geometry(self, geometry: NDArray[np.object_]) -> "Features":
        """The same with other geometries (n,)."""
        return replace(self, geometry=geometry)

    def values(self, labels: LabelSet, source: "Source") -> list[pa.Array]:
        """The columns as they are written, in the order of `SCHEMA`."""
        names = np.array(labels.names, object)
        scenes = np.array([name for name, _ in source.scenes], object)
        dates = np.array([date for _, date in source.scenes], object)
        return [
            pa.array(self.id),
            pa.array(self.part, mask=self.part == 0),
            pa.array(names[self.class_id], pa.string()),
            pa.array(np.round(self.confidence, 4)),
            pa.array(np.round(self.area_m2, 2)),
            pa.array(np.round(self.perimeter_m, 2)),
            pa.array(scenes[self.scene], pa.string()),
            pa.array(dates[self.scene], pa.string()),
            pa.array([source.run] * len(self), pa.string()),
            pa.array(_OUTCOMES[self.outcome], pa.string()),
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Lines of a network.

    Attributes:
        id: int64 (n,); as of `geoseg.network.edges.Edge`.
        class_id: uint8 (n,).
        start: int64 (n,); id of the node at the beginning.
        end: int64 (n,); id of the node at the end; of a closed line the same.
        length_m: float64 (n,); on the ground.
        width_m: float64 (n,); mean width of the mask along the line.
        geometry: shapely lines (n,) in the grid's CRS.
    """

    columns: ClassVar[tuple[str, ...]] = ("id", "class_id", "start", "end", "length_m", "width_m", "geometry")

    id: NDArray[np.int64]
    class_id: NDArray[np.uint8]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    length_m: NDArray[np.float64]
    width_m: NDArray[np.float64]
    geometry: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.id)

    def at(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> "Lines":
        """The lines at an index (m,), or where a mask (n,) is true."""
        return Lines(*(getattr(self, name)[index] for name in self.columns))

    def with_geometry(self, geometry: NDArray[np.object_]) -> "Lines":
        """The same with other geometries (n,)."""
        return replace(self, geometry=geometry)

    @classmethod
    def concatenate(cls, parts: Sequence["Lines"]) -> "Lines":
        """The lines of all parts, at least one, one after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.columns))

    def values(self, labels: LabelSet, source: "Source") -> list[pa.Array]:
        """The columns as they are written, in the order of `LINES`."""
        return [
            pa.array(self.id),
            pa.array(np.array(labels.names, object)[self.class_id], pa.string()),
            pa.array(self.start),
            pa.array(self.end),
            pa.array(np.round(self.length_m, 2)),
            pa.array(np.round(self.width_m, 2)),
            pa.array([source.run] * len(self), pa.string()),
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Nodes of a network.

    Attributes:
        id: int64 (n,); 1 + row x grid width + column of a pixel that stands for the node.
        degree: int64 (n,); how many lines begin or end there.
        geometry: shapely points (n,) in the grid's CRS.
    """

    columns: ClassVar[tuple[str, ...]] = ("id", "degree", "geometry")

    id: NDArray[np.int64]
    degree: NDArray[np.int64]
    geometry: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.id)

    def at(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> "Nodes":
        """The nodes at an index (m,), or where a mask (n,) is true."""
        return Nodes(*(getattr(self, name)[index] for name in self.columns))

    def with_geometry(self, geometry: NDArray[np.object_]) -> "Nodes":
        """The same with other geometries (n,)."""
        return replace(self, geometry=geometry)

    @classmethod
    def concatenate(cls, parts: Sequence["Nodes"]) -> "Nodes":
        """The nodes of all parts, at least one, one after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.columns))

    def values(self, labels: LabelSet, source: "Source") -> list[pa.Array]:  # noqa: ARG002  # as of the others
        """The columns as they are written, in the order of `NODES`."""
        return [pa.array(self.id), pa.array(self.degree), pa.array([source.run] * len(self), pa.string())]


def feature_of(ids: NDArray[np.int64], parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """What tells features apart, int64 (n,), by which they are in raster order of their first pixels.

    Args:
        ids: int64 (n,); as of `Features`.
        parts: int64 (n,); as of `Features`.
    """
    return np.where(parts > 0, parts, ids)


_OUTCOMES = np.full(256, None, object)
for _outcome in Outcome:
    _OUTCOMES[_outcome] = _outcome.name.lower()

Batches = Callable[[], Iterable[Rows]]
"""Features of a layer, in order and a batch at a time; each call gives all of them again."""


def objects_in(batches: Batches) -> Iterator[Features]:
    """The batches of a layer of objects.

    Raises:
        TypeError: It is a layer of something else.
    """
    for rows in batches():
        if not isinstance(rows, Features):
            raise TypeError(f"expected a layer of objects, got {type(rows).__name__}")
        yield rows


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
