"""What a model's card says of its quality and its purpose, in lines for people."""

from collections.abc import Iterator

from geoseg.models.card import Card
from geoseg.models.quality import Agreement, Calibration, Intended, Likeness, SplitMetrics


def quality_lines(card: Card) -> Iterator[tuple[str, str]]:
    """Scores with their intervals, calibration, annotators' agreement, and what the model is meant for.

    Args:
        card: Of any age: what it does not say is left out.
    """
    for split, metrics in card.metrics.items():
        yield "quality", _metrics_line(split, metrics)
    if card.calibration is not None:
        for number, line in enumerate(calibration_lines(card.calibration)):
            yield "sureness" if number == 0 else "", line
    if card.agreement is not None:
        for number, line in enumerate(_agreement_lines(card.agreement)):
            yield "labels" if number == 0 else "", line
    if card.intended is not None:
        yield from _intended_lines(card.intended)


def calibration_lines(calibration: Calibration) -> tuple[str, ...]:
    """A calibration in words: the temperature, then the error on each split."""
    lines = [f"temperature {calibration.temperature:.3f}, fitted on {calibration.fitted_on}"]
    for split, one in calibration.splits.items():
        before, after = (
            "-" if error is None else format(error, ".3f") for error in (one.ece_before, one.ece_after)
        )
        lines.append(f"calibration error on {split}: {before} before, {after} after ({one.pixels} px)")
    return (*lines, *(() if calibration.note is None else (calibration.note,)))


def with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    """A score with its interval, where it has one: "0.612 (0.571 to 0.650)"."""
    if value is None:
        return "-"
    return f"{value:.3f}" if interval is None else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def resolution_words(limits: tuple[float, float]) -> str:
    """Least and greatest ground length of a pixel: "0.3 to 1 m"; one number where they are equal."""
    low, high = limits
    return f"{low:g} m" if low == high else f"{low:g} to {high:g} m"


def _metrics_line(split: str, metrics: SplitMetrics) -> str:
    ious = ", ".join(
        f"{name} {with_interval(iou, metrics.iou_intervals.get(name))}" for name, iou in metrics.iou.items()
    )
    ece = "" if metrics.ece is None else f", calibration error {metrics.ece:.3f}"
    miou = with_interval(metrics.miou, metrics.miou_interval)
    return f"{split}: mIoU {miou}; {ious}; on {metrics.pixels} px{ece}"


def _agreement_lines(agreement: Agreement) -> Iterator[str]:
    places = ", ".join(f"{count} px in {split}" for split, count in agreement.splits.items())
    words = _likeness_words(agreement.annotators)
    yield f"two annotators agree to {words}: {agreement.first} and {agreement.second}; {places or 'no split'}"
    for split, one in agreement.model.items():
        yield f"the model there, on {split}: {_likeness_words(one.first)} against the first"
        yield f"the model there, on {split}: {_likeness_words(one.second)} against the second"


def _likeness_words(likeness: Likeness) -> str:
    ious = ", ".join(f"{name} {with_interval(iou, None)}" for name, iou in likeness.iou.items())
    return f"mIoU {with_interval(likeness.miou, None)} ({ious})"


def _intended_lines(intended: Intended) -> Iterator[tuple[str, str]]:
    if intended.ground_resolution_m is not None:
        yield "purpose", f"a ground resolution of {resolution_words(intended.ground_resolution_m)}"
    if intended.places is not None:
        yield "purpose", intended.places
    for one in intended.not_for:
        yield "not for", one
    if intended.notes is not None:
        yield "notes", intended.notes
