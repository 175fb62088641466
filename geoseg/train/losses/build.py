"""From a configuration's words to the loss."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.config.losses import (
    AsymmetricConfig,
    FocalConfig,
    HausdorffConfig,
    LossConfig,
    TermConfig,
    TopKConfig,
    TverskyConfig,
)
from geoseg.errors import ConfigError
from geoseg.labels import Activation
from geoseg.train.losses.centres import HeatError, OffsetError
from geoseg.train.losses.distances import Boundary, Hausdorff
from geoseg.train.losses.lovasz import LovaszHinge, LovaszSoftmax
from geoseg.train.losses.overlap import Dice, GeneralisedDice, Jaccard, Tversky
from geoseg.train.losses.pixels import BinaryCrossEntropy, CrossEntropy, SigmoidFocal, SoftmaxFocal, TopK
from geoseg.train.losses.total import Loss, Term


def build_loss(
    config: LossConfig,
    classes: int,
    activation: Activation = "softmax",
    weights_k: NDArray[np.float64] | None = None,
    *,
    instances: bool = False,
) -> Loss:
    """The loss that a configuration asks for.

    Args:
        config: Terms with weights and parameters.
        classes: How many the model has.
        activation: Of the model.
        weights_k: Weights of the classes (class,), wanted where `config.class_weights` is "inverse_frequency" (from
            `geoseg.train.losses.class_weights`); a list in the configuration is taken as it is.
        instances: Whether the model tells objects apart: there are terms on them, too.

    Raises:
        ConfigError: A term or the weights do not go with the model.
    """
    try:
        config.check_heads(activation, classes, instances=instances)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if isinstance(config.class_weights, tuple):
        weights_k = np.array(config.class_weights)
    if config.class_weights is not None and weights_k is None:
        raise ValueError("expected the weights of the classes, got none")
    weights = None if config.class_weights is None else torch.from_numpy(np.asarray(weights_k, np.float64))
    named = config.terms_of(instances=instances)
    terms = [
        _OF_OBJECTS[name]() if name in _OF_OBJECTS else _term(name, term, config, activation, weights)
        for name, term in named.items()
    ]
    return Loss(tuple(named), terms, [term.weight for term in named.values()])


_OF_ACTIVATION: dict[str, Callable[[Activation], Term]] = {
    "dice": Dice,
    "generalised_dice": GeneralisedDice,
    "iou": Jaccard,
    "boundary": Boundary,
}
"""Terms that need to know no more than the activation."""

_OF_OBJECTS: dict[str, Callable[[], Term]] = {"heat": HeatError, "offset": OffsetError}
"""Terms on objects."""


def _term(
    name: str, term: TermConfig, config: LossConfig, activation: Activation, weights_k: torch.Tensor | None
) -> Term:
    if name in _OF_ACTIVATION:
        return _OF_ACTIVATION[name](activation)
    if name == "lovasz":
        return LovaszSoftmax() if activation == "softmax" else LovaszHinge()
    match term:
        case TverskyConfig():
            return Tversky(activation, term.alpha, term.beta)
        case AsymmetricConfig():
            return Tversky.asymmetric(activation, term.beta)
        case HausdorffConfig():
            return Hausdorff(activation, term.exponent)
        case _:
            return _pixel_term(term, config.label_smoothing, activation, weights_k)


def _pixel_term(
    term: TermConfig, label_smoothing: float, activation: Activation, weights_k: torch.Tensor | None
) -> Term:
    match term, activation:
        case FocalConfig(), "softmax":
            return SoftmaxFocal(term.gamma, weights_k)
        case FocalConfig(), _:
            return SigmoidFocal(term.gamma, term.alpha, weights_k)
        case TopKConfig(), _:
            return TopK(term.share, activation == "sigmoid")
        # Which of the two a configuration names goes with its heads: that was checked.
        case _, "softmax":
            return CrossEntropy(weights_k, label_smoothing)
        case _:
            return BinaryCrossEntropy(weights_k, label_smoothing)
