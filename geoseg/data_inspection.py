"""What a data set for training is: counted, drawn, and checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.config import TrainConfig
from geoseg.errors import ConfigError
from geoseg.grid import NO_PLACE, Window, parse_crs
from geoseg.imagery import Imagery
from geoseg.io.ledger import write_json
from geoseg.labelled_data import coding_of, imagery_of, sources_of
from geoseg.labels import NODATA_CLASS
from geoseg.report.bars import write_bars
from geoseg.report.contact_sheet import Pair, write_contact_sheet
from geoseg.train.scenes import LabelCoding, LabelledScene, Source, open_scenes
from geoseg.train.score import evenly
from geoseg.train.survey import SceneSurvey, Survey, parts, survey

_PAIR_PX = 512
"""Longest side of a pair of the contact sheet."""

_PAIRS = 24
"""Pairs of all splits together."""

_TRIED = 4
"""Windows that are looked at for each pair."""

_ENOUGH = 0.25
"""Share of a pair that must be labelled, if there are such."""


@dataclass(frozen=True, slots=True)
class InspectedData:
    """A data set, read through.

    Attributes:
        survey: What it holds, and what is wrong with it.
        sources: Its scenes; those that can be opened are in the survey.
        imagery: What the model expects.
        coding: The meaning of label values.
    """

    survey: Survey
    sources: tuple[Source, ...]
    imagery: Imagery
    coding: LabelCoding

    def to_json(self) -> dict[str, Any]:
        """A JSON object: pixels of each class by split, each scene, each problem."""
        found = self.survey
        return {
            "kind": "dataset",
            "classes": list(found.labels.names),
            "splits": {split: self._split(split) for split in found.splits},
            "scenes": [self._scene(scene) for scene in found.scenes],
            "problems": [{"where": one.where, "what": one.what, "refused": one.refused} for one in found.problems],
        }

    def _split(self, split: str) -> dict[str, Any]:
        scenes = [scene for scene in self.survey.scenes if scene.split == split]
        pixels = dict(zip(self.survey.labels.names, self.survey.of_split(split).tolist(), strict=True))
        return {
            "scenes": len(scenes),
            "data_px": sum(scene.data_px for scene in scenes),
            "pixels": pixels,
        }

    def _scene(self, scene: SceneSurvey) -> dict[str, Any]:
        names = self.survey.labels.names
        of_classes = scene.of_classes(len(names))
        rest = scene.counts_v[len(names) : NODATA_CLASS]
        return {
            "name": scene.name,
            "split": scene.split,
            "image": scene.image,
            "crs": None if scene.crs == NO_PLACE else scene.crs,
            "crs_name": "no place on earth" if scene.crs == NO_PLACE else parse_crs(scene.crs).name,
            "size_px": list(scene.shape),
            "native_resolution_m": list(scene.native_resolution_m),
            "resolution_m": list(scene.resolution_m),
            "labels_classes": [names[class_id] for class_id in sorted(scene.labelled)],
            "data_px": scene.data_px,
            "pixels": dict(zip(names, of_classes.tolist(), strict=True)),
            "none_of_these_px": int(rest.sum()),
        }


def inspect_data(config: TrainConfig, root: Path) -> InspectedData:
    """Read a data set through.

    Args:
        config: Describes it.
        root: Where its paths start.

    Raises:
        ConfigError: A file is missing, or a region cannot be read.
    """
    sources, imagery = sources_of(config, root), imagery_of(config)
    coding = coding_of(config, sources)
    return InspectedData(survey(sources, imagery, coding, config.label_set()), sources, imagery, coding)


def draw_data(folder: Path, data: InspectedData) -> tuple[Path, ...]:
    """Draw a data set: classes.png, the share of each class, contact_sheet.png, and data.json, all that is known.

    Files of these names are replaced, each in one step.

    Args:
        folder: Where; made if it is not there.
        data: What to draw.

    Returns:
        The files. There is no contact sheet where nothing is labelled.

    Raises:
        ConfigError: The folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = data.survey.labels.names
        files = [folder / "data.json", folder / "classes.png"]
        write_json(files[0], data.to_json())
        series = []
        for split in data.survey.splits:
            pixels = data.survey.of_split(split)
            total = int(pixels.sum())
            shares = [int(one) / total if one else None for one in pixels]
            series.append((f"{split}, {total / 1e6:.3g} Mpx labelled", shares))
        write_bars(files[1], names, series, "share of the labelled pixels", lambda share: f"{100 * share:.2f} %")
        pairs = _pairs(data)
        if pairs:
            files.append(folder / "contact_sheet.png")
            write_contact_sheet(files[2], pairs, data.survey.labels)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}; name another with -o") from error
    return tuple(files)


def _pairs(data: InspectedData) -> list[Pair]:
    """Windows with labels, spread evenly over the scenes of each split."""
    readable = {(scene.image, scene.split) for scene in data.survey.scenes if scene.counts_v[:-1].any()}
    damaged = {problem.where.partition(", rows")[0] for problem in data.survey.problems}
    pairs = []
    with open_scenes(
        [source for source in data.sources if (source.image, source.split) in readable], data.imagery, data.coding
    ) as scenes:
        for split in data.survey.splits:
            chosen = [one for one in scenes if one.source.split == split and _title(one) not in damaged]
            windows = [(scene, window) for scene in chosen for window in parts(scene, _PAIR_PX)]
            wanted = _PAIRS // len(data.survey.splits)
            pairs += _of_split(windows, wanted)
    return pairs


def _of_split(windows: Sequence[tuple[LabelledScene, Window]], wanted: int) -> list[Pair]:
    tried = []
    for scene, window in evenly(windows, _TRIED * wanted):
        labels_hw = scene.labels(window)
        tried.append((np.count_nonzero(labels_hw != NODATA_CLASS) / labels_hw.size, scene, window))
    most = max((share for share, _, _ in tried), default=0.0)
    enough = [(scene, window) for share, scene, window in tried if share >= min(_ENOUGH, most) and share > 0]
    pairs = []
    for scene, window in evenly(enough, wanted):
        image_chw, valid_hw = scene.image(window)
        name = f"{_title(scene)}, row {window.row}, column {window.col}"
        pairs.append(Pair(name, image_chw, valid_hw, scene.labels(window)))
    return pairs


def _title(scene: LabelledScene) -> str:
    return f"{scene.source.name} ({scene.source.split})"
