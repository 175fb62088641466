"""What a command says of a training run, before its configuration file."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Values of a training run that go before those of its configuration; None leaves what stands there.

    Attributes:
        start_from: `start_from` of the configuration.
        epochs: `training.epochs`; in place of `training.iterations`, too.
        batch: `training.batch`.
        lr: `training.lr`.
        seed: `training.seed`.
    """

    start_from: str | None = None
    epochs: float | None = None
    batch: int | None = None
    lr: float | None = None
    seed: int | None = None

    def over(self, values: dict[str, Any]) -> dict[str, Any]:
        """A configuration as it was read, with these values in it; whether they fit is not looked at.

        Args:
            values: Stays as it is.
        """
        training = values.get("training")
        training = {} if training is None else training
        if not isinstance(training, dict):
            return values  # refused as it stands
        said = {"epochs": self.epochs, "batch": self.batch, "lr": self.lr, "seed": self.seed}
        said = {key: value for key, value in said.items() if value is not None}
        kept = {key: value for key, value in training.items() if not (key == "iterations" and "epochs" in said)}
        changed = {**values, "training": {**kept, **said}} if said else values
        return changed if self.start_from is None else {**changed, "start_from": self.start_from}


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Who trains besides this process.

    Attributes:
        number: Worker processes; None for this process alone, or one where an address or storage is named.
        address: A running Ray cluster ("auto", HOST:PORT); None for one of this machine's own.
        storage: Where checkpoints are kept, a folder or an address such as s3://bucket/path; by default beside the
            model.
    """

    number: int | None = None
    address: str | None = None
    storage: str | None = None

    @property
    def asked(self) -> bool:
        """Whether workers are wanted at all."""
        return any(value is not None for value in (self.number, self.address, self.storage))
