"""What was handed in, looked at scene by scene, and put on one grid: the region to map."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TypeVar

import numpy as np
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning

from geoseg.errors import SceneError
from geoseg.imagery import Imagery
from geoseg.io.addresses import is_on_web, shown
from geoseg.io.candidate import Candidate, Row, look_through
from geoseg.io.common_grid import GridRule, common_crs, common_grid, kept_resolution_m, middles_on_sphere
from geoseg.io.region import MOST_SCENES, MergeRule, Region
from geoseg.io.sample import sample_scene
from geoseg.io.scene import KEEP_RATIO, SceneOptions, look_at, settle
from geoseg.io.scene_ref import SceneRef
from geoseg.io.sources import SceneSource
from geoseg.io.turns import MOST_AT_ONCE, side_by_side

_MOST_NAMED = 20
"""Bad scenes that are named in an error."""

_Result = TypeVar("_Result")

_EARTH_KM = 6371.0
_FAR_KM = 100.0
_FAR_TIMES = 20
"""A scene is far from all others at so many times what is usual between neighbours."""


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
    seen = _of_each(sources, lambda number: look_through(sources[number], names[number], imagery, options), at_once)
    _mark_copies(seen)
    good, rule = _selected(seen, imagery, options, skip_bad=skip_bad)
    grid, grid_rule = common_grid([one.finest.source for one in good], rule)
    mixed = len({one.finest.ref.dtype for one in good}) > 1
    scenes = {}

    def put(number: int) -> None:
        one = good[number]
        try:
            scenes[one.uri] = one.placed(grid, options, mixed=mixed)
        except SceneError as error:
            one.problem, one.bad = str(error), True

    _of_each([one.source for one in good], put, at_once)
    _still_good(seen, skip_bad=skip_bad)
    ordered, notes = _in_order([one for one in seen if one.uri in scenes and not one.problem], merge)
    _mark_far(ordered)
    _of_each(
        [one.source for one in ordered],
        lambda number: ordered[number].doubt(scenes[ordered[number].uri].parts, imagery),
        at_once,
    )
    region = Region(grid, tuple(scenes[one.uri] for one in ordered), merge)
    notes += [f"left out: {one.name}: {one.problem}" for one in seen if one.bad]
    notes += [f"{one.name}: {one.problem}" for one in seen if one.problem and not one.bad]
    notes += _common_notes([scene.parts[0] for scene in region.scenes], [scene.name for scene in region.scenes])
    return Survey(region, tuple(one.row() for one in seen), grid_rule, tuple(notes))


def _selected(
    seen: Sequence[Candidate], imagery: Imagery, options: SceneOptions, *, skip_bad: bool
) -> tuple[list[Candidate], GridRule]:
    """The scenes that can go on one grid, sorted by address, and what the grid shall be."""
    good = [one for one in seen if not one.problem]
    if not good:
        raise SceneError(_named(seen, "none of the scenes can be mapped"))
    target_m = _target_m(good, imagery, options)
    pixel_m = kept_resolution_m([one.finest.source for one in good]) if target_m is None else target_m
    for one in good:
        one.check_scale(imagery, pixel_m)
    rule = GridRule(options.crs, target_m, options.align)
    good = [one for one in good if not one.bad]
    if good:
        crs, _ = common_crs([one.finest.source for one in good], rule)
        for one in good:
            one.check_place(crs)
    # Where the scenes of a region lie must not depend on the order in which they were named.
    return sorted(_still_good(seen, skip_bad=skip_bad), key=lambda one: one.uri), rule


def _single(source: SceneSource, name: str, imagery: Imagery, options: SceneOptions, merge: MergeRule) -> Survey:
    look = look_at(source.files[0], imagery, options)
    ref = settle(look, imagery, options)
    one = Candidate(name, ref.path, source, (look,))
    one.samples.append(sample_scene(replace(look.ref, stretch=ref.stretch)))
    one.doubt((ref,), imagery)
    region = replace(Region.of(ref, name, one.date), merge=merge)
    words = "the scene's own CRS" if options.crs is None else "as asked"
    notes = (*ref.notes, *((one.problem,) if one.problem else ()))
    return Survey(region, (one.row(),), words, notes)


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


def _mark_copies(seen: Sequence[Candidate]) -> None:
    """Scenes with the same files' content in the same place are read once."""
    first: dict[object, str] = {}
    for one in sorted((one for one in seen if not one.problem), key=lambda one: one.uri):
        content = tuple((look.ref.fingerprint, look.source, look.ref.bands) for look in one.parts)
        if content in first:
            one.problem, one.copied = f"the same as {first[content]}, which is read in its place", True
        first.setdefault(content, one.name)


def _target_m(good: Sequence[Candidate], imagery: Imagery, options: SceneOptions) -> float | None:
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


def _in_order(good: list[Candidate], merge: MergeRule) -> tuple[list[Candidate], list[str]]:
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


def _mark_far(good: Sequence[Candidate]) -> None:
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


def _still_good(seen: Sequence[Candidate], *, skip_bad: bool) -> list[Candidate]:
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


def _named(seen: Sequence[Candidate], what: str) -> str:
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
