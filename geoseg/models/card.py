"""The card of a model package: what a model is, what it expects, what it tells apart, and how well."""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, JsonValue, StringConstraints, model_validator

from geoseg.imagery import Imagery
from geoseg.labels import Activation, LabelClass, LabelSet
from geoseg.models.architecture import Architecture
from geoseg.models.card_part import Part, Slug, Text, without
from geoseg.models.quality import Agreement, Calibration, Intended, SplitMetrics
from geoseg.objects.grouping import Grouping

__all__ = [
    "FORMAT_VERSION",
    "Agreement",
    "Calibration",
    "Card",
    "CardDraft",
    "Intended",
    "SplitMetrics",
    "TileDefaults",
    "WeightsDtype",
    "WeightsFile",
]

FORMAT_VERSION: Literal[1] = 1
"""The version of the package format that is written and read."""

_LATER = {
    "activation": "softmax",
    "overlapping": False,
    "calibration": None,
    "agreement": None,
    "intended": None,
    "grouping": None,
}
"""Keys that older cards did not know, at their defaults."""

WeightsDtype = Literal["float16", "float32"]
"""Number format of stored weights."""


class TileDefaults(Part):
    """How large a piece the network is given at once, unless the user says otherwise.

    Attributes:
        size_px: Side of a square tile.
        overlap_px: What neighbouring tiles share.
    """

    size_px: Annotated[int, Field(ge=8, le=8192)]
    overlap_px: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.overlap_px >= self.size_px:
            raise ValueError(f"expected an overlap below the size of {self.size_px} px, got {self.overlap_px} px")
        return self


class WeightsFile(Part):
    """What `weights.safetensors` must be.

    Attributes:
        sha256: Of the file, in hexadecimal.
        bytes: Size of the file.
        dtype: Number format of its tensors.
    """

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(gt=0)]
    dtype: WeightsDtype


class CardDraft(Part):
    """A card before the weights are written: all that the author of a model says.

    Attributes:
        name: The model's name, a slug.
        description: What it is for, in a line.
        architecture: The network.
        imagery: The pixels that it expects.
        classes: What it tells apart, by class id.
        tile: Defaults of `geoseg map`.
        activation: What makes probabilities of the network's answers.
        overlapping: Whether a pixel may be of several classes; for sigmoid only.
        metrics: Measured quality by split ("train", "validation", "test").
        training: How it was trained; free-form.
        licence: Of the weights, as an SPDX identifier or in words.
        attribution: Whose data and weights it stands on.
        calibration: Of its probabilities; None where they are as training left them.
        agreement: Of two annotators, as a ceiling for the scores; None where it was not measured.
        intended: What it is meant for; None where nobody said.
        grouping: How pixels are grouped around the centres of a network with an instance branch; None for the usual
            way.
    """

    name: Slug
    description: Text
    architecture: Architecture
    imagery: Imagery
    classes: tuple[LabelClass, ...]
    tile: TileDefaults
    activation: Activation = "softmax"
    overlapping: bool = False
    metrics: dict[Slug, SplitMetrics]
    training: dict[str, JsonValue]
    licence: Text
    attribution: tuple[Text, ...]
    calibration: Calibration | None = None
    agreement: Agreement | None = None
    intended: Intended | None = None
    grouping: Grouping | None = None

    @property
    def labels(self) -> LabelSet:
        """The classes as a set with ids."""
        return LabelSet(self.classes)

    @model_validator(mode="after")
    def _check(self) -> Self:
        labels, bands = self.labels, self.imagery.bands
        if len(labels) != self.architecture.classes:
            raise ValueError(f"the network has {self.architecture.classes} classes, the card {len(labels)}")
        if len(bands) != self.architecture.bands:
            raise ValueError(f"the network has {self.architecture.bands} bands, the imagery {len(bands)}")
        if not all(band and band.isprintable() for band in bands):
            raise ValueError(f"expected printable band names, got {bands!r}")
        if self.overlapping and self.activation != "sigmoid":
            raise ValueError(f"overlapping classes need the activation sigmoid, got {self.activation}")
        things = [self.classes[class_id].kind == "thing" for class_id, _ in labels.layers]
        if self.architecture.instances and (self.overlapping or not any(things)):
            raise ValueError(
                "a network with an instance branch needs a class of kind thing with a layer, and classes that do "
                "not overlap"
            )
        if self.grouping is not None and not self.architecture.instances:
            raise ValueError("grouping is for networks with an instance branch, this one has none")
        dtype = np.dtype(self.imagery.dtype)
        if dtype.kind not in "uif" or dtype.name != self.imagery.dtype:
            raise ValueError(f"expected a data type such as uint8, uint16, float32, got {self.imagery.dtype!r}")
        for split, metrics in self.metrics.items():
            if set(metrics.iou) != set(labels.names):
                raise ValueError(
                    f"expected metrics.{split}.iou of {', '.join(labels.names)}, got {list(metrics.iou)}"
                )
        json.dumps(self.training, allow_nan=False)
        return self


class Card(CardDraft):
    """The card of a package on disk.

    Attributes:
        format_version: Of the package format.
        weights: What the weights file must be.
    """

    format_version: Literal[1]
    weights: WeightsFile

    @property
    def identity(self) -> str:
        """A sha256, in hexadecimal, of all that a map made with the model depends on.

        It covers the weights, the architecture, the imagery and the classes; not the description, the
        metrics, the licence, or the tile defaults (a run records the tiles it used).
        """
        matters = _brief(self.model_dump(mode="json", include={"architecture", "imagery", "classes", "activation"}))
        matters["weights"] = self.weights.sha256
        canonical = json.dumps(matters, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_json(self) -> str:
        """The text of `card.json`."""
        values = _brief(self.model_dump(mode="json"))
        versioned = {"format_version": values.pop("format_version"), **values}
        return json.dumps(versioned, indent=2, allow_nan=False) + "\n"


_LATER_IN_ARCHITECTURES = {
    "output_stride": 16,
    "separable": False,
    "decoder_stride": 1,
    "normalization": "batch",
    "instances": False,
}


def _brief(values: dict[str, Any]) -> dict[str, Any]:
    """A dumped card without what was added later where it is at its default.

    So a network that does without it has the card, and the identity, that it always had.
    """
    architecture = without(values["architecture"], _LATER_IN_ARCHITECTURES)
    return {**without(values, _LATER), "architecture": architecture}
