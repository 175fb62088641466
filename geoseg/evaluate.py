"""Judge a model on whole regions: counts of each and of all, on the pixels that `geoseg map` would give."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.evaluation import SQUARE_PX, Evaluation, RegionScore
from geoseg.fields import BlockFields, predict_block
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.mosaic import PROBABILITY_SCALE
from geoseg.io.regions import region_mask
from geoseg.labels import NODATA_CLASS, Activation, LabelSet
from geoseg.predict import Predictor
from geoseg.progress import Advance, stage_progress
from geoseg.tiling import Block, BlockPlan, Lattice
from geoseg.train.candidates import Candidates
from geoseg.train.metrics.edges import HALO_PX
from geoseg.train.metrics.tally import Tally
from geoseg.train.metrics.truth import Truth
from geoseg.train.scenes import LabelCoding, LabelledScene, Source, open_scenes

_BLOCK_PX = 2048
"""Side of the blocks that are predicted at once, in 0.4 GB for five classes; it changes no pixel."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is judged.

    Attributes:
        predictor: The network on its device.
        imagery: What it expects.
        labels: What it tells apart.
        lattice: Its tiles.
        activation: What makes probabilities of its answers.
        overlapping: Whether a pixel may be of several classes.
    """

    predictor: Predictor
    imagery: Imagery
    labels: LabelSet
    lattice: Lattice
    activation: Activation = "softmax"
    overlapping: bool = False


def evaluate(
    judged: Judged,
    sources: Sequence[Source],
    coding: LabelCoding,
    split: str,
) -> Evaluation:
    """Map all regions of a split as `geoseg map` does, and compare the classes with the labels.

    Pixels that are invalid, ignored or outside the region count neither for nor against.

    Args:
        judged: The model.
        sources: Scenes with labels, of any split.
        coding: The meaning of label values.
        split: The split to judge.

    Raises:
        ConfigError: No source belongs to the split, or none of its pixels is labelled.
        SceneError: A raster cannot be opened or used.
    """
    return Evaluation(split, judged.labels, _scores(judged, sources, coding, split, None))


def evaluate_shared(
    judged: Judged, sources: Sequence[Source], coding: LabelCoding, split: str, shared: Sequence[tuple[int, int]]
) -> tuple[float | None, ...]:
    """The IoU of classes that a model shares with labels which mean other classes besides.

    Each class by itself: where the model finds it, and where the labels have it.

    Args:
        judged: The model.
        sources: Scenes with labels, of any split.
        coding: The meaning of label values.
        split: The split to judge.
        shared: Of each such class its id by the labels, and its id by the model.

    Returns:
        Of each, in their order; None where neither labels nor predictions have it.

    Raises:
        ConfigError: As `evaluate`.
        SceneError: As `evaluate`.
    """
    regions = _scores(judged, sources, coding, split, tuple(shared))
    none = Tally.zero(len(shared))
    return sum((region.tally(len(shared)) for region in regions), none).confusion.iou()


def _scores(
    judged: Judged,
    sources: Sequence[Source],
    coding: LabelCoding,
    split: str,
    shared: tuple[tuple[int, int], ...] | None,
) -> tuple[RegionScore, ...]:
    chosen = [source for source in sources if source.split == split]
    if not chosen:
        raise ConfigError(f"expected data of split {split}, the configuration lists none")
    with open_scenes(chosen, judged.imagery, coding) as scenes:
        scores = []
        with stage_progress(f"evaluate {split}", sum(round(scene.pixels.area) for scene in scenes)) as advance:
            for scene in scenes:
                squares = _SceneScore(scene, judged, coding.candidates, advance, shared).squares()
                scores.append(RegionScore(scene.source.name, tuple(squares)))
    if not any(region.squares for region in scores):
        raise ConfigError(f"expected labelled pixels in the regions of split {split}, found none")
    return tuple(scores)


class _SceneScore:
    """A scene on its way through the model: a row of blocks is counted when the one below it is predicted."""

    def __init__(
        self,
        scene: LabelledScene,
        judged: Judged,
        candidates: Candidates,
        advance: Advance,
        shared: tuple[tuple[int, int], ...] | None,
    ) -> None:
        self._scene = scene
        self._shared = shared
        self._mine, self._theirs = [own for own, _ in shared or ()], [other for _, other in shared or ()]
        self._judged = judged
        self._candidates = candidates
        self._advance = advance
        self._plan = BlockPlan(
            scene.grid.height, scene.grid.width, judged.lattice, _BLOCK_PX, (_BLOCK_PX, _BLOCK_PX)
        )
        self._predicted: dict[tuple[int, int], BlockFields] = {}

    def squares(self) -> Iterator[Tally]:
        """Counts of the squares that hold labels, row by row of blocks."""
        row: list[Block] = []
        above: list[Block] = []
        for block in self._plan:
            if row and block.i != row[0].i:
                yield from self._count(above)
                self._forget(row[0].i - 1)
                above, row = row, []
            row.append(block)
            self._predict(block)
        yield from self._count(above)
        yield from self._count(row)

    def _predict(self, block: Block) -> None:
        covered_px = int(np.count_nonzero(region_mask(self._scene.pixels, block.window)))
        # Blocks outside the region are not even read.
        if not covered_px:
            return
        tiles = 0
        judged = self._judged
        if self._scene.is_labelled(block.window, overlapping=judged.overlapping):
            fields = predict_block(
                self._scene.reader,
                judged.imagery,
                self._plan,
                block,
                judged.predictor,
                len(judged.labels),
                judged.activation,
                probability=judged.overlapping,
            )
            if fields is not None:
                self._predicted[block.i, block.j] = fields
                tiles = fields.tiles
        self._advance(covered_px, tiles)

    def _forget(self, row: int) -> None:
        """Let go of blocks that nothing below can see: those two rows up."""
        for key in [key for key in self._predicted if key[0] < row]:
            del self._predicted[key]

    def _count(self, blocks: Sequence[Block]) -> Iterator[Tally]:
        for block in blocks:
            if (block.i, block.j) not in self._predicted:
                continue
            window = block.window
            for row in range(window.row, window.row_stop, SQUARE_PX):
                for col in range(window.col, window.col_stop, SQUARE_PX):
                    square = Window(
                        row, col, min(SQUARE_PX, window.row_stop - row), min(SQUARE_PX, window.col_stop - col)
                    )
                    tally = self._tally(square)
                    # Of shared classes alone it may be that nothing is known here.
                    if tally.confusion.pixels or self._shared is not None:
                        yield tally

    def _tally(self, square: Window) -> Tally:
        wide = Window(
            square.row - HALO_PX, square.col - HALO_PX, square.height + 2 * HALO_PX, square.width + 2 * HALO_PX
        ).intersection(self._scene.grid.window)
        assert wide is not None  # squares lie on the grid
        classes_hw = self._stitched(wide, lambda fields: fields.classes_hw[None])[0]
        valid_hw = classes_hw != NODATA_CLASS
        inner = square.slices_in(wide)
        if self._judged.overlapping:
            truth = Truth.of_planes(self._scene.planes(wide), valid_hw)
            probability_khw = self._stitched(wide, lambda fields: fields.probability_chw)
            if self._shared is not None:
                truth, probability_khw = truth.of_classes(self._mine), probability_khw[self._theirs]
            return Tally.of_planes(truth, probability_khw, inner)
        truth = Truth.of_labels(self._scene.labels(wide), self._candidates, valid_hw)
        if self._shared is not None:
            there_khw = classes_hw == np.array(self._theirs, np.uint8)[:, None, None]
            return Tally.of_planes(truth.of_classes(self._mine), there_khw * np.uint8(PROBABILITY_SCALE), inner)
        return Tally.of(
            truth, classes_hw, self._stitched(wide, lambda fields: fields.confidence_hw[None])[0], inner
        )

    def _stitched(self, window: Window, take: Callable[[BlockFields], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """What is predicted in a window (channel, row, column), whatever blocks it lies in; 255 where nothing."""
        stitched_chw: NDArray[np.uint8] | None = None
        for i in range(window.row // _BLOCK_PX, (window.row_stop - 1) // _BLOCK_PX + 1):
            for j in range(window.col // _BLOCK_PX, (window.col_stop - 1) // _BLOCK_PX + 1):
                fields = self._predicted.get((i, j))
                block = self._plan.block(i, j).window
                common = block.intersection(window)
                if fields is None or common is None:
                    continue
                of_block_chw = take(fields)
                if stitched_chw is None:
                    stitched_chw = np.full((len(of_block_chw), *window.shape), NODATA_CLASS, np.uint8)
                stitched_chw[:, *common.slices_in(window)] = of_block_chw[:, *common.slices_in(block)]
        assert stitched_chw is not None  # the square's own block is predicted
        return stitched_chw
