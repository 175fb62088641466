"""What a data set holds, and what is wrong with it: the same for a look at it and for training on it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.errors import ConfigError, GeosegError, SceneError
from geoseg.grid import Window, parse_crs
from geoseg.imagery import Imagery
from geoseg.io.regions import region_mask
from geoseg.labels import NODATA_CLASS
from geoseg.train.coding import LabelCoding
from geoseg.train.open_files import OpenFiles
from geoseg.train.scenes import LabelledScene, Source, refuse_overlap

_WINDOW_PX = 1024
"""Scenes are looked at in windows of this side: 12 MB of pixels in three bands."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a data set.

    Attributes:
        place: Where: a file, with a place in it where that is known, a split, or a key of the configuration.
        text: What was expected, what came, and what to do.
        fatal: Whether training cannot go on with it.
        source: Number of the source that is damaged or cannot be used, which can be left out; None otherwise.
    """

    place: str
    text: str
    fatal: bool = True
    source: int | None = None


@dataclass(frozen=True, slots=True)
class SceneFacts:
    """A scene in figures.

    Attributes:
        name: What reports call it.
        split: Its split.
        image: Its file.
        labels: Where its labels are.
        crs: Name of its CRS; empty for what has no place on earth.
        size_px: (height, width) of the file.
        resolution_m: Ground (height, width) of a pixel of the file in metres.
        read_px: (height, width) of the grid that it is read on.
        read_m: Ground (height, width) of a pixel of that.
        pixels: Of each class, labelled and with data.
        rest_px: Pixels that are none of the classes that it labels.
        unknown_px: Pixels of the region with data of which nothing is known.
        empty_px: Pixels of the region without data.
    """

    name: str
    split: str
    image: str
    labels: str
    crs: str
    size_px: tuple[int, int]
    resolution_m: tuple[float, float]
    read_px: tuple[int, int]
    read_m: tuple[float, float]
    pixels: tuple[int, ...]
    rest_px: int
    unknown_px: int
    empty_px: int


@dataclass(frozen=True, slots=True)
class Survey:
    """A data set in figures, and its problems.

    Attributes:
        classes: Class names by id.
        scenes: Of those that could be read.
        problems: The fatal ones first.
    """

    classes: tuple[str, ...]
    scenes: tuple[SceneFacts, ...]
    problems: tuple[Problem, ...]

    def pixels(self, split: str) -> dict[str, int]:
        """Labelled pixels with data of each class, by name, in a split."""
        of_split = [scene.pixels for scene in self.scenes if scene.split == split]
        return {name: sum(pixels[number] for pixels in of_split) for number, name in enumerate(self.classes)}


def survey_data(
    sources: Sequence[Source],
    imagery: Imagery,
    coding: LabelCoding,
    classes: tuple[str, ...],
    *,
    decode: bool = True,
) -> Survey:
    """Look at all of a data set, window by window.

    Args:
        sources: Its scenes.
        imagery: What the model expects.
        coding: The meaning of labels.
        classes: Class names by id.
        decode: Whether all pixels are decoded, so that every damaged block is found; else labels and masks alone.
    """
    files = OpenFiles()
    facts: list[SceneFacts] = []
    scenes: list[LabelledScene] = []
    problems: list[Problem] = []
    try:
        for number, source in enumerate(sources):
            try:
                scene = LabelledScene(source, imagery, coding, files, squares=4)
                one = _facts(scene, len(classes), decode=decode)
            except GeosegError as error:
                # Mistakes in the configuration are no damaged files: they are not to be skipped.
                damaged = number if isinstance(error, SceneError) else None
                problems.append(Problem(_place(source, error), str(error), source=damaged))
                continue
            if not sum(one.pixels) + one.rest_px:
                problems.append(
                    Problem(
                        source.label_path,
                        f"{source.name}: expected labels on pixels with data, they cover none ({one.empty_px} px "
                        f"without data, {one.unknown_px} px without labels); check the place and CRS of both, or "
                        "leave the scene out",
                        source=number,
                    )
                )
            facts.append(one)
            scenes.append(scene)
        try:
            refuse_overlap(scenes)
        except ConfigError as error:
            problems.append(Problem("data", str(error)))
    finally:
        files.close()
    survey = Survey(classes, tuple(facts), ())
    problems += _of_splits(survey)
    return Survey(classes, survey.scenes, tuple(sorted(problems, key=lambda problem: not problem.fatal)))


def sound_sources(sources: Sequence[Source], survey: Survey, *, skip_bad: bool) -> tuple[tuple[Source, ...], int]:
    """The sources that can be trained on, and how many were left out.

    Args:
        sources: All of them.
        survey: What was found in them.
        skip_bad: Whether sources that are damaged, or whose labels cover nothing, are left out.

    Raises:
        ConfigError: There are fatal problems; names the first, and how many more there are.
    """
    left_out = {problem.source for problem in survey.problems if problem.source is not None} if skip_bad else set()
    fatal = [problem for problem in survey.problems if problem.fatal and problem.source not in left_out]
    if fatal:
        first = fatal[0]
        more = f" (and {len(fatal) - 1} more; geoseg inspect --check lists them)" if len(fatal) > 1 else ""
        skip = "" if first.source is None else "; mend it, or leave such scenes out with --skip-bad"
        raise ConfigError(f"{first.text}{skip}{more}")
    return tuple(source for number, source in enumerate(sources) if number not in left_out), len(left_out)


def _place(source: Source, error: GeosegError) -> str:
    """The file that an error speaks of."""
    return next((path for path in (source.image, source.label_path) if path in str(error)), source.image)


def _of_splits(survey: Survey) -> Iterator[Problem]:
    """What is wrong with the splits as a whole."""
    splits = {scene.split for scene in survey.scenes}
    for split in ("train", "val"):
        if split not in splits:
            yield Problem(f"split {split}", f"expected scenes of split {split}, found none that can be read")
    for split in sorted(splits):
        missing = [name for name, pixels in survey.pixels(split).items() if not pixels]
        for name in missing:
            if split == "train":
                text = f"class {name}: expected labelled pixels in split train, found none; label some, or drop it"
                yield Problem(f"split train, class {name}", text)
            else:
                text = f"class {name}: no labelled pixel in split {split}, so that it is not judged there"
                yield Problem(f"split {split}, class {name}", text, fatal=False)


def _facts(scene: LabelledScene, classes: int, *, decode: bool) -> SceneFacts:
    counts, empty_px = np.zeros(256, np.int64), 0
    for window in _windows(scene):
        labels_hw = scene.labels(window)
        valid_hw = scene.image(window)[1] if decode else scene.reader.read_valid(window)
        inside_hw = region_mask(scene.pixels, window)
        empty_px += int(np.count_nonzero(inside_hw & ~valid_hw))
        counts += np.bincount(labels_hw[inside_hw & valid_hw], minlength=256)
    ref = scene.ref
    return SceneFacts(
        name=scene.source.name,
        split=scene.source.split,
        image=scene.source.image,
        labels=scene.source.label_path,
        crs=parse_crs(scene.grid.crs).name if scene.grid.has_place else "",
        size_px=(ref.source_height, ref.source_width),
        resolution_m=ref.native_resolution_m,
        read_px=scene.grid.window.shape,
        read_m=scene.grid.ground_resolution_m(),
        pixels=tuple(counts[:classes].tolist()),
        rest_px=int(counts[classes:NODATA_CLASS].sum()),
        unknown_px=int(counts[NODATA_CLASS]),
        empty_px=empty_px,
    )


def _windows(scene: LabelledScene) -> Iterator[Window]:
    """Windows that partition the grid and meet the region."""
    for row in range(0, scene.grid.height, _WINDOW_PX):
        for col in range(0, scene.grid.width, _WINDOW_PX):
            window = Window(row, col, _WINDOW_PX, _WINDOW_PX).intersection(scene.grid.window)
            assert window is not None  # it begins on the grid
            if scene.pixels.intersects(shapely.box(window.col, window.row, window.col_stop, window.row_stop)):
                yield window
