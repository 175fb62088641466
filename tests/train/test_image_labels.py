from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geoseg.errors import ConfigError, SceneError
from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS
from geoseg.train.image_labels import ImageLabel, open_images, read_image_labels

WriteRaster = Callable[..., Path]
NAMES = ("red", "blue")


@pytest.fixture(scope="module")
def images(write_raster: WriteRaster) -> tuple[Path, ...]:
    """Four images of 10 to 13 x 40 px, no data in the first columns; the first band is the image's number."""
    paths = []
    for number in range(4):
        image_chw = np.random.default_rng(number).integers(0, 256, (3, 10 + number, 40)).astype(np.uint8)
        image_chw[0] = number
        mask_hw = np.arange(40) >= np.full((10 + number, 1), 3)
        paths.append(write_raster(image_chw, f"image{number}.tif", mask_hw=mask_hw))
    return tuple(paths)


def write_csv(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def test_a_line_says_what_an_image_holds(images: tuple[Path, ...], tmp_path: Path) -> None:
    path = write_csv(tmp_path, f"image,classes\n{images[0]},red; blue\n{images[1]},\n{images[2]},blue\n")
    assert read_image_labels(path, NAMES) == (
        ImageLabel(images[0], frozenset({0, 1})),
        ImageLabel(images[1], frozenset()),
        ImageLabel(images[2], frozenset({1})),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a line for each image"),
        ("image,class\n{0},red\n", "columns image and classes"),
        ("image,classes\n{0},red\n{1},green\n", "line 3: expected classes of red, blue, got 'green'"),
        ("image,classes\n{0}.png,red\n", "line 2: expected an image"),
        ("image,classes\n{0},red\n{0},blue\n", "there twice"),
        ("image,classes\n{0},red\n{1},red\n", "differ in their classes"),
    ],
)
def test_wrong_lines_are_named(images: tuple[Path, ...], tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        read_image_labels(write_csv(tmp_path, text.format(*images)), NAMES)


def test_windows_depend_on_seed_and_number_and_meet_each_image_once_in_a_round(
    images: tuple[Path, ...], imagery: Imagery
) -> None:
    labels = [ImageLabel(path, frozenset({number % 2})) for number, path in enumerate(images)]
    with open_images(labels, imagery, 2, 5) as one, open_images(labels, imagery, 2, 5) as other:
        samples = [one.sample(index, 12) for index in range(40)]
        for index in reversed(range(40)):
            sample, expected = other.sample(index, 12), samples[index]
            assert sample.name == expected.name
            assert np.array_equal(sample.image_chw, expected.image_chw)
    orders = set()
    for start in range(0, 40, 4):
        numbers = [int(sample.image_chw[0].max()) for sample in samples[start : start + 4]]
        assert sorted(numbers) == [0, 1, 2, 3]
        orders.add(tuple(numbers))
    assert len(orders) > 1
    for sample in samples:
        number = int(sample.image_chw[0].max())
        assert sample.name == str(images[number])
        # Where there is data each plane says what the whole image holds, elsewhere nothing.
        for label, plane_hw in enumerate(sample.labels_hw):
            assert (plane_hw[sample.valid_hw] == (label == number % 2)).all()
            assert (plane_hw[~sample.valid_hw] == NODATA_CLASS).all()


def test_statistics_are_those_of_all_data(images: tuple[Path, ...], imagery: Imagery) -> None:
    with open_images([ImageLabel(path, frozenset()) for path in images], imagery, 2, 0) as opened:
        mean, std = opened.statistics()
        pixels = [reader.read(reader.grid.window) for reader in opened.readers]
    values_cn = np.concatenate([image_chw[:, valid_hw] for image_chw, valid_hw in pixels], 1)
    assert mean == pytest.approx(values_cn.mean(1))
    assert std == pytest.approx(values_cn.std(1), rel=1e-4)


def test_large_scenes_are_no_images(write_raster: WriteRaster, imagery: Imagery) -> None:
    path = write_raster(np.zeros((3, 1, 4097), np.uint8))
    with (
        pytest.raises(SceneError, match="at most 4096 px on a side, got 1 x 4097 px"),
        open_images([ImageLabel(path, frozenset())], imagery, 2, 0),
    ):
        pass
