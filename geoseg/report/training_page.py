"""report.html of a training: one file without a script, that needs neither a network nor files beside it."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from geoseg.labels import LabelSet
from geoseg.report import training_curves
from geoseg.report.chip_picture import PANELS, JudgedChip, data_uri, png
from geoseg.report.page import policy
from geoseg.report.training_facts import TrainingFacts
from geoseg.report.units import FILTERS

_CHIP_PX = 512
"""Longest side of a chip's picture in the page."""


@dataclass(frozen=True, slots=True)
class _ShownChip:
    """A chip as the page has it: what each picture is, and the picture."""

    name: str
    miou: float
    pictures: tuple[tuple[str, str], ...]


def training_page(facts: TrainingFacts, pictures: tuple[tuple[str, str], ...] = ()) -> str:
    """The page of a training.

    Args:
        facts: What it says.
        pictures: Name and words of the files beside it, to link to.
    """
    styles = [_own("report.css"), _own("training.css")]
    chips = (
        ("worst", "Validation chips that went worst", _shown(facts.worst, facts.labels)),
        ("best", "Validation chips that went best", _shown(facts.best, facts.labels)),
    )
    return _template().render(
        facts=facts,
        policy=policy([], styles, served=False),
        styles=[Markup(text) for text in styles],  # noqa: S704  # ours; escaped, they would be other styles
        plots=training_curves.plots(facts),
        frame=training_curves,
        chips=[one for one in chips if one[2]],
        pictures=pictures,
    )


def _shown(chips: tuple[JudgedChip, ...], labels: LabelSet) -> list[_ShownChip]:
    return [
        _ShownChip(
            chip.name,
            chip.miou,
            tuple(
                (words, data_uri(png(picture, _CHIP_PX)))
                for words, picture in zip(PANELS, chip.pictures(labels), strict=True)
            ),
        )
        for chip in chips
    ]


@cache
def _own(name: str) -> str:
    return files("geoseg").joinpath("report", "web", name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(FILTERS)
    return environment.from_string(_own("training.html"))
