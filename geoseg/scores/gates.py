"""Least figures: what the user asks for, and whether the scores reach it; of runs and of models."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from geoseg.errors import GeosegError

_HIGHER_IS_BETTER = ("iou", "miou", "precision", "recall", "f1", "ap_", "apls", "boundary_", "completeness")
_MORE = ("correctness", "quality")
_GROUPS = ("areas", "objects", "lines", "panoptic")
_PANOPTIC = ("pq", "sq", "rq", "ap_50", "ap_50_95")
_OF_ALL = {
    "pq": ("all", "pq"),
    "sq": ("all", "sq"),
    "rq": ("all", "rq"),
    "pq_things": ("things", "pq"),
    "pq_stuff": ("stuff", "pq"),
    "ap50": ("things", "ap_50"),
    "ap": ("things", "ap_50_95"),
}
"""Figures over all classes, by names without a class, and where the panoptic scores hold them."""

_LOWER_IS_BETTER = ("ece",)


def parse_gates(given: Sequence[str]) -> dict[str, float]:
    """Least values by the name of a figure, from NAME=VALUE each.

    Raises:
        GeosegError: One is not of this form, or a name comes twice.
    """
    least: dict[str, float] = {}
    for text in given:
        name, _, value = text.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            name = ""
        if not name or not 0 <= number <= 1:
            raise GeosegError(
                f"expected --fail-under NAME=VALUE from 0 to 1 such as building.objects.f1=0.7, got {text}"
            )
        if name in least:
            raise GeosegError(f"expected one --fail-under for each figure, got several for {name}")
        least[name] = number
    return least


def check_classes(least: Mapping[str, float], class_names: Sequence[str]) -> None:
    """Refuse names of figures that no labels could give, before anything is scored.

    Args:
        least: By name, from `parse_gates`.
        class_names: Of the run.

    Raises:
        GeosegError: A name is neither `miou`, one of the panoptic figures over all classes, nor that of a class, a
            group of figures and a figure of which more is better.
    """
    for name, bound in least.items():
        if name == "miou" or name in _OF_ALL:
            continue
        if not name.rpartition(".")[2].startswith((*_HIGHER_IS_BETTER, *_MORE, *_PANOPTIC)):
            raise GeosegError(
                f"--fail-under {name}={bound:g}: expected a figure of which more is better, such as miou, pq, "
                "ap50, building.areas.iou, building.objects.ap_50 or road.lines.apls"
            )
        class_name, _, rest = name.partition(".")
        group, _, figure = rest.partition(".")
        if class_name not in class_names or group not in _GROUPS or not figure:
            raise GeosegError(
                f"--fail-under {name}: expected a figure of miou, {', '.join(_OF_ALL)} or CLASS.GROUP.FIGURE, "
                f"with a class of {', '.join(class_names)} and a group of {', '.join(_GROUPS)}, got {name}"
            )


def check_model_figures(least: Mapping[str, float], names: Sequence[str]) -> None:
    """Refuse names of figures that the evaluation of a model does not give, before anything is predicted.

    Args:
        least: By name, from `parse_gates`.
        names: Of all figures, such as "miou" and "building.iou".

    Raises:
        GeosegError: A name is none of them; it names the nearest.
    """
    for name in least:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {nearest[0]}? There are {', '.join(names)}" if nearest else ", ".join(names)
            raise GeosegError(f"--fail-under {name}: expected a figure of a model, got {name}: {hint}")


def figures_of(classes: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """All figures that can be asked for, by names such as `building.objects.f1`, with their values."""
    for class_name, groups in classes.items():
        for group, figures in groups.items():
            for name, value in figures.items():
                if name.startswith((*_HIGHER_IS_BETTER, *_MORE)):
                    yield f"{class_name}.{group}.{name}", value


def missed_gates(document: Mapping[str, Any], least: Mapping[str, float]) -> list[str]:
    """What does not reach its least value, in words; a figure without a value does not.

    Args:
        document: The scores, as `geoseg evaluate --json` prints them.
        least: By name, from `parse_gates`.

    Raises:
        GeosegError: A figure is not among those of the document, nor could it be of a class in it.
    """
    values = {"miou": document["miou"], **dict(figures_of(document["classes"])), **_panoptic(document["panoptic"])}
    for name in least:
        if name not in values and name.partition(".")[0] not in document["not_scored"]:
            raise GeosegError(f"--fail-under {name}: expected a figure of {', '.join(values)}, got {name}")
    return missed(values, least)


def _panoptic(document: Mapping[str, Any] | None) -> dict[str, float | None]:
    """Panoptic figures by the names that are asked for; those over all classes are there without a value too."""
    if document is None:
        return dict.fromkeys(_OF_ALL)
    of_all = {name: document[group][figure] for name, (group, figure) in _OF_ALL.items()}
    of_classes = {
        f"{class_name}.panoptic.{figure}": figures[figure]
        for class_name, figures in document["classes"].items()
        for figure in _PANOPTIC
        if figure in figures
    }
    return of_all | of_classes


def missed(values: Mapping[str, float | None], least: Mapping[str, float]) -> list[str]:
    """What does not reach its bound, in words; a figure without a value does not.

    Args:
        values: By name.
        least: By name, from `parse_gates`; of `ece`, of which less is better, the most that it may be.
    """
    words = []
    for name, bound in least.items():
        value, lower = values.get(name), name in _LOWER_IS_BETTER
        expected = f"expected at {'most' if lower else 'least'} {bound:g}"
        if value is None:
            words.append(f"{name} has no value, {expected}")
        elif value > bound if lower else value < bound:
            words.append(f"{name} is {value:.4f}, {expected}")
    return words
