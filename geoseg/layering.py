"""How objects become features, and features files: what was asked for, by the classes of a model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from geoseg.errors import GeosegError
from geoseg.labels import LabelSet, Network
from geoseg.objects.thresholds import Thresholds
from geoseg.vectorize.cleaning import Cleaning

LayerFormat = Literal["geojson", "geojsonseq", "gpkg", "fgb", "parquet", "pmtiles"]
"""A vector format."""


@dataclass(frozen=True, slots=True)
class LayerOptions:
    """How objects become features, and features files.

    Attributes:
        min_area_m2: Smaller objects are left out; 0 keeps all.
        simplify_m: Tolerance of the simplification on the ground; 0 leaves outlines untouched.
        classes: Names of the classes whose layers are written; None for all that have one.
        formats: What the layers are written as.
        thresholds: Name of a class and its least probability, 0 to 1: pixels below are of no object.
        min_area_of: Name of a class and its own minimum area.
        min_hole_m2: Smaller holes are filled where no layer has anything in them; None to go by the minimum area.
        min_hole_of: Name of a class and its own minimum area of holes.
        smooth: Whether the staircase of pixels is smoothed; None if outlines are simplified.
        regularize: Whether countable objects get straight walls; None if outlines are simplified.
        network: Whether roads become a network of lines and nodes, too; None for where there are roads.
    """

    min_area_m2: float
    simplify_m: float
    classes: tuple[str, ...] | None = None
    formats: tuple[LayerFormat, ...] = ("geojson", "gpkg")
    thresholds: tuple[tuple[str, float], ...] = ()
    min_area_of: tuple[tuple[str, float], ...] = ()
    min_hole_m2: float | None = None
    min_hole_of: tuple[tuple[str, float], ...] = ()
    smooth: bool | None = None
    regularize: bool | None = None
    network: bool | None = None


@dataclass(frozen=True, slots=True)
class Layering:
    """What is asked of a model's layers.

    Attributes:
        labels: The model's classes.
        options: What was asked for.
    """

    labels: LabelSet
    options: LayerOptions

    @property
    def classes(self) -> tuple[tuple[int, str], ...]:
        """Class id and name of each layer that is written.

        Raises:
            GeosegError: A class was asked for that the model does not have, or that has no layer.
        """
        asked = self.options.classes
        if asked is None:
            return self.labels.layers
        with_layer = {self.labels.names[class_id]: (class_id, layer) for class_id, layer in self.labels.layers}
        unknown = [name for name in asked if name not in with_layer]
        if unknown or not asked:
            raise GeosegError(
                f"--classes expects some of {', '.join(with_layer)}, got {', '.join(unknown) or 'nothing'}"
            )
        return tuple(layer for name, layer in with_layer.items() if name in asked)

    @property
    def network(self) -> Network | None:
        """The layers of the network of roads, where they are written.

        Raises:
            GeosegError: A network was asked for, and the model has no class for one.
        """
        found = self.labels.network
        if self.options.network and found is None:
            raise GeosegError(
                f"--network expects a model with a class road or roads that has a layer, this one has "
                f"{', '.join(self.labels.names)}: leave it out"
            )
        if found is None or self.options.network is False:
            return None
        return found if found.class_id in dict(self.classes) else None

    @property
    def thresholds(self) -> Thresholds:
        """How probable classes must be.

        Raises:
            GeosegError: A threshold is set for a class that has no layer, or is no probability.
        """
        ids = {self.labels.names[class_id]: class_id for class_id, _ in self.labels.layers}
        for name, share in self.options.thresholds:
            if name not in ids or not 0 <= share <= 1:
                raise GeosegError(
                    f"--threshold expects CLASS=P with one of {', '.join(ids)} and P from 0 to 1, "
                    f"got {name}={share:g}"
                )
        return Thresholds.of({ids[name]: share for name, share in self.options.thresholds})

    @property
    def cleaning(self) -> Cleaning:
        """What is made of outlines, by class.

        Raises:
            GeosegError: An area is set for a class that has no layer, or is none.
        """
        options, names = self.options, self.labels.names
        min_area_m2 = self._areas("--min-area", options.min_area_m2, options.min_area_of)
        holes = [options.min_hole_m2] * len(names) if options.min_hole_m2 is not None else min_area_m2
        min_hole_m2 = self._areas("--min-hole", holes, options.min_hole_of)
        simplified = options.simplify_m > 0
        things = [class_id for class_id, _ in self.labels.layers if self.labels.classes[class_id].kind == "thing"]
        regularize = simplified if options.regularize is None else options.regularize
        return Cleaning(
            min_area_m2=tuple(min_area_m2),
            min_hole_m2=tuple(min_hole_m2),
            simplify_m=options.simplify_m,
            smooth=simplified if options.smooth is None else options.smooth,
            regularize=tuple(things) if regularize else (),
        )

    @property
    def in_words(self) -> tuple[str, ...]:
        """What is made of outlines, for people."""
        cleaning, names = self.cleaning, self.labels.names

        def areas(usual_m2: float, by_class: tuple[float, ...]) -> str:
            others = [
                f", {names[class_id]} {by_class[class_id]:g} m2"
                for class_id, _ in self.labels.layers
                if by_class[class_id] != usual_m2
            ]
            return f"{usual_m2:g} m2{''.join(others)}"

        words = [f"objects from {areas(self.options.min_area_m2, cleaning.min_area_m2)}"]
        if any(cleaning.min_hole_m2):
            usual_m2 = self.options.min_area_m2 if self.options.min_hole_m2 is None else self.options.min_hole_m2
            words.append(f"holes below {areas(usual_m2, cleaning.min_hole_m2)} filled")
        if cleaning.smooth:
            words.append("smoothed")
        simplify_m = cleaning.simplify_m
        words.append(f"simplified by {simplify_m:g} m" if simplify_m else "not simplified")
        if cleaning.regularize:
            words.append(f"{' and '.join(names[class_id] for class_id in cleaning.regularize)} with straight walls")
        return tuple(words)

    def _areas(
        self, option: str, usual_m2: float | Sequence[float], of: tuple[tuple[str, float], ...]
    ) -> list[float]:
        """Areas by class id: the usual ones, but for those of some classes."""
        ids = {self.labels.names[class_id]: class_id for class_id, _ in self.labels.layers}
        areas = [usual_m2] * len(self.labels) if isinstance(usual_m2, int | float) else [*usual_m2]
        for name, area_m2 in of:
            if name not in ids or not 0 <= area_m2 < math.inf:
                raise GeosegError(
                    f"{option} expects CLASS=M2 with one of {', '.join(ids)} and an area from 0, "
                    f"got {name}={area_m2:g}"
                )
            areas[ids[name]] = area_m2
        return areas
