"""One iteration: the gradient of one or several batches, and a step of the optimizer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from geoseg.errors import GeosegError, StoppedError
from geoseg.train.batch import Batch
from geoseg.train.candidates import Candidates
from geoseg.train.ema import Ema
from geoseg.train.finite import explain_gradient, explain_loss
from geoseg.train.freeze import Frozen
from geoseg.train.losses import Loss
from geoseg.train.memory import fitting_batch, is_out_of_memory, release
from geoseg.train.objective import Answers
from geoseg.train.recipe import Recipe
from geoseg.train.team import ALONE, Team

_HALF = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

_LEAST_SCALE = 2.0**-14
"""fp16's scale of gradients halves with each gradient that is not finite; where it ends up here, they never are."""


@dataclass(frozen=True, slots=True, eq=False)
class Stepper:
    """A network, and all that a step changes besides.

    Attributes:
        model: On the device.
        optimizer: Of its weights that learn.
        scaler: Of fp16's gradients; does nothing under other precisions.
        ema: The average of the weights, if one is kept.
        frozen: Parts that stay as they are.
        loss: What is minimized.
        candidates: The meaning of labels.
        recipe: Precision, clipping, and how many batches there are.
        device: Where the model is.
        team: The workers whose crops make up an iteration together.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: Ema | None
    frozen: Frozen
    loss: Loss
    candidates: Candidates
    recipe: Recipe
    device: torch.device
    team: Team = ALONE

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept: the average where there is one."""
        return self.model if self.ema is None else self.ema.model

    def step(self, batches: Sequence[Batch], number: int) -> float:
        """Do an iteration; returns its loss, the team's.

        The gradient is that of one batch of all crops of all workers, to rounding, but for what the network
        computes over a batch (batch statistics): each term of the loss is divided by its denominator over all
        batches.

        Args:
            batches: `accumulate` of them, this worker's.
            number: Of the iteration, from 1, for messages.

        Raises:
            GeosegError: The loss or the gradient is not finite; names the crops and the cause, on all workers.
            StoppedError: Memory does not suffice; says which batch would fit.
        """
        try:
            return self._step(batches, number)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Here, after the error and all that it held on to are gone, memory is as it was before the step.
        raise StoppedError(self._too_large(batches[0]))

    def _step(self, batches: Sequence[Batch], number: int) -> float:
        self.model.train()
        self.frozen.hold()
        self.optimizer.zero_grad(set_to_none=True)
        value = self._backward(batches, number)
        self._add_up(batches, number)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.is_enabled() and self.scaler.get_scale() < _LEAST_SCALE:
            raise GeosegError(
                f"expected finite gradients in fp16, got none up to iteration {number}: train with "
                "training.precision bf16 or fp32"
            )
        if self.ema is not None:
            self.ema.update(self.model)
        return value

    def _backward(self, batches: Sequence[Batch], number: int) -> float:
        """Add up the gradients of this worker's batches; returns the loss of all workers."""
        # Labels on the device are dear; those of several batches are made twice rather than kept.
        kept = [Answers.of(batch, self.candidates, self.device) for batch in batches[:1]]
        denominators = kept[0].denominators(self.loss)
        for batch in batches[1:]:
            denominators = denominators + Answers.of(batch, self.candidates, self.device).denominators(self.loss)
        denominators = self.team.sum(denominators)
        value, cause = 0.0, None
        for batch in batches:
            answers = kept.pop() if kept else Answers.of(batch, self.candidates, self.device)
            logits_nkhw = self._forward(batch)
            part = self.loss.value(answers.numerators(self.loss, logits_nkhw), denominators)
            value += part.item()
            if not math.isfinite(value):
                cause = explain_loss(value, number, batch, logits_nkhw.detach())
                break
            torch.autograd.backward(self.scaler.scale(part))
        # A loss that is not finite makes the sum so: all workers stop at the same place.
        total = self.team.sum(torch.tensor(value, dtype=torch.float64, device=denominators.device)).item()
        if not math.isfinite(total):
            raise GeosegError(self._first(cause) or f"expected a finite loss, got {total} at iteration {number}")
        return total

    def _first(self, cause: str | None) -> str | None:
        """What the first worker with a cause says."""
        return next((one for one in self.team.gather(cause) if one is not None), None)

    def _forward(self, batch: Batch) -> Tensor:
        """Logits (image, class, row, column) of a batch."""
        inputs_nchw = torch.from_numpy(batch.images_nchw).to(self.device, memory_format=torch.channels_last)
        half = _HALF[self.recipe.precision]
        with torch.autocast(self.device.type, half, enabled=half is not None):
            return self.model(inputs_nchw)

    def _add_up(self, batches: Sequence[Batch], number: int) -> None:
        """Sum the gradients over the team, and shorten a long one (Pascanu et al. 2013, algorithm 1)."""
        learning = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        limit = self.recipe.clip_norm
        # Of a sum that is not finite nobody could tell any more whose it is.
        sound = limit is None or self.team.size == 1 or _are_finite(learning)
        self.team.sum_gradients(learning)
        if limit is None:
            return
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(learning, limit).item()
        # Under fp16 such a step is skipped, and the scale halved: that is its way to find the scale.
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            cause = explain_gradient(norm, number, batches)
            own = None if self.team.size > 1 and sound else cause
            raise GeosegError(self._first(own) or cause)

    def _too_large(self, batch: Batch) -> str:
        """Which batch would fit, found by doing steps with fewer crops; the network is of no use afterwards."""
        self.optimizer.zero_grad(set_to_none=True)
        crops, crop_px = batch.images_nchw.shape[0], batch.images_nchw.shape[-1]
        alone = replace(self, team=ALONE)  # the others may have had room enough, and do not take part

        def attempt(fewer: int) -> None:
            alone._step([batch.first(fewer)], 0)  # noqa: SLF001  # the same class

        fits = fitting_batch(attempt, crops)
        self.optimizer.zero_grad(set_to_none=True)
        release()
        words = f"out of memory on {self.device} with a batch of {crops} crops of {crop_px} px"
        if fits is None:
            return f"{words}, and no smaller batch fits: lower training.crop_px or architecture.width"
        accumulate = math.ceil(crops * self.recipe.accumulate / fits)
        return (
            f"{words}: {fits} fit, found by halving; set training.batch to {fits} and training.accumulate to "
            f"{accumulate}, which adds their gradients up to the same batch, in a new output"
        )


def _are_finite(parameters: Sequence[nn.Parameter]) -> bool:
    """Whether all numbers of all gradients are finite."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return bool(torch.stack([gradient.isfinite().all() for gradient in gradients]).all())
