"""What was handed in, looked at scene by scene, and put on one grid: the region to map."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TypeVar

import numpy as np
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.io.addresses import is_on_web, shown
from geoseg.io.common_grid import GridRule, common_crs, common_grid, kept_resolution_m, middles_on_sphere
from geoseg.io.placing import lay
from geoseg.io.region import MOST_SCENES, MergeRule, Region, Scene
from geoseg.io.sample import Sample, sample_scene
from geoseg.io.scene import (
    KEEP_RATIO,
    Look,
    SceneOptions,
    look_at,
    refuse_data_off_the_earth,
    scale_for,
    settle,
    with_stretch,
)
from geoseg.io.scene_ref import SceneRef
from geoseg.io.slant import rounded
from geoseg.io.sources import SceneSource
from geoseg.io.turns import MOST_AT_ONCE, side_by_side
from geoseg.io.warp import bounds_in, centre_in, outline_in

_MOST_NAMED = 20
"""Bad scenes that are named in an error."""

_ANY = (-math.inf, math.inf)

_Result = TypeVar("_Result")

_EARTH_KM = 6371.0
_FAR_KM = 100.0
_FAR_TIMES = 20
"""A scene is far from all others at so many times what is usual between neighbours."""


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


@dataclass(frozen=True, slots=True)
class Survey:
    """What was handed in.

    Attributes:
        region: The scenes that can be mapped, on their grid.
        rows: All scenes, in the order in which they were given.
        grid_rule: In words, how the grid was chosen.
        notes: What the user should know about the scenes, a sentence each.
    """

    region: Region
    rows: tuple[Row, ...]
    grid_rule: str
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Seen:
    """A scene while it is looked at."""

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
        return min(self.parts, key=lambda look: max(look.ref.native_resolution_m))

    @property
    def nodata_share(self) -> float:
        return 1 - min((sample.valid_share for sample in self.samples), default=math.nan)

    @property
    def date(self) -> str | None:
        return self.source.date or self.finest.date


def survey(
    sources: Sequence[SceneSource],
    imagery: Imagery,
    options: SceneOptions,
    *,
    merge: MergeRule = "nearest-centre",
    skip_bad: bool = False,
    at_once: int = MOST_AT_ONCE,
) -> Survey:
    """Look at all scenes, and put those that can be mapped on one grid.

    A single file keeps its own CRS and pixels as `describe_scene` says; several scenes share the grid of
    `geoseg.io.common_grid`.

    Args:
        sources: The scenes.
        imagery: What the model expects.
        options: What the user says about them.
        merge: Which scene gives a pixel that several hold data at.
        skip_bad: Whether scenes that cannot be mapped are left out.
        at_once: Scenes on web servers that are looked at together; what is found does not depend on it.

    Raises:
        SceneError: A scene cannot be mapped (every one is named), or with `skip_bad` none can.
    """
    if len(sources) > MOST_SCENES:
        raise SceneError(f"expected at most {MOST_SCENES} scenes, got {len(sources)}: map them in parts")
    names = _names(sources)
    if len(sources) == 1 and len(sources[0].files) == 1 and not sources[0].problem:
        return _single(sources[0], names[0], imagery, options, merge)
    seen = _of_each(sources, lambda number: _look(sources[number], names[number], imagery, options), at_once)
    _mark_copies(seen)
    good, rule = _selected(seen, imagery, options, skip_bad=skip_bad)
    grid, grid_rule = common_grid([one.finest.source for one in good], rule)
    mixed = len({one.finest.ref.dtype for one in good}) > 1
    scenes = {}

    def put(number: int) -> None:
        one = good[number]
        try:
            scenes[one.uri] = _placed(one, grid, options, mixed=mixed)
        except SceneError as error:
            one.problem, one.bad = str(error), True

    _of_each([one.source for one in good], put, at_once)
    _still_good(seen, skip_bad=skip_bad)
    ordered, notes = _in_order([one for one in seen if one.uri in scenes and not one.problem], merge)
    _mark_far(ordered)
    _of_each(
        [one.source for one in ordered],
        lambda number: _doubt(ordered[number], scenes[ordered[number].uri].parts, imagery),
        at_once,
    )
    region = Region(grid, tuple(scenes[one.uri] for one in ordered), merge)
    notes += [f"left out: {one.name}: {one.problem}" for one in seen if one.bad]
    notes += [f"{one.name}: {one.problem}" for one in seen if one.problem and not one.bad]
    notes += _common_notes([scene.parts[0] for scene in region.scenes], [scene.name for scene in region.scenes])
    return Survey(region, tuple(map(_row, seen)), grid_rule, tuple(notes))


def _selected(
    seen: Sequence[_Seen], imagery: Imagery, options: SceneOptions, *, skip_bad: bool
) -> tuple[list[_Seen], GridRule]:
    """The scenes that can go on one grid, sorted by address, and what the grid shall be."""
    good = [one for one in seen if not one.problem]
    if not good:
        raise SceneError(_named(seen, "none of the scenes can be mapped"))
    target_m = _target_m(good, imagery, options)
    pixel_m = kept_resolution_m([one.finest.source for one in good]) if target_m is None else target_m
    for one in good:
        _check_scale(one, imagery, pixel_m)
    rule = GridRule(options.crs, target_m, options.align)
    good = [one for one in good if not one.bad]
    if good:
        crs, _ = common_crs([one.finest.source for one in good], rule)
        for one in good:
            _check_place(one, crs)
    # Where the scenes of a region lie must not depend on the order in which they were named.
    return sorted(_still_good(seen, skip_bad=skip_bad), key=lambda one: one.uri), rule


def _single(source: SceneSource, name: str, imagery: Imagery, options: SceneOptions, merge: MergeRule) -> Survey:
    look = look_at(source.files[0], imagery, options)
    ref = settle(look, imagery, options)
    one = _Seen(name, ref.path, source, (look,))
    one.samples.append(sample_scene(replace(look.ref, stretch=ref.stretch)))
    _doubt(one, (ref,), imagery)
    region = replace(Region.of(ref, name, one.date), merge=merge)
    words = "the scene's own CRS" if options.crs is None else "as asked"
    notes = (*ref.notes, *((one.problem,) if one.problem else ()))
    return Survey(region, (_row(one),), words, notes)


def _names(sources: Sequence[SceneSource]) -> list[str]:
    """What scenes are called: their own names, or the shortest ends of their paths that tell them apart."""
    paths = [PurePosixPath(source.name or shown(source.files[0])).parts or ("",) for source in sources]
    depth = dict.fromkeys(range(len(paths)), 1)
    while True:
        names = ["/".join(path[-depth[number] :]) for number, path in enumerate(paths)]
        of_name: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            of_name.setdefault(name, []).append(number)
        longer = [n for same in of_name.values() if len(same) > 1 for n in same if depth[n] < len(paths[n])]
        if not longer:
            return names
        for number in longer:
            depth[number] += 1


def _of_each(sources: Sequence[SceneSource], work: Callable[[int], _Result], at_once: int) -> list[_Result]:
    """What a function gives for each scene's number, in their order; web servers are waited for together.

    Of clouds GDAL asks itself, with Python's lock in hand and locks of its own: one scene after the other.
    """
    on_web = [number for number, source in enumerate(sources) if any(map(is_on_web, source.files))]
    with warnings.catch_warnings():
        # Whoever opens a file silences these for a while and then puts back what was before: several at a time
        # put back what others had set.
        for category in (NotGeoreferencedWarning, NodataShadowWarning):
            warnings.simplefilter("ignore", category)
        found = dict(zip(on_web, side_by_side(work, on_web, at_once), strict=True))
    return [found[number] if number in found else work(number) for number in range(len(sources))]


def _look(source: SceneSource, name: str, imagery: Imagery, options: SceneOptions) -> _Seen:
    one = _Seen(name, shown(source.files[0]), source, problem=source.problem, bad=bool(source.problem))
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


def _mark_copies(seen: Sequence[_Seen]) -> None:
    """Scenes with the same files' content in the same place are read once."""
    first: dict[object, str] = {}
    for one in sorted((one for one in seen if not one.problem), key=lambda one: one.uri):
        content = tuple((look.ref.fingerprint, look.source, look.ref.bands) for look in one.parts)
        if content in first:
            one.problem, one.copied = f"the same as {first[content]}, which is read in its place", True
        first.setdefault(content, one.name)


def _target_m(good: Sequence[_Seen], imagery: Imagery, options: SceneOptions) -> float | None:
    """Ground length of the grid's pixel; None to keep that of most scenes."""
    natives = [side for one in good for side in one.finest.ref.native_resolution_m]
    match options.resolution:
        case "native":
            return None
        case "finest":
            return min(max(one.finest.ref.native_resolution_m) for one in good)
        case "model":
            kept = all(1 / KEEP_RATIO <= native / imagery.ground_resolution_m <= KEEP_RATIO for native in natives)
            return None if kept else imagery.ground_resolution_m
        case metres:
            return metres


def _check_scale(one: _Seen, imagery: Imagery, pixel_m: float) -> None:
    try:
        for look in one.parts:
            scale_for(one.name, look.ref.native_resolution_m, imagery.ground_resolution_m, pixel_m)
    except SceneError as error:
        one.problem, one.bad = str(error), True


def _check_place(one: _Seen, crs: str) -> None:
    try:
        for look in one.parts:
            bounds_in(crs, look.source)
    except SceneError as error:
        one.problem, one.bad = f"{error}; or is its place wrong?", True


def _placed(one: _Seen, grid: Grid, options: SceneOptions, *, mixed: bool) -> Scene:
    window: Window | None = None
    for look in one.parts:
        _, of_part = lay(look.source, grid)
        window = of_part if window is None else window.intersection(of_part)
        if window is None:
            raise SceneError(f"the files of {one.name} do not overlap: expected bands of one scene")
    parts = []
    for look in one.parts:
        placed, _ = lay(look.source, grid, window)
        # Values that are named for numbers of another kind are not meant for those that the model knows.
        asked = options.stretch
        if mixed and isinstance(asked, tuple) and look.ref.every_value_is_legal:
            asked = None
        parts.append(with_stretch(replace(look.placed(placed), stretch=None), asked))
    t, (near_x, _) = ~grid.transform, grid.middle_xy
    col, row = t @ centre_in(grid.crs, one.finest.source, near_x)
    centre_row, centre_col = rounded(np.array((row, col))).tolist()
    assert window is not None  # there is at least one part
    x, y = outline_in(grid.crs, one.finest.source, near_x)
    cols, rows = t @ (x, y)
    outline = tuple(zip(cols.tolist(), rows.tolist(), strict=True))
    return Scene(one.name, one.uri, one.date, window, (centre_row, centre_col), tuple(parts), outline)


def _in_order(good: list[_Seen], merge: MergeRule) -> tuple[list[_Seen], list[str]]:
    """Scenes as the rule wants them, and what to say about it."""
    match merge:
        case "nearest-centre":
            return sorted(good, key=lambda one: one.uri), []
        case "first":
            return good, ["where scenes overlap, the first in the order of the list gives the pixels"]
        case "latest":
            dated = [one for one in good if one.date is not None]
            if not dated:
                return good[::-1], ["no scene has a date: the last of the list counts as the latest"]
            notes = ["where scenes overlap, the latest by date gives the pixels"]
            if len(dated) < len(good):
                named = ", ".join(one.name for one in good if one.date is None)[:200]
                notes.append(f"scenes without a date count as the oldest: {named}")
            by_uri = sorted(good, key=lambda one: one.uri)
            return sorted(by_uri, key=lambda one: one.date or "", reverse=True), notes


def _doubt(one: _Seen, parts: Sequence[SceneRef], imagery: Imagery) -> None:
    """What to say where a sample of a scene, with the stretch that is decided, is not what the model knows."""
    doubts, begin = [one.problem], 0
    for number, (look, part) in enumerate(zip(one.parts, parts, strict=True)):
        sample = one.samples[number]
        if part.stretch is not None:
            sample = sample_scene(replace(look.ref, stretch=part.stretch, value_range=part.value_range))
        doubts += [sample.damage, sample.doubt(_some_bands(imagery, begin, begin + len(part.bands)))]
        begin += len(part.bands)
    if one.nodata_share == 1 and not any(doubts):
        doubts = ["no data in a sample of it"]
    one.problem = "; ".join(doubt for doubt in doubts if doubt)


def _some_bands(imagery: Imagery, start: int, stop: int) -> Imagery:
    """What a model expects of some of its bands."""
    at = slice(start, stop)
    return replace(imagery, bands=imagery.bands[at], mean=imagery.mean[at], std=imagery.std[at])


def _mark_far(good: Sequence[_Seen]) -> None:
    """Scenes that lie far from all others may be misplaced."""
    if len(good) < 3:
        return
    xyz = middles_on_sphere([one.finest.source for one in good])
    nearest_km = np.empty(len(good))
    for number, place in enumerate(xyz):
        chord = np.linalg.norm(xyz - place, axis=1)
        chord[number] = np.inf
        nearest_km[number] = 2 * _EARTH_KM * math.asin(min(1.0, chord.min() / 2))
    usual_km = float(np.median(nearest_km))
    for one, km in zip(good, nearest_km.tolist(), strict=True):
        if km > max(_FAR_KM, _FAR_TIMES * usual_km):
            one.problem = f"lies {km:.0f} km from the nearest other scene: is its place right?"


def _still_good(seen: Sequence[_Seen], *, skip_bad: bool) -> list[_Seen]:
    """The scenes without a problem.

    Raises:
        SceneError: Others are bad and not to be left out, or there are none but bad ones.
    """
    bad = [one for one in seen if one.bad]
    if bad and not skip_bad:
        what = f"{len(bad)} of {len(seen)} scenes cannot be mapped"
        raise SceneError(_named(seen, what) + "; mend them, or go on without them with --skip-bad")
    good = [one for one in seen if not one.problem]
    if not good:
        raise SceneError(_named(seen, "none of the scenes can be mapped"))
    return good


def _named(seen: Sequence[_Seen], what: str) -> str:
    bad = [f"{one.name}: {one.problem}" for one in seen if one.bad]
    more = f"; and {len(bad) - _MOST_NAMED} more" if len(bad) > _MOST_NAMED else ""
    return f"{what}: {'; '.join(bad[:_MOST_NAMED])}{more}"


def _common_notes(refs: Sequence[SceneRef], names: Sequence[str]) -> list[str]:
    """The notes of scenes, each once, with how many it is about."""
    of_note: dict[str, list[str]] = {}
    for ref, name in zip(refs, names, strict=True):
        for note in ref.notes:
            of_note.setdefault(note, []).append(name)
    return [
        f"{note} ({named[0]}{f' and {len(named) - 1} more' if len(named) > 1 else ''})"
        for note, named in of_note.items()
    ]


def _row(one: _Seen) -> Row:
    if not one.parts:
        return Row(one.name, one.uri, problem=one.problem, used=False)
    ref = one.finest.ref
    bands = ",".join(str(band) for look in one.parts for band in look.ref.bands)
    return Row(
        one.name,
        one.uri,
        one.finest.source.crs if len(one.finest.source.crs) < 20 else "own",
        max(ref.native_resolution_m),
        bands if len(one.parts) == 1 else f"{len(one.parts)} files",
        ref.dtype,
        one.date,
        one.nodata_share,
        one.problem,
        used=not one.bad and not one.copied,
    )
