"""What is made of outlines so that they are layers one would hand on: the options, by class."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Cleaning:
    """How objects are cleaned after their parts are brought together.

    Attributes:
        min_area_m2: Objects with less ground area are left out, by class id; so are parts cut off from one.
        min_hole_m2: Smaller holes are filled, by class id, where nothing lies in them that a layer has.
        simplify_m: Tolerance of the simplification on the ground; 0 leaves outlines untouched.
        smooth: Whether the staircase of pixels is smoothed, but for regularized classes.
        regularize: Ids of the classes whose objects get straight walls and right angles.
    """

    min_area_m2: tuple[float, ...]
    min_hole_m2: tuple[float, ...]
    simplify_m: float
    smooth: bool = False
    regularize: tuple[int, ...] = ()

    @property
    def leaves_outlines(self) -> bool:
        """Whether outlines are those of the pixels."""
        return self.simplify_m == 0 and not self.smooth

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {
            # 60 and 60.0 are the same area, and not the same JSON.
            "min_area_m2": [float(area) for area in self.min_area_m2],
            "min_hole_m2": [float(area) for area in self.min_hole_m2],
            "simplify_m": float(self.simplify_m),
            "smooth": self.smooth,
            "regularize": list(self.regularize),
        }
