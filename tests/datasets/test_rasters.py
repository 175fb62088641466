"""Label rasters: every value or colour comes back as what it stands for."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_files import write_image
from numpy.typing import NDArray
from PIL import Image

from geoseg.datasets.rasters import RasterChip, colour_code, image_shape
from geoseg.errors import ConfigError, SceneError

COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 7], [255, 255, 255]], np.uint8)
"""Red, green and blue of four categories."""

NAMES = ("#000000", "255,0,0", "#008007", "255, 255, 255")
VALUES = {"0": 2, "1": 0, "2": 255, "3": 1}
BY_COLOUR = dict(zip(NAMES, VALUES.values(), strict=True))
TABLE = np.array([2, 0, 255, 1], np.uint8)

labels = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3))


def write(kind: str, path: Path, labels_hw: NDArray[np.uint8]) -> None:
    match kind:
        case "values" | "TIFF":
            Image.fromarray(labels_hw).save(path, "TIFF" if kind == "TIFF" else "PNG")
        case "16 bits":
            Image.fromarray(labels_hw.astype(np.uint16)).save(path)
        case "palette" | "packed palette":
            picture = Image.fromarray(labels_hw).convert("P")
            picture.putdata(labels_hw.reshape(-1).tolist())
            picture.putpalette(COLOURS.reshape(-1).tolist())
            picture.save(path, **({"bits": 2} if kind == "packed palette" else {}), transparency=1)
        case "grey in colour":
            Image.fromarray(np.repeat(labels_hw[..., None], 3, -1)).save(path)
        case "colours":
            Image.fromarray(COLOURS[labels_hw]).save(path)


def chip_of(folder: Path, shape: tuple[int, int], ignored: frozenset[str] = frozenset()) -> RasterChip:
    return RasterChip(write_image(folder / "chip.png", shape), folder / "labels.png", ignored)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("values", VALUES),
        ("TIFF", VALUES),
        ("16 bits", VALUES),
        ("grey in colour", VALUES),
        ("palette", VALUES),
        ("palette", BY_COLOUR),
        ("packed palette", VALUES),
        ("packed palette", BY_COLOUR),
        ("colours", BY_COLOUR),
    ],
)
@given(labels)
@settings(max_examples=4)
def test_each_pixel_is_what_its_value_or_colour_stands_for(
    kind: str, values: dict[str, int], labels_hw: NDArray[np.uint8]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        chip = chip_of(Path(folder), (labels_hw.shape[0], labels_hw.shape[1]))
        write(kind, chip.labels, labels_hw)
        coded_hw = TABLE[labels_hw]
        np.testing.assert_array_equal(chip.draw(values, 9), coded_hw)
        planes_chw = chip.planes(values, 4)
        for class_id in range(3):
            np.testing.assert_array_equal(planes_chw[class_id] == 1, coded_hw == class_id)
            np.testing.assert_array_equal(planes_chw[class_id] == 255, coded_hw == 255)
        assert (planes_chw[3] == 255).all(), "of a class that nothing stands for nothing is known"


def test_what_is_none_of_the_classes_is_in_no_plane(tmp_path: Path) -> None:
    chip = chip_of(tmp_path, (1, 3))
    write("values", chip.labels, np.array([[0, 1, 2]], np.uint8))
    planes_chw = chip.planes({"0": 2, "1": 0, "2": 255}, 2)
    np.testing.assert_array_equal(planes_chw[0], [[0, 1, 255]])


def test_categories_are_what_it_holds(tmp_path: Path) -> None:
    chip = chip_of(tmp_path, (1, 3))
    write("values", chip.labels, np.array([[0, 3, 3]], np.uint8))
    assert chip.categories() == {"0", "3"}
    write("colours", chip.labels, np.array([[0, 3, 2]], np.uint8))
    assert chip.categories() == {"#000000", "#ffffff", "#008007"}


def test_what_is_ignored_stays_so_unless_a_class_is_given_to_it(tmp_path: Path) -> None:
    chip = chip_of(tmp_path, (1, 2), frozenset({"255"}))
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(chip.labels)
    np.testing.assert_array_equal(chip.draw({"0": 1}, 9), [[1, 255]])
    np.testing.assert_array_equal(chip.draw({"0": 1, "255": 0}, 9), [[1, 0]])


def test_transparent_pixels_and_nodata_are_ignored(tmp_path: Path) -> None:
    chip = chip_of(tmp_path, (1, 3))
    rgba_hwc = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [9, 9, 9, 100]]], np.uint8)
    Image.fromarray(rgba_hwc).save(chip.labels)
    np.testing.assert_array_equal(chip.draw({"#ff0000": 1}, 9), [[1, 255, 255]])
    profile = {"driver": "GTiff", "height": 1, "width": 3, "count": 1, "dtype": "int16", "nodata": -1}
    with rasterio.open(chip.labels, "w", **profile) as dataset:
        dataset.write(np.array([[5, -1, 0]], np.int16), 1)
    np.testing.assert_array_equal(chip.draw({"5": 1, "0": 0}, 9), [[1, 255, 0]])


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("values", {"0": 0, "1": 1}, "holds 3, which stands for no class: expected one of 0, 1;"),
        ("colours", {"#000000": 0}, "holds #ffffff, which stands for no class"),
        ("colours", {"0": 0}, "holds colours"),
        ("values", {"#000000": 0}, "holds numbers"),
        ("values", {"building": 0}, "written as a number or colour"),
        ("values", {"#000000": 0, "3": 1}, "expected a colour as #rrggbb"),
    ],
)
def test_categories_that_do_not_fit_are_named(kind: str, values: dict[str, int], said: str, tmp_path: Path) -> None:
    chip = chip_of(tmp_path, (1, 2))
    write(kind, chip.labels, np.array([[1, 3]] if kind == "colours" and "0" in values else [[3, 3]], np.uint8))
    with pytest.raises(ConfigError, match=said) as error:
        chip.draw(values, 9)
    assert str(chip.labels) in str(error.value)


def test_a_raster_of_another_size_is_refused(tmp_path: Path) -> None:
    chip = chip_of(tmp_path, (4, 2))
    write("values", chip.labels, np.zeros((2, 4), np.uint8))
    with pytest.raises(SceneError, match=r"has 2 x 4 px, its image .* 4 x 2"):
        chip.draw({"0": 0}, 9)


def test_a_jpeg_of_labels_is_refused(tmp_path: Path) -> None:
    chip = chip_of(tmp_path, (2, 2))
    Image.new("L", (2, 2)).save(chip.labels, "JPEG")
    with pytest.raises(SceneError, match="blurs labels"):
        chip.draw({"0": 0}, 9)


@pytest.mark.parametrize("keep", [0, 20, 60, 90])
def test_a_raster_cut_short_is_named(keep: int, tmp_path: Path) -> None:
    chip = chip_of(tmp_path, (64, 64))
    noise_hw = np.random.default_rng(1).integers(0, 4, (64, 64)).astype(np.uint8)
    write("values", chip.labels, noise_hw)
    chip.labels.write_bytes(chip.labels.read_bytes()[:keep])
    with pytest.raises(SceneError, match=r"labels\.png"):
        chip.draw(VALUES, 9)


def test_pictures_that_lie_on_their_side_are_refused(tmp_path: Path) -> None:
    orientation = Image.Exif()
    orientation[274] = 6
    Image.new("RGB", (4, 2)).save(tmp_path / "chip.jpg", exif=orientation)
    with pytest.raises(SceneError, match="EXIF orientation 6"):
        image_shape(tmp_path / "chip.jpg")
    orientation[274] = 1
    Image.new("RGB", (4, 2)).save(tmp_path / "chip.jpg", exif=orientation)
    assert image_shape(tmp_path / "chip.jpg") == (2, 4)


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_a_colour_is_the_same_however_it_is_written(rgb: tuple[int, int, int]) -> None:
    red, green, blue = rgb
    code = 65536 * red + 256 * green + blue
    assert colour_code(f"#{red:02x}{green:02X}{blue:02x}") == code
    assert colour_code(f"{red},{green}, {blue}") == code
    assert colour_code(str(code)) is None
    assert colour_code("256,0,0") is None
