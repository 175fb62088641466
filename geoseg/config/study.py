"""The configuration of a study: many training runs, each told by what differs from one configuration."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from geoseg.config.sections import Section, explain
from geoseg.config.text import read_mapping
from geoseg.config.train import TrainConfig, load_train_config
from geoseg.errors import ConfigError

_RUN_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
"""As the name on a model's card, which it becomes."""

Change = dict[str, Any]
"""Keys of a training run with other values: mappings within are merged, null removes a key."""


class StudyConfig(Section):
    """Many training runs from one configuration.

    Attributes:
        kind: Always "study".
        name: Of the study.
        description: What it is to find out.
        base: The configuration of a training run, relative to the study's file.
        change: What differs from it in all runs: nested mappings are merged, lists and single values take the place
            of what was there, null removes a key.
        runs: The runs by name, each with what differs besides, merged likewise; nothing for none.
    """

    kind: Literal["study"]
    name: Annotated[str, Field(min_length=1)]
    description: str
    base: str
    change: Change = Field(default_factory=dict)
    runs: Annotated[dict[str, Change | None], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_its_runs(self) -> Self:
        for name, change in self.runs.items():
            if not _RUN_NAME.fullmatch(name):
                raise ValueError(
                    f"runs.{name}: expected a name of at most 63 lower-case letters, digits, - and _ that begins "
                    "with a letter: it names a folder and a model"
                )
            if "name" in (change or {}):
                raise ValueError(f"runs.{name}.name: a run is named by its key, remove it")
        if "name" in self.change:
            raise ValueError("change.name: each run has a name of its own, remove it")
        return self


@dataclass(frozen=True, slots=True)
class StudyRun:
    """A run of a study.

    Attributes:
        name: Of the run, and of its model.
        differs: In what it differs from the other runs, in words.
        values: Its configuration as it would be read from a file, without entries of split test.
        config: The same, checked, with what is filled in for fine-tuning.
    """

    name: str
    differs: str
    values: dict[str, Any]
    config: TrainConfig


@dataclass(frozen=True, slots=True)
class Study:
    """A study, checked.

    Attributes:
        name: Of the study.
        description: What it is to find out.
        base: The file of the configuration that it changes.
        runs: Its runs, in the order of its file.
        left_out: Images of the entries of split test, which no run sees.
    """

    name: str
    description: str
    base: Path
    runs: tuple[StudyRun, ...]
    left_out: tuple[str, ...]


def load_study(path: Path) -> Study:
    """Read and check a study with all its runs.

    Args:
        path: A YAML file.

    Raises:
        ConfigError: The file or that of its base cannot be read, a key or value of it or of one of its runs is
            wrong, or a run would be judged on a test region. The message names the run and the key.
    """
    try:
        config = StudyConfig.model_validate(read_mapping(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(StudyConfig, error)}") from error
    base = path.parent / config.base
    load_train_config(base)
    values_of_base = read_mapping(base)
    common, runs = merged(values_of_base, config.change), []
    left_out = dict.fromkeys(_without_tests(values_of_base.get("data"))[1])
    for name, change in config.runs.items():
        values = {**merged(common, change or {}), "name": name}
        seen, unseen = _without_tests(values.get("data"))
        left_out |= dict.fromkeys(unseen)
        runs.append(_run(f"{path}: runs.{name}", name, change or {}, {**values, "data": seen}))
    return Study(config.name, config.description, base, tuple(runs), tuple(left_out))


def _run(where: str, name: str, change: Change, values: dict[str, Any]) -> StudyRun:
    try:
        config = TrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(TrainConfig, error)}") from error
    if config.splits.test and any(entry.split == "auto" for entry in config.data):
        raise ConfigError(
            f"{where}: splits.test: expected 0 where an entry has split: auto, got {config.splits.test:g}: no "
            "choice among runs may see a test; hold one back as an entry with split: test"
        )
    if config.start_from is not None:
        config = config.model_copy(update={"training": config.training.for_fine_tuning()})
    return StudyRun(name, ", ".join(_words(change)), values, config)


def merged(values: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Values with changes in them, as JSON Merge Patch has it (RFC 7386, section 2).

    Args:
        values: As they were read from a file; stay as they are.
        change: Mappings are merged key by key, None removes a key, anything else takes the place of what was there.
    """
    result = dict(values)
    for key, new in change.items():
        old = result.get(key)
        if new is None:
            result.pop(key, None)
        elif isinstance(new, dict):
            # A mapping that takes the place of something else may say null, too: it has no such key.
            result[key] = merged(old if isinstance(old, dict) else {}, new)
        else:
            result[key] = new
    return result


def differing_key(one: TrainConfig, other: TrainConfig) -> str | None:
    """The first key, as `training.lr`, by which two configurations give other weights; None where none does.

    Args:
        one: A configuration.
        other: Another.
    """
    return _first_difference(one.deciding(), other.deciding())


def _first_difference(one: object, other: object, place: str = "") -> str | None:
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return None if one == other else place
    for key in dict.fromkeys([*one, *other]):
        found = _first_difference(one.get(key), other.get(key), f"{place}.{key}" if place else str(key))
        if found is not None:
            return found
    return None


def _without_tests(data: object) -> tuple[object, list[str]]:
    """The entries of a configuration without those of split test, and the images of these."""
    if not isinstance(data, list):
        return data, []
    tests = [entry for entry in data if isinstance(entry, dict) and entry.get("split") == "test"]
    return [entry for entry in data if entry not in tests], [str(entry.get("image")) for entry in tests]


def _words(change: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """A change in words, such as "crop_px 256": what is in `training`, where most is, without saying so."""
    for key, value in change.items():
        here = f"{place}.{key}" if place and place != "training" else str(key)
        match value:
            case None:
                yield f"no {here}"
            case dict():
                yield from _words(value, here)
            case list() if any(isinstance(one, dict) for one in value):
                yield f"{here} of {len(value)}"
            case list():
                yield f"{here} {' to '.join(map(str, value)) if len(value) == 2 else '+'.join(map(str, value))}"
            case _:
                yield f"{here} {value}"
