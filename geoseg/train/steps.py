"""What a training loop reports of each iteration."""

from dataclasses import dataclass

from geoseg.train.metrics import Confusion


@dataclass(frozen=True, slots=True)
class Step:
    """An iteration that is done.

    Attributes:
        iteration: Iterations done, from 1.
        iterations: Length of the run.
        lr: Learning rate of this iteration.
        loss: Loss of this iteration.
        validation: Counts on the validation regions, if this iteration was followed by a validation.
        seconds: Since the run began, without earlier parts of a resumed run.
        samples_per_s: Crops per second so far, time for validations and checkpoints left out.
    """

    iteration: int
    iterations: int
    lr: float
    loss: float
    validation: Confusion | None
    seconds: float
    samples_per_s: float = 0.0
