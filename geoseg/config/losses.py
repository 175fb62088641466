"""What a training run makes small: the loss terms, their weights and their parameters."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from geoseg.config.sections import NotNegative, Positive, Section
from geoseg.labels import Activation


class TermConfig(Section):
    """A loss term; a number in place of its keys is its weight.

    Attributes:
        weight: Of the term in the sum; 0 leaves it out.
    """

    weight: NotNegative = 1.0


class FocalConfig(TermConfig):
    """The focal loss (Lin et al. 2017).

    Attributes:
        gamma: How much less pixels count that are right already; 0 is cross-entropy.
        alpha: Of sigmoid heads: weight of what is there, 1 - alpha of what is not; null weighs both alike.
    """

    gamma: NotNegative = 2.0
    alpha: Annotated[float, Field(ge=0, le=1)] | None = None


class TopKConfig(TermConfig):
    """Cross-entropy of the hardest pixels.

    Attributes:
        share: Of the known pixels of each image, from above 0 to 1.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 0.3


class TverskyConfig(TermConfig):
    """The Tversky loss (Salehi et al. 2017).

    Attributes:
        alpha: Weight of false positives.
        beta: Weight of false negatives.
    """

    alpha: NotNegative = 0.3
    beta: NotNegative = 0.7

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if self.alpha + self.beta == 0:
            raise ValueError("expected alpha or beta above 0, got 0 for both: no error would cost anything")
        return self


class AsymmetricConfig(TermConfig):
    """The asymmetric similarity loss (Hashemi et al. 2018).

    Attributes:
        beta: Above 1 a pixel that is missed costs more than one too many.
    """

    beta: Positive = 1.5


class HausdorffConfig(TermConfig):
    """The Hausdorff-distance loss (Karimi and Salcudean 2019).

    Attributes:
        exponent: Of distances, in pixels.
    """

    exponent: Positive = 2.0


def _weight_or_keys(given: object) -> object:
    return {"weight": given} if isinstance(given, int | float) else given


def _or_weight(term: type[TermConfig]) -> BeforeValidator:
    return BeforeValidator(_weight_or_keys, json_schema_input_type=term | float | None)


Plain = Annotated[TermConfig | None, _or_weight(TermConfig)]
"""A term without parameters, or none."""

_DEFAULT = {"cross_entropy": 1.0, "dice": 1.0}
_OF_ALL = ("class_weights", "label_smoothing")
_OF_OBJECTS = {"heat": 200.0, "offset": 0.01}
"""Terms on objects, with their weights where none is said (Cheng et al. 2020, Panoptic-DeepLab, section 4)."""


class LossConfig(Section):
    """The loss: terms by name, added up with their weights; cross_entropy and dice where none is named.

    Attributes:
        cross_entropy: Of softmax heads.
        binary_cross_entropy: Of sigmoid heads.
        focal: Less weight for what is right already.
        top_k: The hardest pixels alone.
        dice: Overlap, per image and class.
        generalised_dice: Overlap of all classes together, small ones weighing more.
        iou: Intersection over union, softened.
        tversky: Overlap with weights for false positives and false negatives.
        asymmetric: Overlap as the F-beta score.
        lovasz: The convex extension of intersection over union.
        boundary: Distance to the true boundary; only together with a term on overlap or pixels.
        hausdorff: Errors weighed by their distances from boundaries; likewise.
        heat: Of models that tell objects apart: the squared error of the heat map of their centres; 200 where it is
            not named.
        offset: Likewise: the absolute error of the ways to the centres, in pixels; 0.01 where it is not named.
        class_weights: Of cross_entropy, binary_cross_entropy and focal: "inverse_frequency", or a number for each
            class; null weighs all alike.
        label_smoothing: Of cross_entropy and binary_cross_entropy: what part of a label is spread over all classes.
    """

    cross_entropy: Plain = None
    binary_cross_entropy: Plain = None
    focal: Annotated[FocalConfig | None, _or_weight(FocalConfig)] = None
    top_k: Annotated[TopKConfig | None, _or_weight(TopKConfig)] = None
    dice: Plain = None
    generalised_dice: Plain = None
    iou: Plain = None
    tversky: Annotated[TverskyConfig | None, _or_weight(TverskyConfig)] = None
    asymmetric: Annotated[AsymmetricConfig | None, _or_weight(AsymmetricConfig)] = None
    lovasz: Plain = None
    boundary: Plain = None
    hausdorff: Annotated[HausdorffConfig | None, _or_weight(HausdorffConfig)] = None
    heat: Plain = None
    offset: Plain = None
    class_weights: Literal["inverse_frequency"] | tuple[Positive, ...] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _default(cls, given: object) -> object:
        if isinstance(given, dict) and set(given) <= {*_OF_ALL, *_OF_OBJECTS}:
            return {**_DEFAULT, **given}
        return given

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if not self._of_classes:
            raise ValueError("expected a term with a weight above 0, got none: nothing would be learned")
        return self

    @property
    def terms(self) -> dict[str, TermConfig]:
        """The terms that count, by name."""
        named = {name: getattr(self, name) for name in type(self).model_fields if name not in _OF_ALL}
        return {name: term for name, term in named.items() if term is not None and term.weight > 0}

    def terms_of(self, *, instances: bool) -> dict[str, TermConfig]:
        """The terms that count for a model, by name.

        Args:
            instances: Whether it tells objects apart: it learns that also where no term on objects is named.
        """
        if not instances:
            return self._of_classes
        said = {name: getattr(self, name) or TermConfig(weight=weight) for name, weight in _OF_OBJECTS.items()}
        return self._of_classes | {name: term for name, term in said.items() if term.weight > 0}

    @property
    def _of_classes(self) -> dict[str, TermConfig]:
        return {name: term for name, term in self.terms.items() if name not in _OF_OBJECTS}

    @property
    def lacks_overlap(self) -> bool:
        """Whether distances are all that counts: they are least where small classes vanish."""
        return set(self._of_classes) <= {"boundary", "hausdorff"}

    def check_heads(self, heads: Activation, classes: int, *, instances: bool = False) -> None:
        """Refuse terms and weights that do not go with the model.

        Args:
            heads: The model's activation.
            classes: How many classes it has.
            instances: Whether it tells objects apart.

        Raises:
            ValueError: Names the key, and what to write.
        """
        for name in _OF_OBJECTS:
            if getattr(self, name) is not None and not instances:
                raise ValueError(
                    f"training.loss.{name}: it is for networks that tell objects apart, expected none: remove it, "
                    "or set architecture.instances: true"
                )
        if heads == "sigmoid" and "cross_entropy" in self.terms:
            raise ValueError(
                "training.loss: cross_entropy is for softmax heads, the model has sigmoid heads; write "
                "loss: {binary_cross_entropy: 1, dice: 1}"
            )
        if heads == "softmax" and "binary_cross_entropy" in self.terms:
            raise ValueError(
                "training.loss: binary_cross_entropy is for sigmoid heads, the model has softmax heads; write "
                "cross_entropy, or architecture.heads: sigmoid"
            )
        if heads == "softmax" and self.focal is not None and self.focal.alpha is not None:
            raise ValueError("training.loss.focal.alpha: it is for sigmoid heads; write class_weights instead")
        if isinstance(self.class_weights, tuple) and len(self.class_weights) != classes:
            raise ValueError(
                f"training.loss.class_weights: expected {classes} numbers, one for each class, got "
                f"{len(self.class_weights)}"
            )

    @model_serializer(mode="wrap")
    def _brief(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # As a user would write it: weights alone are numbers, what is not used is left out.
        values = dump(self)
        brief: dict[str, Any] = {
            name: values[name]["weight"] if set(values[name]) == {"weight"} else values[name] for name in self.terms
        }
        # A term on objects that is not named has its usual weight: that it has none is to be said.
        brief |= {name: 0.0 for name in _OF_OBJECTS if getattr(self, name) is not None and name not in self.terms}
        brief |= {"class_weights": self.class_weights} if self.class_weights is not None else {}
        return brief | ({"label_smoothing": self.label_smoothing} if self.label_smoothing else {})
