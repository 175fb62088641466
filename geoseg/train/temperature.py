"""Temperature scaling: one number by which logits are divided, so that probabilities mean what they say.

Guo et al. 2017, On calibration of modern neural networks, section 4.2: the temperature that minimizes the negative
log likelihood of a validation set. It changes no order among a pixel's classes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar

from geoseg.io.mosaic import PROBABILITY_SCALE
from geoseg.labels import NODATA_CLASS
from geoseg.train.logits import LogitSample
from geoseg.train.losses.pixels import BinaryCrossEntropy, CrossEntropy
from geoseg.train.metrics import figures
from geoseg.train.metrics.calibration import Reliability, expected_calibration_error

LEAST, GREATEST = 0.05, 20.0
"""Temperatures that are tried."""

_AT_ONCE = 2**16
_AT_LIMIT = 1.01
"""What is this near to a limit, as a factor, is at it."""


@dataclass(frozen=True, slots=True)
class Temperature:
    """What was fitted.

    Attributes:
        value: What logits are to be divided by, from `LEAST` to `GREATEST`; 1 where the labels decide nothing.
        note: Why it is 1 nevertheless; None where it was decided.
    """

    value: float
    note: str | None = None


def negative_log_likelihood(sample: LogitSample, temperature: float = 1.0) -> float:
    """The mean cost of what is known, as the losses of training see it, of logits divided by a temperature.

    Of exclusive classes -log of the probability of the candidates, a mean over pixels (a pixel of one candidate has
    the usual cross-entropy, the rest of a partly labelled data set the marginal one); of sigmoid heads the binary
    cross-entropy, a mean over the known pairs of a pixel and a class.

    Args:
        sample: Logits and labels.
        temperature: Positive.

    Returns:
        In float64; NaN without pixels.
    """
    term = BinaryCrossEntropy() if sample.activation == "sigmoid" else CrossEntropy()
    cost = count = 0.0
    for part in _parts(sample):
        target = sample.target(part)
        logits_nkhw = sample.logits_nk[part].double().T[None, :, None] / temperature
        cost += float(term.costs(logits_nkhw, target).sum())
        count += float(term.counts(target).sum())
    return cost / count if count else math.nan


def calibration_error(sample: LogitSample, temperature: float = 1.0) -> float | None:
    """The expected calibration error of logits divided by a temperature, of confidences as maps store them.

    As `geoseg.train.metrics.tally.Tally` counts it: pixels of known class where classes exclude each other, else
    known pairs of a pixel and a class; but of single tiles, which maps blend where they overlap.

    Args:
        sample: Logits and labels.
        temperature: Positive.

    Returns:
        From 0 to 1; None without a pixel of known class.
    """
    reliability = Reliability.zero()
    for part in _parts(sample):
        logits_nk, target = sample.logits_nk[part] / temperature, sample.target(part)
        probability_nk = logits_nk.sigmoid() if sample.activation == "sigmoid" else logits_nk.softmax(1)
        stored_nk = (probability_nk * PROBABILITY_SCALE).round().to(torch.uint8)
        if sample.overlapping:
            known_nk, there_nk = target.known_nkhw[0, :, 0].T, target.truth_nkhw[0, :, 0].T > 0
            reliability += Reliability.of(stored_nk[known_nk].numpy(), there_nk[known_nk].numpy())
            continue
        ids_n = target.ids_nhw[0, 0]
        known_n, right_n = ids_n != NODATA_CLASS, logits_nk.argmax(1) == ids_n
        reliability += Reliability.of(stored_nk.amax(1)[known_n].numpy(), right_n[known_n].numpy())
    return figures.number(expected_calibration_error(reliability.counts))


def fit_temperature(sample: LogitSample) -> Temperature:
    """The temperature that minimizes `negative_log_likelihood`; it is never above that of the logits as they are.

    Found by Brent's method on its logarithm (`scipy.optimize.minimize_scalar`, bounded). Labels on which the
    likelihood goes on rising up to a limit decide no temperature: where every pixel is right, the surest answer is
    the likeliest, and a pixel elsewhere would be sure, too. Then it is 1, and the note says so.

    Args:
        sample: Logits and labels, of ground that was not trained on.

    Raises:
        ValueError: The sample holds no pixel.
    """
    if not sample.pixels:
        raise ValueError("expected labelled pixels to fit a temperature on, got none")
    found = minimize_scalar(
        lambda log: negative_log_likelihood(sample, math.exp(log)),
        bounds=(math.log(LEAST), math.log(GREATEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    value = math.exp(found.x)
    if value < LEAST * _AT_LIMIT:
        return Temperature(1.0, f"undecided: nearly every pixel is right, the likelihood rises down to {LEAST:g}")
    if value > GREATEST / _AT_LIMIT:
        return Temperature(1.0, f"undecided: answers tell nothing there, the likelihood rises up to {GREATEST:g}")
    if not found.fun < negative_log_likelihood(sample):
        return Temperature(1.0)
    return Temperature(value)


def _parts(sample: LogitSample) -> Iterator[slice]:
    """Pixels in pieces, for the memory."""
    return (slice(start, start + _AT_ONCE) for start in range(0, sample.pixels, _AT_ONCE))
