"""The windows of scenes that a model knows least of, as chips to label."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import shapely
from pyproj import Transformer

from geoseg.config import TrainConfig
from geoseg.errors import ConfigError, GeosegError
from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.io.chip_files import write_image_chip
from geoseg.io.inputs import find_sources
from geoseg.io.raster import SceneReader
from geoseg.io.scene import describe_scene
from geoseg.io.whole_folder import whole_folder
from geoseg.labelled_data import coding_of, predictor_of, sources_of
from geoseg.models.package import LoadedModel
from geoseg.progress import stage_progress
from geoseg.tile_export import (
    ChipOptions,
    ChipWriter,
    ExportedTiles,
    chip_name,
    tile_windows,
    window_box,
)
from geoseg.tiling import Lattice
from geoseg.train.scenes import LabelledScene, open_scenes
from geoseg.train.uncertainty import choose_spread, places_m, window_scores

_UNLABELLED = "unlabelled"
"""The group of chips of scenes without labels."""


@dataclass(frozen=True, slots=True)
class _Candidates:
    """A scene with the windows of it that may be chosen."""

    number: int
    name: str
    path: str
    reader: SceneReader
    labelled: LabelledScene | None
    windows: tuple[Window, ...]

    @property
    def grid(self) -> Grid:
        return self.reader.grid


@dataclass(frozen=True, slots=True)
class _Choice:
    scene: _Candidates
    window: Window
    uncertainty: float
    data_share: float


def export_uncertain(
    given: TrainConfig | Sequence[str],
    root: Path,
    model: LoadedModel,
    device: str | None,
    count: int,
    output: Path,
    options: ChipOptions,
) -> ExportedTiles:
    """Write the windows whose labels would help a model most: of the highest mean entropy, spread over the scenes.

    Every window of the size of a chip competes that holds enough data, and of which at least half lies in the
    region of a split that is taken, whether it is labelled or not. No two of a scene overlap. The first chosen is
    the one of the highest mean entropy, each next one the highest of those that lie far enough from all before
    (`choose_spread`); the distance begins at the side of a square of ground as large as each would have if all were
    alike.

    There are images/GROUP/NAME.tif, with labels/GROUP/NAME.tif where the scene is labelled; and windows.geojson,
    the windows with their scores, the most uncertain first. The folder appears when all is written.

    Args:
        given: The configuration of a data set, or scenes.
        root: Where a configuration's paths start.
        model: What is to be helped.
        device: As `--device`.
        count: How many are wanted; all where there are fewer.
        output: A folder that is not there, or empty.
        options: How scenes are cut; chips do not overlap.

    Raises:
        ConfigError: No window holds enough data, or the folder is not empty.
        SceneError: A raster cannot be opened or used.
        StoppedError: The disk is full.
    """
    if count < 1:
        raise GeosegError(f"expected at least 1 window, got --uncertain {count}")
    if options.overlap_px:
        raise GeosegError("--overlap has no meaning with --uncertain: the windows that are chosen lie apart")

    def write(folder: Path) -> dict[str, int]:
        with _opened(given, root, model.imagery, options) as scenes:
            chosen, apart_m = _choose(scenes, model, device, count, options.min_labelled)
            writer = ChipWriter(folder, model.imagery, given.label_set() if _is_config(given) else model.labels)
            features = [
                _feature(rank, one, _write_chip(one, writer, folder, model.imagery))
                for rank, one in enumerate(chosen, 1)
            ]
        if _is_config(given):
            writer.finish(coding_of(given, sources_of(given, root)).candidates)
        document = {"type": "FeatureCollection", "apart_m": round(apart_m, 3), "features": features}
        (folder / "windows.geojson").write_text(json.dumps(document) + "\n")
        return dict(writer.chips)

    return ExportedTiles(output, whole_folder(output, write))


def _is_config(given: TrainConfig | Sequence[str]) -> TypeGuard[TrainConfig]:
    return isinstance(given, TrainConfig)


@contextmanager
def _opened(
    given: TrainConfig | Sequence[str], root: Path, imagery: Imagery, options: ChipOptions
) -> Iterator[list[_Candidates]]:
    """The scenes with their windows, open."""
    if isinstance(given, TrainConfig):
        all_sources = sources_of(given, root)
        sources = [source for source in all_sources if source.split in options.splits]
        if not sources:
            raise ConfigError(f"expected data of split {' or '.join(options.splits)}, the configuration lists none")
        with open_scenes(sources, imagery, coding_of(given, all_sources)) as scenes:
            yield [
                _Candidates(
                    number,
                    scene.source.name,
                    scene.source.image,
                    scene.reader,
                    scene,
                    _windows(scene.grid, scene.pixels, options),
                )
                for number, scene in enumerate(scenes)
            ]
        return
    opened: list[_Candidates] = []
    try:
        for number, source in enumerate(find_sources(given, imagery.bands)):
            if len(source.files) != 1:
                raise ConfigError(f"expected scenes of one file each, {', '.join(source.files)} are one scene")
            path = source.files[0]
            reader = SceneReader(describe_scene(path, imagery))
            whole = window_box(reader.grid.window)
            windows = _windows(reader.grid, whole, options)
            opened.append(_Candidates(number, Path(path).stem, path, reader, None, windows))
        yield opened
    finally:
        for one in opened:
            one.reader.close()


def _windows(grid: Grid, pixels: shapely.Geometry, options: ChipOptions) -> tuple[Window, ...]:
    """Whole windows of which at least half lies in a region; of a scene that is smaller than one, all of it."""
    windows = tile_windows(grid.height, grid.width, options)
    shape = min(options.size_px, grid.height), min(options.size_px, grid.width)
    half_px = shape[0] * shape[1] / 2
    return tuple(
        window
        for window in windows
        if window.shape == shape and shapely.intersection(pixels, window_box(window)).area >= half_px
    )


def _choose(
    scenes: Sequence[_Candidates], model: LoadedModel, device: str | None, count: int, least: float
) -> tuple[list[_Choice], float]:
    predictor = predictor_of(model.build(), device)
    lattice = Lattice(model.card.tile.size_px, model.card.tile.overlap_px)
    found: list[_Choice] = []
    places, area_m2 = [np.empty((0, 3))], 0.0
    with stage_progress("uncertain", sum(one.grid.height * one.grid.width for one in scenes)) as advance:
        for one in scenes:
            scores = window_scores(
                one.reader, one.grid, model.imagery, lattice, predictor, len(model.labels), one.windows, advance
            )
            height_m, width_m = one.grid.ground_resolution_m()
            placed = places_m(one.grid, one.windows, one.number) if one.windows else np.empty((0, 3))
            for (score, share), window, place in zip(scores, one.windows, placed, strict=True):
                if share > 0 and share >= least:
                    found.append(_Choice(one, window, score, share))
                    places.append(place[None])
                    area_m2 += window.height * window.width * height_m * width_m
    if not found:
        raise ConfigError(
            f"no window holds data in {least:g} of its pixels or more: lower --min-labelled or --size, or name "
            "other scenes"
        )
    apart_m = math.sqrt(area_m2 / count)
    numbers, apart_m = choose_spread([one.uncertainty for one in found], np.concatenate(places), count, apart_m)
    chosen = [found[number] for number in numbers]
    return sorted(chosen, key=lambda one: (-one.uncertainty, one.scene.number, one.window)), apart_m


def _write_chip(one: _Choice, writer: ChipWriter, folder: Path, imagery: Imagery) -> tuple[str, float]:
    """Write a window; returns its group and name, and the share that is labelled."""
    if one.scene.labelled is not None:
        written = writer.write_labelled(one.scene.number, one.scene.labelled, one.window, 0)
        assert written is not None
        return written
    (folder / "images" / _UNLABELLED).mkdir(parents=True, exist_ok=True)
    name = f"{_UNLABELLED}/{chip_name(one.scene.number, one.scene.name, one.window)}"
    image_chw, valid_hw = one.scene.reader.read(one.window)
    grid = one.scene.grid.part(one.window)
    write_image_chip(folder / "images" / f"{name}.tif", image_chw, valid_hw, grid, imagery)
    writer.chips[_UNLABELLED] = writer.chips.get(_UNLABELLED, 0) + 1
    return name, 0.0


def _feature(rank: int, one: _Choice, written: tuple[str, float]) -> dict[str, Any]:
    """A window as a GeoJSON feature (RFC 7946); without geometry where the scene has no place on earth."""
    name, labelled_share = written
    return {
        "type": "Feature",
        "geometry": _geometry(one.scene.grid, one.window),
        "properties": {
            "rank": rank,
            "uncertainty": round(one.uncertainty, 6),
            "data_share": round(one.data_share, 4),
            "labelled_share": round(labelled_share, 4),
            "chip": f"images/{name}.tif",
            "scene": one.scene.path,
            "row": one.window.row,
            "column": one.window.col,
            "height": one.window.height,
            "width": one.window.width,
        },
    }


def _geometry(grid: Grid, window: Window) -> dict[str, Any] | None:
    if not grid.has_place:
        return None
    ground = shapely.transform(window_box(window), lambda xy: _transformed(grid, xy))
    to_lonlat = Transformer.from_crs(grid.crs, "OGC:CRS84", always_xy=True)
    lonlat = shapely.transform(ground, lambda xy: np.column_stack(to_lonlat.transform(xy[:, 0], xy[:, 1])))
    ring = np.round(shapely.get_coordinates(shapely.normalize(lonlat)), 8).tolist()
    # Outer rings run against the clock, which shapely's normal form does not.
    return {"type": "Polygon", "coordinates": [ring[::-1]]}


def _transformed(grid: Grid, xy: Any) -> Any:  # noqa: ANN401  # arrays (n, 2), of what shapely gives
    return np.array([grid.transform @ (float(x), float(y)) for x, y in xy])
