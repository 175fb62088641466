"""What two annotations of the same ground agree on, and a model beside them on the same pixels."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.config import TrainConfig
from geoseg.datasets.label_files import RasterFile
from geoseg.datasets.raster_labels import PlacedLabels
from geoseg.errors import ConfigError, GeosegError, SceneError
from geoseg.fields import predict_block
from geoseg.grid import Grid
from geoseg.io.drivers import open_raster
from geoseg.io.source_grid import crs_name
from geoseg.labelled_data import coding_of, predictor_of
from geoseg.labels import NODATA_CLASS
from geoseg.models.package import LoadedModel
from geoseg.models.quality import AgainstBoth, Agreement, Likeness
from geoseg.predict import Predictor
from geoseg.progress import stage_progress
from geoseg.tiling import Block, BlockPlan, Lattice
from geoseg.train.metrics import Confusion
from geoseg.train.scenes import LabelledScene, Source, open_scenes

_BLOCK_PX = 2048
"""Side of the blocks that are compared at once; it changes no pixel."""

_MOST_VALUES = 256
"""More values than that are no classes."""


def likeness(confusion: Confusion, names: Sequence[str]) -> Likeness:
    """Counts of one class raster against another, as figures.

    Args:
        confusion: Pixels by the class in each.
        names: Of the classes.
    """
    return Likeness(
        miou=confusion.miou(), iou=dict(zip(names, confusion.iou(), strict=True)), pixels=confusion.pixels
    )


def compare_rasters(
    first: str, second: str, meanings: Mapping[int, str | None] | None = None
) -> tuple[Confusion, tuple[str, ...]]:
    """Compare two class rasters, class by class, on the pixels of the first where both hold data.

    The second may lie on another grid or in another CRS: the nearest of its pixels counts.

    Args:
        first: One band of whole numbers.
        second: Likewise, of the same ground.
        meanings: From value to class name, or to None for values that do not count; when not given each value is a
            class of its own.

    Returns:
        Pixels by the class in each, and the names of the classes.

    Raises:
        SceneError: A raster cannot be opened or read, is of another place, or holds a value that means nothing.
        GeosegError: There is no pixel that both know.
    """
    pairs = _pairs(first, second)
    if meanings is None:
        meanings = {value: str(value) for value in sorted({value for pair in pairs for value in pair})}
    names = tuple(dict.fromkeys(name for name in meanings.values() if name is not None))
    counts_kk = np.zeros((len(names), len(names)), np.int64)
    for pair, count in pairs.items():
        one, other = (_meaning(value, path, meanings) for value, path in zip(pair, (first, second), strict=True))
        if one is not None and other is not None:
            counts_kk[names.index(one), names.index(other)] += count
    if not counts_kk.any():
        raise GeosegError(f"expected pixels whose class both {first} and {second} know, found none")
    return Confusion(counts_kk), names


def _pairs(first: str, second: str) -> Counter[tuple[int, int]]:
    """How often each pair of values occurs where both rasters hold data."""
    grid, _ = _grid(first), _grid(second)
    pairs: Counter[tuple[int, int]] = Counter()
    with ExitStack() as stack:
        readers = [PlacedLabels(path, grid, first) for path in (first, second)]
        for reader in readers:
            stack.callback(reader.close)
        for block in _blocks(grid, Lattice(512, 0)):
            other_hw = readers[1].read(block.window)
            if not (other_hw >= 0).any():
                continue
            one_hw = readers[0].read(block.window)
            known_hw = (one_hw >= 0) & (other_hw >= 0)
            found, counts = np.unique(np.stack([one_hw[known_hw], other_hw[known_hw]]), axis=1, return_counts=True)
            pairs.update(dict(zip(zip(*found.tolist(), strict=True), counts.tolist(), strict=True)))
            if len(pairs) > _MOST_VALUES**2:
                raise SceneError(f"expected two rasters of up to {_MOST_VALUES} classes, {first} is none")
    return pairs


def _grid(path: str) -> Grid:
    with open_raster(path) as dataset:
        if dataset.crs is None or dataset.transform.is_identity:
            raise SceneError(
                f"expected a raster with a place on earth, {path} has none: give it one (gdal_edit.py)"
            )
        return Grid(crs_name(dataset.crs), dataset.transform, dataset.height, dataset.width)


def _meaning(value: int, path: str, meanings: Mapping[int, str | None]) -> str | None:
    if value not in meanings:
        known = ", ".join(map(str, meanings))
        raise SceneError(f"{path} holds the value {value}: expected one of {known}; say what it means, too")
    return meanings[value]


def annotated_twice(config: TrainConfig, sources: Sequence[Source], root: Path) -> tuple[Source, ...]:
    """The scenes that the annotations in `card.agreement` are of, with the labels of the first; none without it.

    Args:
        config: The configuration.
        sources: Its scenes.
        root: Where its paths start.

    Raises:
        ConfigError: No scene has the first as its labels, or the second is not there.
    """
    said = config.card.agreement
    if said is None:
        return ()
    if not (root / said.second).is_file():
        raise ConfigError(f"card.agreement.second: expected a file, got {said.second}, not found in {root}")
    found = tuple(
        source
        for source in sources
        if isinstance(source.labels, str | RasterFile) and Path(source.label_path) == root / said.first
    )
    if not found:
        raise ConfigError(
            f"card.agreement.first: expected a label raster that an entry of data names, got {said.first}"
        )
    return found


def measure_agreement(
    model: LoadedModel, config: TrainConfig, sources: Sequence[Source], root: Path, device: str | None
) -> Agreement | None:
    """Compare the two annotations that a configuration names, and the model with each, where it may be judged.

    Annotations are compared on all pixels whose class both know, whatever split they lie in; the model on those of
    each split but train, and only where classes exclude each other.

    Args:
        model: Of the configuration's classes.
        config: Names the annotations (`card.agreement`); None is returned where it does not.
        sources: Its scenes.
        root: Where its paths start.
        device: As `--device`.

    Raises:
        ConfigError: The annotations are not there, or there is no pixel that both know.
        SceneError: A raster cannot be read, is of another place, or holds a value that means nothing.
    """
    said, first = config.card.agreement, annotated_twice(config, sources, root)
    if said is None:
        return None
    names, coding = config.label_set().names, coding_of(config, sources)
    # The ground itself, without regard to splits; then each split's part of it.
    everywhere = {source.image: replace(source, region=None, ignored=None) for source in first}
    ground = [*everywhere.values(), *first]
    again = [_labelled_by(source, root / said.second) for source in ground]
    annotators, splits = Confusion.zero(len(names)), Counter[str]()
    of_model: dict[str, tuple[Confusion, Confusion]] = {}
    predictor = predictor_of(model.build(), device)
    with (
        open_scenes(ground, model.imagery, coding) as ones,
        open_scenes(again, model.imagery, coding) as others,
        stage_progress("agreement", sum(round(one.pixels.area) for one in ones)) as advance,
    ):
        for number, (one, other) in enumerate(zip(ones, others, strict=True)):
            split = one.source.split
            for block, one_hw, other_hw in _twice_known(one, other, model, len(names)):
                if number < len(everywhere):
                    annotators += Confusion.of(one_hw, other_hw, len(names))
                    continue
                splits[split] += int(np.count_nonzero(one_hw != NODATA_CLASS))
                if split == "train" or model.card.overlapping:
                    continue
                predicted_hw = _predicted(one, block, model, predictor)
                known_hw = predicted_hw != NODATA_CLASS
                before = of_model.get(split, (Confusion.zero(len(names)),) * 2)
                of_model[split] = (
                    before[0] + Confusion.of(np.where(known_hw, one_hw, NODATA_CLASS), predicted_hw, len(names)),
                    before[1] + Confusion.of(np.where(known_hw, other_hw, NODATA_CLASS), predicted_hw, len(names)),
                )
            advance(round(one.pixels.area))
    if not annotators.pixels:
        raise ConfigError(
            f"card.agreement: expected pixels whose class both {said.first} and {said.second} know, found none"
        )
    return Agreement(
        first=said.first,
        second=said.second,
        annotators=likeness(annotators, names),
        splits=dict(splits),
        model={
            split: AgainstBoth(first=likeness(against_first, names), second=likeness(against_second, names))
            for split, (against_first, against_second) in of_model.items()
        },
    )


def _labelled_by(source: Source, path: Path) -> Source:
    """The same ground with another raster of labels, in the same values."""
    labels = source.labels
    return replace(source, labels=replace(labels, path=str(path)) if isinstance(labels, RasterFile) else str(path))


def _blocks(grid: Grid, lattice: Lattice) -> BlockPlan:
    return BlockPlan(grid.height, grid.width, lattice, _BLOCK_PX, (_BLOCK_PX, _BLOCK_PX))


def _plan(scene: LabelledScene, model: LoadedModel) -> BlockPlan:
    return _blocks(scene.grid, Lattice(model.card.tile.size_px, model.card.tile.overlap_px))


def _twice_known(
    one: LabelledScene, other: LabelledScene, model: LoadedModel, classes: int
) -> Iterator[tuple[Block, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Blocks with class ids of both (row, column), `NODATA_CLASS` in both where one does not know the class."""
    for block in _plan(one, model):
        other_hw = other.labels(block.window)
        if not (other_hw < classes).any():
            continue
        one_hw = one.labels(block.window)
        known_hw = (one_hw < classes) & (other_hw < classes)
        if known_hw.any():
            nothing = np.uint8(NODATA_CLASS)
            yield block, np.where(known_hw, one_hw, nothing), np.where(known_hw, other_hw, nothing)


def _predicted(scene: LabelledScene, block: Block, model: LoadedModel, predictor: Predictor) -> NDArray[np.uint8]:
    """Class ids of a block (row, column), as `geoseg map` gives them; `NODATA_CLASS` where there is no data."""
    fields = predict_block(
        scene.reader,
        model.imagery,
        _plan(scene, model),
        block,
        predictor,
        len(model.labels),
        model.card.activation,
        probability=False,
    )
    return np.full(block.window.shape, NODATA_CLASS, np.uint8) if fields is None else fields.classes_hw
