"""What labels are to be read, before anything of them was opened."""

from collections.abc import Mapping
from dataclasses import dataclass

from geoseg.datasets.chips import Chip
from geoseg.labels import NODATA_CLASS

REST = -1
"""In place of a class id: none of the classes that the data set labels."""


@dataclass(frozen=True, slots=True)
class RasterFile:
    """A raster of label values.

    Attributes:
        path: The file.
        ids: (value, class id, `REST` or `NODATA_CLASS`), or None for the coding of the run.
        rest: What its pixels without data are: a class id, `REST` or `NODATA_CLASS`.
    """

    path: str
    ids: tuple[tuple[int, int], ...] | None = None
    rest: int = NODATA_CLASS


@dataclass(frozen=True, slots=True)
class VectorFile:
    """Features of a vector file, and what they are.

    Attributes:
        path: The file.
        ids: (value of the attribute, class id, `REST` or `NODATA_CLASS`); "*" stands for all other values.
        attribute: The attribute that names the class; None where all features are of the class `only`.
        only: Class id of all features where no attribute names it.
        width_m: Lines are as wide, in metres on the ground; points are discs of this diameter.
        width_attribute: The attribute with the width in metres, in place of `width_m` where it holds a number.
        where: (attribute, value in text) that features must have to be taken; None stands for no value.
        layer: The layer, or None for all.
    """

    path: str
    ids: tuple[tuple[str, int], ...] = ()
    attribute: str | None = None
    only: int = NODATA_CLASS
    width_m: float | None = None
    width_attribute: str | None = None
    where: tuple[tuple[str, str | None], ...] = ()
    layer: str | None = None


@dataclass(frozen=True, slots=True)
class VectorFiles:
    """Vector files that label a scene together: features of later files lie over those of earlier ones.

    Attributes:
        files: The files.
        rest: What ground without a feature is: a class id, `REST` or `NODATA_CLASS`.
    """

    files: tuple[VectorFile, ...]
    rest: int = REST


@dataclass(frozen=True, slots=True, eq=False)
class ChipFile:
    """A chip's labels, in whichever format.

    Attributes:
        chip: The chip.
        ids: From category to class id, `REST` or `NODATA_CLASS`.
        rest: What is not annotated: a class id, `REST` or `NODATA_CLASS`.
    """

    chip: Chip
    ids: Mapping[str, int]
    rest: int = REST


LabelFiles = str | RasterFile | VectorFiles | ChipFile
"""A path alone is a raster in the coding of the run."""
