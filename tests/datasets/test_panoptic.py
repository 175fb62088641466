"""COCO panoptic sets as labels: classes and objects of segments; what contradicts itself is refused in words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_files import write_image, write_mask
from numpy.typing import NDArray
from PIL import Image

from geoseg.datasets.chip_labels import ChipLabels
from geoseg.datasets.formats import read_chips, tell_format
from geoseg.datasets.label_files import REST, ChipFile
from geoseg.datasets.panoptic import PanopticChip
from geoseg.datasets.panoptic_set import read_coco_panoptic
from geoseg.errors import GeosegError, SceneError
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.labels import NODATA_CLASS

CATEGORIES = [
    {"id": 3, "name": "house", "supercategory": "thing", "isthing": 1, "color": [1, 2, 3]},
    {"id": 5, "name": "meadow", "supercategory": "stuff", "isthing": 0, "color": [4, 5, 6]},
]
VALUES = {"house": 1, "meadow": 2}


def id2rgb(ids_hw: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The rule of the format, digit by digit: red is the lowest of base 256."""
    rgb_hwc = np.zeros((*ids_hw.shape, 3), np.uint8)
    for band in range(3):
        rgb_hwc[..., band] = ids_hw % 256
        ids_hw = ids_hw // 256
    return rgb_hwc


def write_set(folder: Path, ids_hw: NDArray[np.int64], segments: list[dict[str, Any]]) -> Path:
    """A set of one image, chip.png; returns its folder."""
    shape = (ids_hw.shape[0], ids_hw.shape[1])
    write_image(folder / "images" / "chip.png", shape)
    (folder / "set").mkdir()
    Image.fromarray(id2rgb(ids_hw)).save(folder / "set" / "chip.png")
    document = {
        "images": [{"id": 1, "file_name": "chip.png", "height": shape[0], "width": shape[1]}],
        "annotations": [{"image_id": 1, "file_name": "chip.png", "segments_info": segments}],
        "categories": CATEGORIES,
    }
    (folder / "set.json").write_text(json.dumps(document))
    return folder


def chip_of(folder: Path) -> PanopticChip:
    (chip,) = read_chips(folder, "coco-panoptic")
    assert isinstance(chip, PanopticChip)
    return chip


SEGMENTS = st.lists(
    st.tuples(st.integers(1, 2**24 - 1), st.sampled_from([3, 5]), st.booleans()),
    min_size=1,
    max_size=6,
    unique_by=lambda segment: segment[0],
)


@settings(max_examples=15)
@given(SEGMENTS, st.data())
def test_classes_and_objects_are_those_of_the_segments(
    tmp_path_factory: pytest.TempPathFactory, segments: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    shape = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    index_hw = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(-1, len(segments) - 1)))
    ids_hw = np.array([0, *(number for number, _, _ in segments)])[index_hw + 1]
    there = [one for one in segments if (ids_hw == one[0]).any()]
    info = [{"id": number, "category_id": of, "iscrowd": int(crowd)} for number, of, crowd in there]
    chip = chip_of(write_set(tmp_path_factory.mktemp("set"), ids_hw, info))
    labels_hw, objects_hw = chip.draw(VALUES, 9), chip.instances({"house"})
    for row, col in np.ndindex(shape):
        found = [one for one in there if one[0] == ids_hw[row, col]]
        match found:
            case []:
                expected = (255, 0)  # void
            case [(_, 5, _)]:
                expected = (2, 0)  # stuff, in crowds too
            case [(_, _, True)]:
                expected = (255, 0)  # a crowd of things
            case [(number, _, _)]:
                expected = (1, number)
        assert (int(labels_hw[row, col]), int(objects_hw[row, col])) == expected
    assert not chip.instances({"meadow"}).any()
    assert objects_hw.dtype == np.int32


HOUSES = np.array([[0, 7, 70_000], [7, 7, 9]])
INFO = [{"id": 7, "category_id": 3}, {"id": 70_000, "category_id": 3}, {"id": 9, "category_id": 5}]


def test_a_folder_of_a_set_is_told_and_read_as_its_document(tmp_path: Path) -> None:
    write_set(tmp_path, HOUSES, INFO)
    assert tell_format(tmp_path) == tell_format(tmp_path / "set.json") == "coco-panoptic"
    (by_folder,), (by_file,) = (read_chips(path) for path in (tmp_path, tmp_path / "set.json"))
    assert by_folder == by_file
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(GeosegError, match=r"expected one panoptic JSON in .*, found 2; name the file, for example"):
        read_chips(tmp_path, "coco-panoptic")


def test_windows_have_the_objects_of_learned_classes_on_the_pixels_of_their_classes(
    tmp_path: Path, rgb: Imagery
) -> None:
    rng = np.random.default_rng(0)
    ids_hw = np.repeat(np.repeat(HOUSES, 7, axis=0), 5, axis=1)
    ids_hw[rng.random(ids_hw.shape) < 0.3] = 0
    chip = chip_of(write_set(tmp_path, ids_hw, INFO))
    # At half the model's resolution, and at its own.
    for pixel_m in (0.5, 1.0):
        options = SceneOptions(ground_resolution_m=pixel_m, rotated="own-pixels")
        scene = describe_scene(str(chip.image), rgb, options)
        for meaning in (0, REST, NODATA_CLASS):
            labels = ChipLabels(ChipFile(chip, {"house": meaning, "meadow": 1}), scene, 200)
            whole = scene.grid.window
            classes_hw, objects_hw = labels.read(whole), labels.objects(whole)
            assert objects_hw is not None
            assert set(np.unique(objects_hw)) == ({0, 7, 70_000} if meaning == 0 else {0})
            np.testing.assert_array_equal(objects_hw > 0, (classes_hw == 0) & (meaning == 0))
            part = Window(1, 2, 3, 4)
            np.testing.assert_array_equal(labels.objects(part), objects_hw[part.slices_in(whole)])


def test_chips_that_tell_no_objects_apart_have_none(tmp_path: Path, rgb: Imagery) -> None:
    chip = write_mask("coco", tmp_path, HOUSES == 7)
    scene = describe_scene(str(chip.image), rgb, SceneOptions(ground_resolution_m=1.0))
    assert ChipLabels(ChipFile(chip, {"roof": 0}), scene, 200).objects(scene.grid.window) is None


def _damaged(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "set.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def segments_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document["annotations"][0]["segments_info"]
    return found


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a segment that only the PNG has": (lambda one: segments_of(one).pop(), "holds the segment 9: expected those"),
    "a segment that only the JSON has": (
        lambda one: segments_of(one).append({"id": 8, "category_id": 3}),
        "does not hold the segment 8 of its segments_info",
    ),
    "a segment twice": (lambda one: segments_of(one).append(INFO[0]), "lists the segment 7 twice"),
    "a category twice": (lambda one: one["categories"].append(CATEGORIES[0]), "lists the category 3 twice"),
    "an image annotated twice": (lambda one: one["annotations"].append(one["annotations"][0]), "the image 1 twice"),
    "an image listed twice": (lambda one: one["images"].append(one["images"][0]), "images with the same id"),
    "an unknown image": (lambda one: one["annotations"][0].update(image_id=4), "the image id 4, which it does"),
    "an unknown category": (
        lambda one: segments_of(one)[0].update(category_id=4),
        r"chip\.png, segment 7: expected one of the file's categories, got id 4",
    ),
    "void as a segment": (lambda one: segments_of(one)[0].update(id=0), "id: Input should be greater than 0"),
    "a number too large": (lambda one: segments_of(one)[0].update(id=2**24), "id: Input should be less than"),
    "another size": (lambda one: one["images"][0].update(width=4), r"has 2 x 3 px, its JSON says 2 x 4 \(height"),
    "a PNG elsewhere": (
        lambda one: one["annotations"][0].update(file_name="../images/chip.png"),
        r"names the file '\.\./images/chip\.png': expected one in",
    ),
    "a PNG from the root": (
        lambda one: one["annotations"][0].update(file_name="/a.png"),
        "names the file '/a.png'",
    ),
    "a PNG that is missing": (lambda one: one["annotations"][0].update(file_name="b.png"), "got none for .*b.png"),
    "no segments": (lambda one: one["annotations"][0].pop("segments_info"), "segments_info: Field required"),
}


@pytest.mark.parametrize(("change", "words"), DAMAGES.values(), ids=DAMAGES)
def test_what_contradicts_itself_is_refused_in_a_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    _damaged(write_set(tmp_path, HOUSES, INFO), change)
    with pytest.raises(GeosegError, match=words) as refused:
        chip_of(tmp_path).draw(VALUES, 9)
    assert "\n" not in str(refused.value)
    with pytest.raises(GeosegError, match=words):
        next(iter(read_coco_panoptic(tmp_path))).read()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_png_that_is_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    rng = np.random.default_rng(0)
    ids_hw = rng.integers(1, 200, (40, 40))
    info = [{"id": number, "category_id": 3} for number in np.unique(ids_hw).tolist()]
    png = write_set(tmp_path, ids_hw, info) / "set" / "chip.png"
    content = png.read_bytes()
    png.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SceneError, match=r"chip\.png is a PNG that is cut short or damaged: expected a whole one"):
        chip_of(tmp_path).draw(VALUES, 9)
    # Whole to the last chunk, with something else in between.
    png.write_bytes(content[:100] + bytes(200) + content[300:])
    with pytest.raises(SceneError, match=r"chip\.png (cannot be read|is a PNG that is cut short or damaged)"):
        chip_of(tmp_path).draw(VALUES, 9)


def test_a_picture_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path, HOUSES, INFO)
    Image.fromarray(HOUSES.astype(np.uint8)).save(tmp_path / "set" / "chip.png")
    with pytest.raises(SceneError, match="expected a PNG of red, green and blue bytes, got another raster"):
        chip_of(tmp_path).draw(VALUES, 9)


def test_objects_are_not_guessed_where_nothing_says_what_things_are(tmp_path: Path) -> None:
    _damaged(write_set(tmp_path, HOUSES, INFO), lambda one: one["categories"][0].pop("isthing"))
    chip = chip_of(tmp_path)
    np.testing.assert_array_equal(chip.draw(VALUES, 9), [[255, 1, 1], [1, 1, 2]])
    with pytest.raises(
        SceneError, match="expected isthing of each category, to know its objects, got none of 'house'"
    ):
        chip.instances({"house"})
