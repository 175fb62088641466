"""Scenes with labels and their splits: sections of a configuration."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from geoseg.config.sections import CHOICE, NotNegative, Positive, Section

Split = Literal["train", "val", "test"]

UNKNOWN = "unknown"
"""In place of a class: none of those that the entry labels; which of the others is not known."""

IGNORE = "ignore"
"""In place of a class: not learned and not judged."""

OTHERS = "*"
"""Stands for all values of an attribute that are not listed."""

LabelFormat = Literal[
    "auto",
    "raster",
    "vector",
    "folders",
    "voc",
    "cityscapes",
    "ade20k",
    "coco-stuff",
    "coco",
    "coco-panoptic",
    "labelme",
    "cvat",
    "supervisely",
]

_OF_FEATURES = (".geojson", ".json", ".gpkg", ".fgb", ".shp", ".parquet", ".geoparquet", ".kml", ".kmz", ".xml")

Conditions = dict[str, str | int | float | bool | None]


class RegionConfig(Section):
    """Polygons that say which part of a raster a split owns.

    Attributes:
        file: GeoJSON, relative to the data root; its `crs` member is honoured.
        where: Properties, with the values that a feature must have to be taken; empty takes all.
    """

    file: str
    where: Conditions = Field(default_factory=dict)


class ClassFileConfig(Section):
    """The vector file of one class.

    Attributes:
        file: Relative to the data root; may hold {stem} or {name} as `SourceConfig.labels`.
        width_m: Lines are as wide, in metres on the ground; points are discs of this diameter.
        width_attribute: Attribute that holds the width in metres, in place of `width_m` where it is a number.
        where: Attributes, with the values that a feature must have to be taken.
        layer: The layer of the file; all of them when not given.
    """

    file: str
    width_m: Positive | None = None
    width_attribute: str | None = None
    where: Conditions = Field(default_factory=dict)
    layer: str | None = None


def _kind_of_labels(value: object) -> str:
    return CHOICE + ("files" if isinstance(value, Mapping) else "file")


Labels = Annotated[
    Annotated[str, Tag(CHOICE + "file")] | Annotated[dict[str, ClassFileConfig], Tag(CHOICE + "files")],
    Discriminator(_kind_of_labels),
]
"""A file or folder, or for each class its vector file."""

_LATER: dict[str, Any] = {
    "format": "auto",
    "class_attribute": None,
    "values": None,
    "classes": None,
    "width_m": None,
    "width_attribute": None,
    "where": {},
    "layer": None,
    "rest": None,
    "ignore_values": None,
    "ignore": None,
    "weight": 1.0,
    "bands": None,
    "assume_crs": None,
    "ground_resolution_m": None,
    "stretch": None,
    "subset": None,
    "instances": None,
}


class SourceConfig(Section):
    """Scenes with their labels. Paths are relative to the data root.

    Attributes:
        image: A scene, a folder of them, or a glob; of chips the folder of the images, or the set's own folder.
        labels: A class raster, a vector file, a file or folder of a chip format, or for each class its vector file
            (a name, or a mapping with `file`). For several scenes a folder with files of their names, or a name
            with {stem}, the scene's without its ending, or {name}, that without a trailing _image, _img or _rgb
            too.
        split: Which split it belongs to; "auto" divides it in spatial blocks (`SplitsConfig`).
        region: The part that is used; all of it when not given.
        format: Of the labels; "auto" looks at them.
        class_attribute: Attribute of vector features that names their class; "class" when not given.
        values: From values of a raster or attribute, or categories of a chip format, to a class, "unknown" or
            "ignore"; "*" stands for all other values of an attribute. The configuration's `label_values` when not
            given, and classes by their own names.
        classes: The classes that the entry labels; when not given those of `values`, of the mapping in `labels`, or
            those that the file names.
        width_m: As in `ClassFileConfig`, for vector labels in one file and for those of classes that say none.
        width_attribute: Likewise.
        where: Likewise, for labels in one file.
        layer: Likewise.
        rest: What ground without a label is: a class, "unknown" (none of the classes that the entry labels, which
            is what vectors and chips say) or "ignore" (which is what a raster's nodata says).
        ignore_values: Values of a raster that are not learned; the configuration's when not given.
        ignore: Vector file of polygons whose area never counts.
        weight: How often an epoch of training sees the entry's ground: 2 is twice, 0.5 every other epoch.
        bands: 1-based band numbers in the model's order; by colour interpretation when not given.
        assume_crs: CRS of a scene that has none.
        ground_resolution_m: Of chips without a place on earth.
        stretch: Two values, or percentiles such as 2%, that become the ends of the model's value range.
        subset: A part of a set of chips that has parts: a folder within, for VOC one of its lists.
        instances: Beside a class raster in `labels`, a raster that numbers its objects: 0 where there is none that
            is known. A file, or for several scenes as `labels`. Of vector labels each feature is an object (where
            two overlap the later one has the pixels), of class rasters alone each 4-connected component of a class.
    """

    image: str
    labels: Labels
    split: Literal["train", "val", "test", "auto"]
    region: RegionConfig | None = None
    format: LabelFormat = "auto"
    class_attribute: str | None = None
    values: dict[str, str] | None = None
    classes: tuple[str, ...] | None = None
    width_m: Positive | None = None
    width_attribute: str | None = None
    where: Conditions = Field(default_factory=dict)
    layer: str | None = None
    rest: str | None = None
    ignore_values: tuple[int, ...] | None = None
    ignore: str | None = None
    weight: Positive = 1.0
    bands: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    assume_crs: str | None = None
    ground_resolution_m: Positive | None = None
    stretch: tuple[str, str] | None = None
    subset: str | None = None
    instances: str | None = None

    @field_validator("labels", mode="before", json_schema_input_type=str | dict[str, str | ClassFileConfig])
    @classmethod
    def _files(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return {name: {"file": file} if isinstance(file, str) else file for name, file in value.items()}
        return value

    @field_validator("values", mode="before")
    @classmethod
    def _texts(cls, value: object) -> object:
        return {str(key): name for key, name in value.items()} if isinstance(value, Mapping) else value

    @field_validator("stretch", mode="before", json_schema_input_type=str | tuple[str | float, str | float] | None)
    @classmethod
    def _pair(cls, value: object) -> object:
        parts = value.split(",") if isinstance(value, str) else value
        return [str(part).strip() for part in parts] if isinstance(parts, list) else parts

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.stretch is not None:
            self.stretch_limits()
        if isinstance(self.labels, dict):
            for key, value in (("values", self.values), ("class_attribute", self.class_attribute)):
                if value is not None:
                    raise ValueError(f"{key}: labels name a file for each class, expected no {key} beside them")
        return self

    @model_serializer(mode="wrap")
    def _brief(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Later keys are left out at their defaults: the fingerprints of older runs stay as they are.
        return {key: value for key, value in dump(self).items() if key not in _LATER or value != _LATER[key]}

    @property
    def reads_label_values(self) -> bool:
        """Whether the configuration's `label_values` say what the labels' values mean: they do of pixels."""
        if not isinstance(self.labels, str) or self.class_attribute is not None:
            return False
        if self.format == "auto":
            return not self.labels.lower().endswith(_OF_FEATURES)
        return self.format in ("raster", "folders", "voc", "cityscapes", "ade20k", "coco-stuff")

    @property
    def may_be_of_others(self) -> bool:
        """Whether some of its ground is of none of the classes that it labels: of pixels, only if it is said."""
        said = self.rest == UNKNOWN or UNKNOWN in (self.values or {}).values()
        return said or (self.rest is None and not self.reads_label_values)

    def stretch_limits(self) -> tuple[tuple[float, float], bool] | None:
        """The limits of the stretch, (low, high), and whether they are percentiles; None without a stretch.

        Raises:
            ValueError: They are no two numbers or percentages, or not in order.
        """
        if self.stretch is None:
            return None
        percent = all(part.endswith("%") for part in self.stretch)
        try:
            low, high = (float(part.removesuffix("%") if percent else part) for part in self.stretch)
        except ValueError:
            raise ValueError(f"stretch: expected LO,HI or 2%,98%, got {','.join(self.stretch)}") from None
        if not low < high or (percent and not 0 <= low < high <= 100):
            raise ValueError(f"stretch: expected LO below HI (and 0% to 100%), got {','.join(self.stretch)}")
        return (low, high), percent


class SplitsConfig(Section):
    """How entries with `split: auto` are divided: in square blocks of ground, apart by a buffer.

    Attributes:
        block_m: Side of the blocks in metres; when not given, as long that the ground holds about 36 of them.
        buffer_m: No training pixel lies within this distance of one that is judged; when not given a 16th of
            `block_m`.
        val: Share of the blocks for validation, one at least.
        test: Share of the blocks for the test, one at least unless it is 0.
        seed: Which blocks these are.
    """

    block_m: Positive | None = None
    buffer_m: NotNegative | None = None
    val: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(ge=0, lt=1)] = 0.15
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.val + self.test > 0.9:
            raise ValueError(f"expected val and test of at most 0.9 together, got {self.val + self.test:g}")
        return self


class SamplingConfig(Section):
    """Which windows training draws.

    Attributes:
        balance: "ground": each cell of the ground once in an epoch. "class": a share of the windows lies around
            pixels of classes, each class as often as any other; they are drawn at random, so that an epoch may see
            some ground twice and other not at all. "inverse_frequency": likewise, rarer classes more often, by the
            inverse of their pixels.
        share: That share.
    """

    balance: Literal["ground", "class", "inverse_frequency"] = "ground"
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
