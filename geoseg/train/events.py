"""Events of a training for TensorBoard, where it is installed (`pip install geoseg[tensorboard]`)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from geoseg.errors import GeosegError
from geoseg.train.steps import Step

WriteStep = Callable[[Step, float | None], None]
"""Takes an iteration, and samples a second or None."""


@contextmanager
def events_writer(folder: Path | None, class_names: tuple[str, ...]) -> Iterator[WriteStep]:
    """Give a function that writes an iteration's figures as events.

    Loss, learning rate and samples a second of every iteration; mean IoU and the IoU of each class of every
    validation. A run that is resumed hides what an earlier part wrote for the iterations that are done again.

    Args:
        folder: Where; None writes nothing.
        class_names: By class id.

    Raises:
        GeosegError: TensorBoard is not installed.
    """
    if folder is None:
        yield lambda _step, _samples_per_s: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # optional, and slow to load
    except ImportError as error:
        raise GeosegError(
            "--tensorboard needs the package tensorboard: pip install 'geoseg[tensorboard]', or read log.csv"
        ) from error
    opened: list[SummaryWriter] = []

    def write(step: Step, samples_per_s: float | None) -> None:
        if not opened:
            opened.append(SummaryWriter(str(folder), purge_step=step.iteration))
        for name, value in _scalars(step, samples_per_s, class_names):
            opened[0].add_scalar(name, value, step.iteration)

    try:
        yield write
    finally:
        for writer in opened:
            writer.close()


def _scalars(step: Step, samples_per_s: float | None, class_names: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    yield "train/loss", step.loss
    yield "train/lr", step.lr
    if samples_per_s is not None:
        yield "train/samples_per_s", samples_per_s
    if step.validation is None:
        return
    miou = step.validation.miou()
    if miou is not None:
        yield "val/miou", miou
    for name, iou in zip(class_names, step.validation.iou(), strict=True):
        if iou is not None:
            yield f"val/iou/{name}", iou
