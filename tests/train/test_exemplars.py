from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS
from geoseg.train.exemplars import best_and_worst
from geoseg.train.metrics import Confusion
from geoseg.train.scenes import LabelCoding, LabelledScene, Source

WriteScene = Callable[..., Source]


def test_the_best_and_worst_are_those_of_a_whole_sort(write_scene: WriteScene, imagery: Imagery) -> None:
    rng = np.random.default_rng(0)
    image_chw = rng.integers(0, 256, (3, 40, 60)).astype(np.uint8)
    labels_hw = rng.integers(1, 3, (40, 60)).astype(np.uint8)
    labels_hw[:10, :10] = 0
    source = write_scene("scene", image_chw, labels_hw)
    predicted_hw = rng.integers(0, 2, (40, 60)).astype(np.uint8)
    # Windows of which some are as good as others.
    predicted_hw[:, 30:] = labels_hw[:, 30:] - 1
    windows = [Window(row, col, 10, 10) for row in range(0, 40, 10) for col in range(0, 60, 10)]

    def predict(_scene: LabelledScene, window: Window) -> NDArray[np.uint8]:
        return predicted_hw[window.slices_in(Window(0, 0, 40, 60))]

    with LabelledScene(source, imagery, LabelCoding({1: 0, 2: 1})) as scene:
        judged = []
        for window in windows[1:]:
            miou = Confusion.of(scene.labels(window), predict(scene, window), 2).miou()
            assert miou is not None
            judged.append((miou, f"scene, row {window.row}, column {window.col}"))
        pairs = [(scene, window) for window in windows]
        for count in (1, 4, 12, 40):
            best, worst = best_and_worst(pairs, predict, 2, count)
            expected = sorted(judged, key=lambda one: -one[0])
            assert [(one.miou, one.name) for one in best] == expected[: min(count, 12)]
            assert [(one.miou, one.name) for one in worst] == expected[::-1][: min(count, 11)]
            assert not {one.name for one in best} & {one.name for one in worst}
        assert np.array_equal(best[0].image_chw[0], image_chw[0, :10, 30:40])
        assert (best[0].labels_hw == best[0].predicted_hw).all()


@given(st.integers(0, 9), st.integers(1, 4))
@settings(max_examples=10)
def test_nothing_is_shown_twice_however_few_there_are(windows: int, count: int) -> None:
    class Even:
        """A scene that is the same everywhere."""

        source = Source("even", "", "", "val", None)

        def labels(self, window: Window) -> NDArray[np.uint8]:
            return np.ones(window.shape, np.uint8)

        def image(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
            return np.zeros((1, *window.shape), np.float32), np.ones(window.shape, np.bool_)

    scene = Even()
    pairs = [(scene, Window(0, col, 4, 4)) for col in range(windows)]

    def predict(_scene: LabelledScene, window: Window) -> NDArray[np.uint8]:
        lacking_hw = np.indices(window.shape)[0] < window.col % 3
        return np.where(lacking_hw, np.uint8(NODATA_CLASS), np.uint8(0))

    best, worst = best_and_worst(pairs, predict, 2, count)  # type: ignore[arg-type]  # what is read of a scene
    names = [one.name for one in (*best, *worst)]
    assert len(names) == len(set(names)) == min(windows, 2 * count)
