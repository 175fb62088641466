"""Images and label rasters in folders: paired by name, or named and refused."""

from pathlib import Path

import numpy as np
import pytest
from label_files import write_image
from PIL import Image

from geoseg.datasets.formats import read_chips
from geoseg.datasets.rasters import RasterChip
from geoseg.errors import ConfigError, GeosegError


def label(path: Path, *values: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array([values], np.uint8)).save(path)


def pairs_of(folder: Path, **options: object) -> set[tuple[str, str]]:
    chips = read_chips(folder, **options)  # type: ignore[arg-type]  # as the test names them
    assert all(isinstance(chip, RasterChip) for chip in chips)
    return {(chip.image.name, Path(chip.where).name) for chip in chips}


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("a.jpg", "a.png"),
        ("a.png", "a.tif"),
        ("a_sat.jpg", "a_mask.png"),
        ("a_leftImg8bit.png", "a_gtFine_labelIds.png"),
        ("a_img.png", "a_img.png"),
        ("city/a.png", "city/a_label.png"),
        ("_mask.png", "_mask.png"),
    ],
)
def test_pairs_are_found_by_name(image: str, labels: str, tmp_path: Path) -> None:
    write_image(tmp_path / "images" / image, (1, 1))
    write_image(tmp_path / "images" / "b.png", (1, 1))
    label(tmp_path / "masks" / labels, 0)
    label(tmp_path / "masks" / "b.png", 0)
    expected = {(Path(image).name, Path(labels).name), ("b.png", "b.png")}
    assert pairs_of(tmp_path) == expected
    (tmp_path / "masks").rename(tmp_path / "elsewhere")
    assert pairs_of(tmp_path / "elsewhere", images=tmp_path / "images") == expected


def test_images_and_labels_may_lie_in_one_folder(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}_sat.jpg", (1, 1))
        label(tmp_path / f"{number}_mask.png", 0)
    assert pairs_of(tmp_path, images=tmp_path) == {(f"{n}_sat.jpg", f"{n}_mask.png") for n in range(3)}


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        ("a b", "a", r"expected a label in .*labels for each image, got none for .*b\.png;"),
        ("a", "a b", r"expected an image in .*images for each label, got none for .*b\.png;"),
        ("a b c d e", "a", r"and 1 more;"),
        ("a", "a a_mask", "got none for"),
        ("a a_sat", "a a_mask", "expected one image and one label named a"),
        ("", "", "expected images with labels in"),
    ],
)
def test_what_has_no_partner_is_named(images: str, labels: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name in images.split():
        write_image(tmp_path / "images" / f"{name}.png", (1, 1))
    for name in labels.split():
        label(tmp_path / "labels" / f"{name}.png", 0)
    with pytest.raises(ConfigError, match=said):
        read_chips(tmp_path, "folders")


def test_jpegs_of_labels_are_refused_by_name(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.png", (1, 1))
    write_image(tmp_path / "labels" / "a.jpg", (1, 1))
    with pytest.raises(ConfigError, match="which blurs labels"):
        read_chips(tmp_path, "folders")


def test_255_is_ignored_by_default_and_nothing_where_that_is_asked(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.png", (1, 2))
    label(tmp_path / "labels" / "a.png", 0, 255)
    (chip,) = read_chips(tmp_path)
    np.testing.assert_array_equal(chip.draw({"0": 3}, 9), [[3, 255]])
    (chip,) = read_chips(tmp_path, ignored=frozenset())
    with pytest.raises(ConfigError, match="holds 255"):
        chip.draw({"0": 3}, 9)


def test_voc_is_read_by_its_lists(tmp_path: Path) -> None:
    for name in ("2007_01", "2007_02", "without_label"):
        write_image(tmp_path / "JPEGImages" / f"{name}.jpg", (1, 3))
    for name in ("2007_01", "2007_02"):
        picture = Image.new("P", (3, 1))
        picture.putdata([0, 15, 255])
        picture.putpalette([0, 0, 0] * 15 + [192, 128, 128] * 241)
        (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
        picture.save(tmp_path / "SegmentationClass" / f"{name}.png")
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("2007_02\n\n")
    assert len(read_chips(tmp_path)) == 2
    (chip,) = read_chips(tmp_path, subset="train")
    assert chip.image.name == "2007_02.jpg"
    np.testing.assert_array_equal(chip.draw({"0": 0, "15": 1}, 9), [[0, 1, 255]])
    with pytest.raises(ConfigError, match="list of names at"):
        read_chips(tmp_path, subset="val")
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("2007_09\n")
    with pytest.raises(ConfigError, match="got none for 2007_09"):
        read_chips(tmp_path, subset="train")


def test_cityscapes_is_read_by_its_label_ids_and_its_void_is_ignored(tmp_path: Path) -> None:
    for split in ("train", "val"):
        stem = f"ulm/ulm_0_0_{split}"
        write_image(tmp_path / "leftImg8bit" / split / f"{stem}_leftImg8bit.png", (1, 4))
        label(tmp_path / "gtFine" / split / f"{stem}_gtFine_labelIds.png", 7, 11, 3, 255)
        label(tmp_path / "gtFine" / split / f"{stem}_gtFine_labelTrainIds.png", 0, 2, 255, 255)
        label(tmp_path / "gtFine" / split / f"{stem}_gtFine_instanceIds.png", 7, 11, 3, 255)
    assert len(read_chips(tmp_path)) == 2
    (chip,) = read_chips(tmp_path, subset="val")
    np.testing.assert_array_equal(chip.draw({"7": 0, "11": 1}, 9), [[0, 1, 255, 255]])
    np.testing.assert_array_equal(chip.draw({"7": 0, "11": 1, "3": 2}, 9), [[0, 1, 2, 255]])
    for file in tmp_path.rglob("*labelIds.png"):
        file.unlink()
    (chip,) = read_chips(tmp_path, subset="val")
    np.testing.assert_array_equal(chip.draw({"0": 0, "2": 1}, 9), [[0, 1, 255, 255]])


@pytest.mark.parametrize(("subset", "void"), [("training", 0), ("train2017", 255)])
def test_ade20k_and_coco_stuff_ignore_what_they_leave_out(subset: str, void: int, tmp_path: Path) -> None:
    write_image(tmp_path / "images" / subset / "a.jpg", (1, 2))
    label(tmp_path / "annotations" / subset / "a.png", 4, void)
    for options in ({}, {"subset": subset}):
        (chip,) = read_chips(tmp_path, **options)  # type: ignore[arg-type]  # a text
        np.testing.assert_array_equal(chip.draw({"4": 2}, 9), [[2, 255]])
    assert pairs_of(tmp_path, format="folders") == {("a.jpg", "a.png")}


@pytest.mark.parametrize("subset", ["..", "../images", "/etc", "a\0b"])
def test_subsets_lead_nowhere_else(subset: str, tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.png", (1, 1))
    label(tmp_path / "labels" / "a.png", 0)
    with pytest.raises(GeosegError, match=r"names the file|expected a folder"):
        read_chips(tmp_path, "folders", subset=subset)
