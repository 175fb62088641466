"""Areas: pixels of a map against those of a reference, window by window, in memory that does not grow."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.train.metrics.boundaries import boundary, count_within, halo_px


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a reference says of a window.

    Attributes:
        masks: By class id, where the class is, boolean (row, column); classes may overlap.
        known_hw: Where the reference says anything.
    """

    masks: Mapping[int, NDArray[np.bool_]]
    known_hw: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class AreaCounts:
    """Pixels of a class; counts of disjoint windows add up exactly.

    Attributes:
        both: Pixels that are of the class in map and reference.
        mapped: Pixels that are of it in the map.
        true: Pixels that are of it in the reference.
        mapped_edge: Boundary pixels in the map.
        true_edge: Boundary pixels in the reference.
        mapped_near: int64 (n,), boundary pixels of the map within each distance of one of the reference.
        true_near: int64 (n,), boundary pixels of the reference within each distance of one of the map.
    """

    both: int
    mapped: int
    true: int
    mapped_edge: int
    true_edge: int
    mapped_near: NDArray[np.int64]
    true_near: NDArray[np.int64]

    @classmethod
    def zero(cls, distances: int) -> Self:
        """No pixels yet."""
        return cls(0, 0, 0, 0, 0, np.zeros(distances, np.int64), np.zeros(distances, np.int64))

    def __add__(self, other: "AreaCounts") -> "AreaCounts":
        return AreaCounts(
            self.both + other.both,
            self.mapped + other.mapped,
            self.true + other.true,
            self.mapped_edge + other.mapped_edge,
            self.true_edge + other.true_edge,
            self.mapped_near + other.mapped_near,
            self.true_near + other.true_near,
        )

    def figures(self, distances_m: Sequence[float]) -> dict[str, float | int | None]:
        """IoU, precision, recall, F1 and, at each distance, those of boundaries, by name; None where undefined.

        Boundary scores are the shares of boundary pixels that lie within the distance of one on the other side, and
        their harmonic mean (Csurka et al. 2013, What is a good evaluation measure for semantic segmentation?).
        """
        figures: dict[str, float | int | None] = {
            "iou": share(self.both, self.mapped + self.true - self.both),
            "precision": share(self.both, self.mapped),
            "recall": share(self.both, self.true),
            "f1": share(2 * self.both, self.mapped + self.true),
            "true_px": self.both,
            "false_px": self.mapped - self.both,
            "missed_px": self.true - self.both,
        }
        for i, distance_m in enumerate(distances_m):
            precision = share(int(self.mapped_near[i]), self.mapped_edge)
            recall = share(int(self.true_near[i]), self.true_edge)
            figures[f"boundary_f1_{distance_m:g}m"] = harmonic_mean(precision, recall)
            figures[f"boundary_precision_{distance_m:g}m"] = precision
            figures[f"boundary_recall_{distance_m:g}m"] = recall
        return figures


def share(part: float, whole: float) -> float | None:
    """A part of a whole; None of nothing."""
    return part / whole if whole else None


def harmonic_mean(one: float | None, other: float | None) -> float | None:
    """Of two shares; where one is undefined (one side is empty) 0, where both are, None."""
    if one is None and other is None:
        return None
    if not one or not other:
        return 0.0
    return 2 * one * other / (one + other)


@dataclass(frozen=True, slots=True)
class AreaMeasure:
    """How areas are measured.

    Attributes:
        height: Rows of the grid.
        width: Columns.
        pixel_m: (height, width) of a pixel on the ground.
        distances_m: At which boundaries are compared.
        classes: Ids of the classes to score.
    """

    height: int
    width: int
    pixel_m: tuple[float, float]
    distances_m: tuple[float, ...]
    classes: tuple[int, ...]

    def total(
        self,
        windows: Iterable[Window],
        mapped: Callable[[Window], NDArray[np.uint8]],
        truth: Callable[[Window], Truth],
        see: Callable[[Window, NDArray[np.uint8], Truth], None] | None = None,
    ) -> dict[int, AreaCounts]:
        """Counts of each class over windows, which are read with a halo: those of the whole, whatever the windows.

        Args:
            windows: Disjoint windows of the grid.
            mapped: Class ids_hw of the map in a window, 255 where it has no data.
            truth: What the reference says of a window.
            see: Is shown each window without its halo: ids_hw of the map, and the truth; what is not known on
                both sides is not known there.
        """
        totals = {class_id: AreaCounts.zero(len(self.distances_m)) for class_id in self.classes}
        halo = halo_px(max(self.distances_m, default=0), self.pixel_m) + 1
        for window in windows:
            wide = Window(
                window.row - halo, window.col - halo, window.height + 2 * halo, window.width + 2 * halo
            ).intersection(Window(0, 0, self.height, self.width))
            assert wide is not None  # windows lie on the grid
            ids_hw = mapped(wide)
            reference = truth(wide)
            known_hw = reference.known_hw & (ids_hw != 255)
            inner = window.slices_in(wide)
            for class_id in self.classes:
                counts = self._counts(ids_hw == class_id, reference.masks[class_id], known_hw, inner)
                totals[class_id] += counts
            if see is not None:
                masks = {class_id: mask_hw[inner] for class_id, mask_hw in reference.masks.items()}
                see(window, ids_hw[inner], Truth(masks, known_hw[inner]))
        return totals

    def _counts(
        self,
        mapped_hw: NDArray[np.bool_],
        true_hw: NDArray[np.bool_],
        known_hw: NDArray[np.bool_],
        inner: tuple[slice, slice],
    ) -> AreaCounts:
        mapped_edge_hw, true_edge_hw = boundary(mapped_hw, known_hw), boundary(true_hw, known_hw)
        within_hw = np.zeros_like(known_hw)
        within_hw[inner] = True
        inside_hw = known_hw & within_hw
        return AreaCounts(
            int(np.count_nonzero(mapped_hw & true_hw & inside_hw)),
            int(np.count_nonzero(mapped_hw & inside_hw)),
            int(np.count_nonzero(true_hw & inside_hw)),
            int(np.count_nonzero(mapped_edge_hw & within_hw)),
            int(np.count_nonzero(true_edge_hw & within_hw)),
            count_within(mapped_edge_hw & within_hw, true_edge_hw, self.pixel_m, self.distances_m),
            count_within(true_edge_hw & within_hw, mapped_edge_hw, self.pixel_m, self.distances_m),
        )
