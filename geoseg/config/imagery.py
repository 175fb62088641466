"""What a model sees and tells apart: sections of a configuration."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from geoseg.config.sections import Positive, Section
from geoseg.labels import LabelClass


class ImageryConfig(Section):
    """The pixels that the model expects, in the raster's own numbers.

    Attributes:
        bands: Band names in the order of the model's input channels.
        dtype: Data type of the rasters, as numpy names it.
        value_range: Least and greatest pixel value, inclusive.
        ground_resolution_m: Ground length of a pixel in metres.
        mean: Per band; measured on the training regions when not given.
        std: Per band; measured on the training regions when not given.
    """

    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    dtype: Literal["uint8", "uint16", "int16", "float32"]
    value_range: tuple[float, float]
    ground_resolution_m: Positive
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None

    @model_validator(mode="after")
    def _together(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("give both mean and std, or neither to have them measured")
        for what, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != len(self.bands):
                raise ValueError(f"expected {len(self.bands)} values of {what}, one per band, got {len(values)}")
        if len(set(self.bands)) != len(self.bands):
            raise ValueError(f"band names must differ, got {', '.join(self.bands)}")
        if not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"expected a value_range [low, high], got {list(self.value_range)}")
        return self


class ClassConfig(Section):
    """One class of the model; its id is its position in the list, from 0.

    Attributes:
        name: Lower-case identifier.
        layer: The vector layer of its objects, or null for none.
        kind: "thing" for countable objects, "stuff" for the rest.
        color: "#rrggbb".
    """

    name: str
    layer: str | None
    kind: Literal["thing", "stuff"]
    color: str

    @model_validator(mode="after")
    def _is_a_class(self) -> Self:
        self.to_label_class()
        return self

    def to_label_class(self) -> LabelClass:
        """The class as the rest of geoseg knows it."""
        return LabelClass(self.name, self.layer, self.kind, self.color)
