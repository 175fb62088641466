"""What labelled scenes hold: pixels of each class, sizes and places, and what of them cannot train."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from shapely import box

from geoseg.errors import ConfigError, GeosegError, SceneError
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.regions import region_mask
from geoseg.labels import LabelSet
from geoseg.progress import stage_progress
from geoseg.train.scenes import LabelCoding, LabelledScene, Source, open_scenes, refuse_overlap

_PART_PX = 1024
"""Side of what is read at once."""

_SAID = 3
"""Problems that an error speaks of."""

_NAMED = 5
"""Places of a scene that are named one by one."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a data set.

    Attributes:
        where: The scene, and the place in it.
        what: What is wrong.
        refused: Whether nothing can be trained like this; if not, it is only doubtful.
        source: Number of the source that is damaged or of no use, which can be left out; None for other problems.
    """

    where: str
    what: str
    refused: bool = True
    source: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SceneSurvey:
    """What a scene holds within the region of its split.

    Attributes:
        name: Of the scene.
        split: Its split.
        image: Path of the scene.
        crs: Of its grid.
        shape: (height, width) of its grid in pixels.
        native_resolution_m: Ground (height, width) of a pixel of the file.
        resolution_m: Ground (height, width) of a pixel of the grid, on which training reads it.
        labelled: Ids of the classes that it labels.
        data_px: Pixels with data.
        counts_v: int64 (n,), pixels with data of each of the 256 coded labels (`geoseg.train.candidates`).
    """

    name: str
    split: str
    image: str
    crs: str
    shape: tuple[int, int]
    native_resolution_m: tuple[float, float]
    resolution_m: tuple[float, float]
    labelled: frozenset[int]
    data_px: int
    counts_v: NDArray[np.int64]

    def of_classes(self, classes: int) -> NDArray[np.int64]:
        """Pixels with data of each class (n,)."""
        return self.counts_v[:classes]


@dataclass(frozen=True, slots=True)
class Survey:
    """What a data set holds.

    Attributes:
        labels: Its classes.
        scenes: Those that can be opened, in their order.
        problems: What is wrong.
    """

    labels: LabelSet
    scenes: tuple[SceneSurvey, ...]
    problems: tuple[Problem, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that there are, in the order train, val, test."""
        return tuple(split for split in ("train", "val", "test") if any(one.split == split for one in self.scenes))

    def of_split(self, split: str) -> NDArray[np.int64]:
        """Pixels with data of each class in a split (n,)."""
        counts = [one.of_classes(len(self.labels)) for one in self.scenes if one.split == split]
        return np.sum([np.zeros(len(self.labels), np.int64), *counts], axis=0)


@dataclass(slots=True)
class _Problems:
    """Those of a scene: the first few, and how many more."""

    scene: str
    source: int
    found: list[Problem] = field(default_factory=list)
    more: int = 0

    def add(self, where: str, what: str) -> None:
        # A wrong value is one problem, however many windows hold it.
        if any(one.what == what for one in self.found) or len(self.found) >= _NAMED:
            self.more += 1
        else:
            self.found.append(Problem(where, what, source=self.source))

    def all(self) -> list[Problem]:
        if not self.more:
            return self.found
        return [*self.found, self._rest()]

    def _rest(self) -> Problem:
        return Problem(self.scene, f"the same, or worse, in {self.more} more windows", source=self.source)


def survey(
    sources: Sequence[Source], imagery: Imagery, coding: LabelCoding, labels: LabelSet, *, decode: bool = True
) -> Survey:
    """Read a data set once, and say what it holds and what is wrong with it.

    Args:
        sources: Scenes with labels.
        imagery: What the model expects.
        coding: The meaning of label values.
        labels: The classes.
        decode: Whether all pixels are decoded, so that every damaged part is found; else labels and masks alone.
    """
    problems: list[Problem] = []
    good: dict[int, Source] = {}
    for number, source in enumerate(sources):
        try:
            with LabelledScene(source, imagery, coding):
                good[number] = source
        except GeosegError as error:
            # What the configuration says wrongly is no damaged file: it is not to be skipped.
            damaged = number if isinstance(error, SceneError) else None
            problems.append(Problem(f"{source.name} ({source.split})", str(error), source=damaged))
    found = []
    with open_scenes(list(good.values()), imagery, coding) as scenes:
        try:
            refuse_overlap(scenes)
        except ConfigError as error:
            problems.append(Problem("the splits", str(error)))
        with stage_progress("survey", sum(scene.grid.height * scene.grid.width for scene in scenes)) as advance:
            for number, scene in zip(good, scenes, strict=True):
                surveyed, wrong = _survey_scene(scene, number, decode=decode)
                found.append(surveyed)
                problems += wrong
                advance(scene.grid.height * scene.grid.width)
    result = Survey(labels, tuple(found), ())
    return Survey(labels, tuple(found), (*problems, *_lacking(result)))


def sound_sources(
    sources: Sequence[Source], found: Survey, *, skip_bad: bool
) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """The sources that can be trained on, and why the others were left out, a line for each.

    Args:
        sources: All of them.
        found: What was found in them.
        skip_bad: Whether sources that are damaged, or whose labels cover nothing, are left out.

    Raises:
        ConfigError: Something else is wrong, or is not to be skipped; names the first, and how many more there are.
    """
    bad: dict[int, str] = {}
    for problem in found.problems:
        if problem.source is not None:
            bad.setdefault(problem.source, f"{problem.where}: {problem.what}")
    left_out = bad if skip_bad else {}
    fatal = [problem for problem in found.problems if problem.refused and problem.source not in left_out]
    if fatal:
        first = fatal[0]
        skip = "" if first.source is None else "; mend it, or leave such scenes out with --skip-bad"
        others = "".join(f"; {one.where}: {one.what}" for one in fatal[1:_SAID])
        more = f" (and {len(fatal) - _SAID} more: geoseg inspect CONFIG --check)" if len(fatal) > _SAID else ""
        raise ConfigError(f"{first.where}: {first.what}{skip}{others}{more}")
    kept = tuple(source for number, source in enumerate(sources) if number not in left_out)
    return kept, tuple(left_out.values())


def _survey_scene(scene: LabelledScene, number: int, *, decode: bool) -> tuple[SceneSurvey, list[Problem]]:
    where = f"{scene.source.name} ({scene.source.split})"
    problems = _Problems(where, number)
    counts_v, data_px = np.zeros(256, np.int64), 0
    for window in parts(scene, _PART_PX):
        try:
            valid_hw = scene.image(window)[1] if decode else scene.reader.read_valid(window)
            coded_hw = scene.labels(window)
        except SceneError as error:
            rows, cols = f"{window.row} to {window.row_stop}", f"{window.col} to {window.col_stop}"
            problems.add(f"{where}, rows {rows}, columns {cols}", str(error))
            continue
        valid_hw = valid_hw & region_mask(scene.pixels, window)
        data_px += int(np.count_nonzero(valid_hw))
        counts_v += np.bincount(coded_hw[valid_hw], minlength=256)
    surveyed = SceneSurvey(
        name=scene.source.name,
        split=scene.source.split,
        image=scene.source.image,
        crs=scene.grid.crs,
        shape=(scene.grid.height, scene.grid.width),
        native_resolution_m=scene.ref.native_resolution_m,
        resolution_m=scene.grid.ground_resolution_m(),
        labelled=scene.labelled,
        data_px=data_px,
        counts_v=counts_v,
    )
    if not problems.found and not counts_v[:-1].any():
        what = f"its labels, {scene.source.label_path}, cover no pixel with data in its region: check both places"
        problems.add(where, what if data_px else "it holds no data in its region")
    return surveyed, problems.all()


def parts(scene: LabelledScene, side_px: int) -> list[Window]:
    """Windows that divide a scene's grid, of those that meet its region; smaller ones at the far edges.

    Args:
        scene: The scene.
        side_px: Their sides.
    """
    height, width = scene.grid.height, scene.grid.width
    windows = [
        Window(row, col, min(side_px, height - row), min(side_px, width - col))
        for row in range(0, height, side_px)
        for col in range(0, width, side_px)
    ]
    return [
        window
        for window in windows
        if scene.pixels.intersects(box(window.col, window.row, window.col_stop, window.row_stop))
    ]


def _lacking(found: Survey) -> list[Problem]:
    """Splits and classes of which there is nothing."""
    problems = []
    for split in ("train", "val"):
        if split not in found.splits:
            problems.append(Problem(f"split {split}", "expected a scene that can be used, found none"))
            continue
        for name, pixels in zip(found.labels.names, found.of_split(split).tolist(), strict=True):
            if pixels == 0:
                what = f"no pixel with data is labelled {name}" + (
                    ": label some, or leave the class out (with --value VALUE=ignore)"
                    if split == "train"
                    else ", it is not judged there"
                )
                problems.append(Problem(f"split {split}", what, refused=split == "train"))
    return problems
