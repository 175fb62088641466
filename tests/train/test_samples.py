from collections.abc import Callable

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from geoseg.imagery import Imagery
from geoseg.io.regions import Region
from geoseg.labels import NODATA_CLASS
from geoseg.train.cells import Cells
from geoseg.train.samples import Balance, Sampler
from geoseg.train.scenes import LabelCoding, LabelledScene, Source, open_scenes

WriteScene = Callable[..., Source]

CODING = LabelCoding({1: 0, 2: 1, 3: NODATA_CLASS})


def noise(seed: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    image_chw = rng.integers(0, 256, (3, height, width)).astype(np.uint8)
    return image_chw, rng.integers(0, 4, (height, width)).astype(np.uint8)


def sampler_of(
    scenes: tuple[LabelledScene, ...],
    imagery: Imagery,
    seed: int,
    crop_px: int = 32,
    balance: Balance | None = None,
) -> Sampler:
    return Sampler(scenes, Cells.of(scenes, crop_px), imagery, seed, balance)


def region(col: float, row: float, col_stop: float, row_stop: float) -> Region:
    """A rectangle in pixels of the scenes that `write_scene` makes, on the ground."""
    return Region("EPSG:32640", shapely.box(320000 + col, 2770000 - row_stop, 320000 + col_stop, 2770000 - row))


def test_a_crop_depends_on_seed_and_number_alone(write_scene: WriteScene, imagery: Imagery) -> None:
    sources = (
        write_scene("a", *noise(2, 60, 80)),
        write_scene("b", *noise(3, 50, 40)),
    )
    with open_scenes(sources, imagery, CODING) as scenes, open_scenes(sources, imagery, CODING) as again:
        one, other = sampler_of(scenes, imagery, 5), sampler_of(again, imagery, 5)
        seed_6 = sampler_of(scenes, imagery, 6)
        samples = [one.sample(number, 32) for number in range(8, 12)]
        for number in reversed(range(8, 12)):
            sample, expected = other.sample(number, 32), samples[number - 8]
            assert sample.name == expected.name
            assert np.array_equal(sample.image_chw, expected.image_chw)
            assert np.array_equal(sample.labels_hw, expected.labels_hw)
        assert samples[0].name != samples[1].name
        assert samples[0].name != seed_6.sample(8, 32).name


def test_crops_are_pieces_of_the_scene_inside_the_bounds_of_their_region(
    write_scene: WriteScene, imagery: Imagery
) -> None:
    # Each pixel holds its own place, so a crop says where it comes from.
    rows_hw, cols_hw = np.mgrid[:60, :90].astype(np.uint8)
    labels_hw = np.ones((60, 90), np.uint8)
    source = write_scene("scene", np.stack([rows_hw, cols_hw, rows_hw]), labels_hw, region=region(10, 5, 70, 50))
    with LabelledScene(source, imagery, CODING) as scene:
        sampler = sampler_of((scene,), imagery, 0)
        corners = set()
        for number in range(200):
            sample = sampler.sample(number, 32)
            place_chw = sample.image_chw
            row, col = int(place_chw[0, 0, 0]), int(place_chw[1, 0, 0])
            assert sample.name == f"scene at row {row}, column {col}"
            assert np.array_equal(place_chw[0], rows_hw[row : row + 32, col : col + 32])
            assert np.array_equal(place_chw[1], cols_hw[row : row + 32, col : col + 32])
            assert 5 <= row <= 18
            assert 10 <= col <= 38
            assert (sample.labels_hw == 0).all()
            corners.add((row, col))
    assert {5, 18} <= {row for row, _ in corners}
    assert {10, 38} <= {col for _, col in corners}


@pytest.mark.parametrize("balance", [None, Balance(0.3)])
def test_an_epoch_sees_each_cell_of_all_scenes_once_by_windows_that_move(
    write_scene: WriteScene, imagery: Imagery, balance: Balance | None
) -> None:
    # Each pixel holds its scene's number and its own place.
    sources = []
    for number, (height, width) in enumerate(((50, 90), (20, 20), (12, 70), (64, 64))):
        places_chw = np.stack([np.full((height, width), number), *np.mgrid[:height, :width]]).astype(np.uint8)
        sources.append(write_scene(f"{number}", places_chw, np.ones((height, width), np.uint8)))
    with open_scenes(sources, imagery, CODING) as scenes:
        cells = Cells.of(scenes, 32)
        sampler = Sampler(scenes, cells, imagery, 4, balance)
        middles = []
        for number in range(len(cells)):
            scene, window = cells.place(number)
            middles.append((scene, window.row + 16, window.col + 16))
        # With a share of 0.3, 7 of 10 indices are the walk's.
        walked = [i for i in range(200) if balance is None or int((i + 1) * 0.3) == int(i * 0.3)]
        epochs = [walked[epoch * len(cells) : (epoch + 1) * len(cells)] for epoch in range(3)]
        seen = []
        for epoch in epochs:
            samples = [sampler.sample(index, 32).image_chw[:, 16, 16] for index in epoch]
            # What they show lies at most half a cell beside the cells: there is a way to pair them up.
            reach_nn = np.array(
                [
                    [
                        0.0 if scene == place[0] and max(abs(row - place[1]), abs(col - place[2])) <= 16 else 1.0
                        for scene, row, col in middles
                    ]
                    for place in samples
                ]
            )
            assert reach_nn[linear_sum_assignment(reach_nn)].sum() == 0
            seen.append([tuple(place) for place in samples])
    assert len({place for epoch in seen for place in epoch}) > 1.5 * len(cells)


def test_a_scene_smaller_than_the_crop_is_centred_and_mirrored(write_scene: WriteScene, imagery: Imagery) -> None:
    image_chw, labels_hw = noise(4, 17, 23)
    labels_hw[:] = 1
    with LabelledScene(write_scene("small", image_chw, labels_hw), imagery, CODING) as scene:
        sample = sampler_of((scene,), imagery, 0, 64).sample(0, 64)
    assert sample.image_chw.shape == (3, 64, 64)
    assert np.count_nonzero(sample.labels_hw == 0) == 17 * 23
    assert np.array_equal(sample.image_chw[:, 24:41, 21:44], image_chw)


def test_crops_find_the_labels_where_they_are_rare(write_scene: WriteScene, imagery: Imagery) -> None:
    image_chw, labels_hw = noise(5, 200, 200)
    labels_hw[:] = 0
    labels_hw[80:120, 80:120] = 1
    with LabelledScene(write_scene("rare", image_chw, labels_hw), imagery, CODING) as scene:
        sampler = sampler_of((scene,), imagery, 0, 64)
        for side_px in (16, 64, 90):  # also where crops are made larger or turned
            assert all(np.any(sampler.sample(number, side_px).labels_hw == 0) for number in range(20))


def test_statistics_are_those_of_the_labelled_pixels(write_scene: WriteScene, imagery: Imagery) -> None:
    rng = np.random.default_rng(0)
    image_chw = np.clip(rng.normal([[[60.0]], [[120.0]], [[180.0]]], 12, (3, 120, 120)), 0, 255).astype(np.uint8)
    image_chw[:, :40] = 255
    labels_hw = np.full((120, 120), 2, np.uint8)
    valid_hw = np.ones((120, 120), np.bool_)
    valid_hw[:40] = False
    with LabelledScene(write_scene("scene", image_chw, labels_hw, valid_hw), imagery, CODING) as scene:
        mean, std = sampler_of((scene,), imagery, 0).statistics()
        assert sampler_of((scene,), imagery, 9).statistics() == (mean, std)
    seen = image_chw[:, 40:].reshape(3, -1)
    assert mean == pytest.approx(seen.mean(1).tolist(), abs=0.5)
    assert std == pytest.approx(seen.std(1).tolist(), abs=0.5)


def test_a_constant_band_has_deviation_1(write_scene: WriteScene, imagery: Imagery) -> None:
    source = write_scene("flat", np.full((3, 40, 40), 9, np.uint8), np.ones((40, 40), np.uint8))
    with LabelledScene(source, imagery, CODING) as scene:
        assert sampler_of((scene,), imagery, 0).statistics() == ((9.0,) * 3, (1.0,) * 3)
