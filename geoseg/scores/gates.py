"""Least figures: what the user asks for, and whether the scores reach it; of runs and of models."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from geoseg.errors import GeosegError

_HIGHER_IS_BETTER = ("iou", "miou", "precision", "recall", "f1", "ap_", "apls", "boundary_", "completeness")
_MORE = ("correctness", "quality")
_GROUPS = ("areas", "objects", "lines")
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
        GeosegError: A name is neither `miou` nor that of a class, a group of figures and a figure of which more is
            better.
    """
    for name, bound in least.items():
        if not name.rpartition(".")[2].startswith((*_HIGHER_IS_BETTER, *_MORE)):
            raise GeosegError(
                f"--fail-under {name}={bound:g}: expected a figure of which more is better, such as miou, "
                "building.areas.iou, building.objects.ap_50 or road.lines.apls"
            )
        class_name, _, rest = name.partition(".")
        group, _, figure = rest.partition(".")
        if name != "miou" and (class_name not in class_names or group not in _GROUPS or not figure):
            raise GeosegError(
                f"--fail-under {name}: expected a figure of miou or CLASS.GROUP.FIGURE, with a class of "
                f"{', '.join(class_names)} and a group of {', '.join(_GROUPS)}, got {name}"
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
    values = {"miou": document["miou"], **dict(figures_of(document["classes"]))}
    for name in least:
        if name not in values and name.partition(".")[0] not in document["not_scored"]:
            raise GeosegError(f"--fail-under {name}: expected a figure of {', '.join(values)}, got {name}")
    return missed(values, least)


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
