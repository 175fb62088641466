"""How good a model is, as its card says it: scores on splits, calibration, and what two annotators agree on."""

from typing import Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from geoseg.models.card_part import Fraction, Interval, Part, Slug, Text, without


class SplitMetrics(Part):
    """Measured quality on one split of a data set.

    Attributes:
        miou: Mean of the classes' intersection over union.
        iou: Intersection over union by class name; None where neither labels nor predictions have the class.
        pixel_accuracy: Share of the labelled pixels that are right.
        pixels: Labelled pixels that were compared.
        regions: Names of the regions of the split.
        miou_interval: Least and greatest of a 95 % bootstrap interval; None where there is none.
        iou_intervals: Likewise by class name; empty on older cards.
        ece: Expected calibration error of the maps of these regions (Guo et al. 2017, 15 bins); None where it was
            not measured.
    """

    miou: Fraction
    iou: dict[str, Fraction | None]
    pixel_accuracy: Fraction
    pixels: Annotated[int, Field(ge=0)]
    regions: tuple[Text, ...]
    miou_interval: Interval | None = None
    iou_intervals: dict[str, Interval | None] = Field(default_factory=dict)
    ece: Fraction | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.iou_intervals and set(self.iou_intervals) != set(self.iou):
            raise ValueError(f"expected iou_intervals of {', '.join(self.iou)}, got {list(self.iou_intervals)}")
        return self

    @model_serializer(mode="wrap")
    def _brief(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without(dump(self), {"miou_interval": None, "iou_intervals": {}, "ece": None})


class SplitCalibration(Part):
    """Expected calibration error on a sample of a split's labelled pixels.

    Attributes:
        ece_before: Of the logits as they were; None without a pixel of known class.
        ece_after: Of those divided by the temperature; likewise.
        pixels: In the sample, of single tiles, which maps blend where they overlap.
    """

    ece_before: Fraction | None
    ece_after: Fraction | None
    pixels: Annotated[int, Field(ge=0)]


class Calibration(Part):
    """A temperature that is folded into the weights (Guo et al. 2017, On calibration of modern neural networks).

    Attributes:
        temperature: What logits were divided by.
        fitted_on: The split on whose sample it has the least negative log likelihood.
        bins: Of the expected calibration error.
        splits: The error before and after, by split.
        note: Why the labels decided no temperature, where they did not; it is 1 then.
    """

    temperature: Annotated[float, Field(ge=0.05, le=20)]
    fitted_on: Slug
    bins: Annotated[int, Field(ge=1)]
    splits: dict[Slug, SplitCalibration]
    note: Text | None = None


class Likeness(Part):
    """How alike two class rasters are.

    Attributes:
        miou: Mean of the classes' intersection over union; None where there is no pixel to compare.
        iou: By class name; None where neither has the class.
        pixels: Pixels whose class both know.
    """

    miou: Fraction | None
    iou: dict[str, Fraction | None]
    pixels: Annotated[int, Field(ge=0)]


class AgainstBoth(Part):
    """A model on ground that was annotated twice.

    Attributes:
        first: Against the first annotation.
        second: Against the second one, on the same pixels.
    """

    first: Likeness
    second: Likeness


class Agreement(Part):
    """What two annotations of the same ground agree on: no model can be told to be better than that.

    Attributes:
        first: The annotation that the configuration trains or judges with.
        second: The other one.
        annotators: The one against the other, on all pixels that both know.
        splits: Pixels of that ground by the split that they lie in.
        model: The model against each of them, by split; never on split train, which the model knows.
    """

    first: Text
    second: Text
    annotators: Likeness
    splits: dict[Slug, Annotated[int, Field(ge=0)]]
    model: dict[Slug, AgainstBoth] = Field(default_factory=dict)


class Intended(Part):
    """What a model is meant for, in its author's words.

    Attributes:
        ground_resolution_m: Least and greatest ground length of a scene's pixel; None where it is not said.
        places: Where.
        not_for: What it is no good for.
        notes: What else there is to say.
    """

    ground_resolution_m: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None = None
    places: Text | None = None
    not_for: tuple[Text, ...] = ()
    notes: Text | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.ground_resolution_m is not None and self.ground_resolution_m[0] > self.ground_resolution_m[1]:
            raise ValueError(f"ground_resolution_m: expected least, greatest, got {self.ground_resolution_m}")
        return self
