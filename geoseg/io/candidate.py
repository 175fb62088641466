"""A scene that was handed in, while it is looked at: what it is, and what speaks against mapping it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.io.addresses import shown
from geoseg.io.placing import lay
from geoseg.io.region import Scene
from geoseg.io.sample import Sample, sample_scene
from geoseg.io.scene import Look, SceneOptions, look_at, refuse_data_off_the_earth, scale_for, with_stretch
from geoseg.io.scene_ref import SceneRef
from geoseg.io.slant import rounded
from geoseg.io.sources import SceneSource
from geoseg.io.warp import bounds_in, centre_in, outline_in

_ANY = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Row:
    """A scene as the plan's table shows it.

    Attributes:
        name: What it is called.
        uri: Its address as it may be shown; where it cannot be opened, as it was named.
        crs: Its own CRS; empty where it is not known.
        gsd_m: Ground length of its pixel in metres.
        bands: Which of its bands are read.
        dtype: Its data type.
        date: When it was taken.
        nodata_share: How much of a sample of it holds no data, 0 to 1.
        problem: What is wrong with it or worth knowing, in words.
        used: Whether it is part of the region.
    """

    name: str
    uri: str
    crs: str = ""
    gsd_m: float = math.nan
    bands: str = ""
    dtype: str = ""
    date: str | None = None
    nodata_share: float = math.nan
    problem: str = ""
    used: bool = True


@dataclass(slots=True)
class Candidate:
    """A scene while it is looked at.

    Attributes:
        name: What it is called.
        uri: Its address as it may be shown; until it is opened, as it was named.
        source: Its files.
        parts: The files, opened: one, or one for each band. Empty where one could not be.
        samples: A sample of each part.
        problem: What is wrong with it or worth knowing, in words.
        bad: Whether it cannot be mapped.
        copied: Whether another scene is read in its place.
    """

    name: str
    uri: str
    source: SceneSource
    parts: tuple[Look, ...] = ()
    samples: list[Sample] = field(default_factory=list)
    problem: str = ""
    bad: bool = False
    copied: bool = False

    @property
    def finest(self) -> Look:
        """The part with the smallest pixels."""
        return min(self.parts, key=lambda look: max(look.ref.native_resolution_m))

    @property
    def nodata_share(self) -> float:
        """How much of the samples holds no data, 0 to 1."""
        return 1 - min((sample.valid_share for sample in self.samples), default=math.nan)

    @property
    def date(self) -> str | None:
        """When it was taken, as the list or the file says."""
        return self.source.date or self.finest.date

    def check_scale(self, imagery: Imagery, pixel_m: float) -> None:
        """Call the scene bad if its pixels are too far from the model's, given those of the grid."""
        try:
            for look in self.parts:
                scale_for(self.name, look.ref.native_resolution_m, imagery.ground_resolution_m, pixel_m)
        except SceneError as error:
            self.problem, self.bad = str(error), True

    def check_place(self, crs: str) -> None:
        """Call the scene bad if it cannot lie in a CRS."""
        try:
            for look in self.parts:
                bounds_in(crs, look.source)
        except SceneError as error:
            self.problem, self.bad = f"{error}; or is its place wrong?", True

    def placed(self, grid: Grid, options: SceneOptions, *, mixed: bool) -> Scene:
        """The scene on the region's grid.

        Args:
            grid: The grid.
            options: What the user says about the scenes.
            mixed: Whether the scenes of the region are of several data types.

        Raises:
            SceneError: It cannot be laid there, or the files of its bands do not overlap.
        """
        window: Window | None = None
        for look in self.parts:
            _, of_part = lay(look.source, grid)
            window = of_part if window is None else window.intersection(of_part)
            if window is None:
                raise SceneError(f"the files of {self.name} do not overlap: expected bands of one scene")
        parts = []
        for look in self.parts:
            placed, _ = lay(look.source, grid, window)
            # Values that are named for numbers of another kind are not meant for those that the model knows.
            asked = options.stretch
            if mixed and isinstance(asked, tuple) and look.ref.every_value_is_legal:
                asked = None
            parts.append(with_stretch(replace(look.placed(placed), stretch=None), asked))
        t, (near_x, _) = ~grid.transform, grid.middle_xy
        col, row = t @ centre_in(grid.crs, self.finest.source, near_x)
        centre_row, centre_col = rounded(np.array((row, col))).tolist()
        assert window is not None  # there is at least one part
        x, y = outline_in(grid.crs, self.finest.source, near_x)
        cols, rows = t @ (x, y)
        outline = tuple(zip(cols.tolist(), rows.tolist(), strict=True))
        return Scene(self.name, self.uri, self.date, window, (centre_row, centre_col), tuple(parts), outline)

    def doubt(self, parts: Sequence[SceneRef], imagery: Imagery) -> None:
        """Note where a sample of the scene, with the stretch that is decided, is not what the model knows."""
        doubts, begin = [self.problem], 0
        for number, (look, part) in enumerate(zip(self.parts, parts, strict=True)):
            sample = self.samples[number]
            if part.stretch is not None:
                sample = sample_scene(replace(look.ref, stretch=part.stretch, value_range=part.value_range))
            doubts += [sample.damage, sample.doubt(_some_bands(imagery, begin, begin + len(part.bands)))]
            begin += len(part.bands)
        if self.nodata_share == 1 and not any(doubts):
            doubts = ["no data in a sample of it"]
        self.problem = "; ".join(doubt for doubt in doubts if doubt)

    def row(self) -> Row:
        """The scene as the plan's table shows it."""
        if not self.parts:
            return Row(self.name, self.uri, problem=self.problem, used=False)
        ref = self.finest.ref
        bands = ",".join(str(band) for look in self.parts for band in look.ref.bands)
        return Row(
            self.name,
            self.uri,
            self.finest.source.crs if len(self.finest.source.crs) < 20 else "own",
            max(ref.native_resolution_m),
            bands if len(self.parts) == 1 else f"{len(self.parts)} files",
            ref.dtype,
            self.date,
            self.nodata_share,
            self.problem,
            used=not self.bad and not self.copied,
        )


def look_through(source: SceneSource, name: str, imagery: Imagery, options: SceneOptions) -> Candidate:
    """Open a scene's files and look at a sample of each; what is wrong is noted, not raised."""
    one = Candidate(name, shown(source.files[0]), source, problem=source.problem, bad=bool(source.problem))
    if one.bad:
        return one
    try:
        if len(source.files) == 1:
            one.parts = (look_at(source.files[0], imagery, options),)
        else:
            one.parts = tuple(_band(file, number, imagery, options) for number, file in enumerate(source.files))
        one.uri = one.parts[0].ref.path
        for look in one.parts:
            refuse_data_off_the_earth(look.ref)
            raw = look.ref if options.stretch is None else replace(look.ref, stretch=None, value_range=_ANY)
            one.samples.append(sample_scene(raw))
        one.problem = "; ".join(sample.damage for sample in one.samples if sample.damage)
        one.bad = bool(one.problem)
    except SceneError as error:
        one.problem, one.bad = str(error), True
    return one


def _band(file: str, number: int, imagery: Imagery, options: SceneOptions) -> Look:
    """A file with one band of the model."""
    return look_at(file, _some_bands(imagery, number, number + 1), replace(options, bands=(1,)))


def _some_bands(imagery: Imagery, start: int, stop: int) -> Imagery:
    """What a model expects of some of its bands."""
    at = slice(start, stop)
    return replace(imagery, bands=imagery.bands[at], mean=imagery.mean[at], std=imagery.std[at])
