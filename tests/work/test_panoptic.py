"""A mosaic as COCO's panoptic format: written, checked by the format's own rules, and read back."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import numpy as np
import pytest
import zarr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from object_field import Field, by_first_pixel
from PIL import Image
from scipy import ndimage

from geoseg.datasets.panoptic_set import read_coco_panoptic
from geoseg.errors import GeosegError, RunFolderError
from geoseg.grid import Grid, Window
from geoseg.io.mosaic import Mosaic
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelClass, LabelSet
from geoseg.objects.thresholds import Thresholds
from geoseg.runner import LocalRunner, Unit
from geoseg.tiling import Block, BlockPlan, Lattice
from geoseg.work.objects import LabelBlocks, join_seams
from geoseg.work.panoptic import PanopticPictures
from geoseg.work.run_objects import ARRAY, ComponentObjects, RunObjects, StoredObjects, objects_of

LABELS = LabelSet(
    (
        LabelClass("house", "houses", "thing", "#aa0000"),
        LabelClass("road", "roads", "stuff", "#777777"),
        LabelClass("pool", "pools", "thing", "#0000aa"),
        LabelClass("other", None, "stuff", "#010203"),
    )
)
INFO = {"run": "abc"}


def whole(minimum: int = 0) -> dict[str, Any]:
    return {"type": "integer", "minimum": minimum}


# What https://cocodataset.org/#format-data says of images, of annotations for panoptic segmentation, and of their
# categories; other keys are allowed.
SCHEMA = {
    "type": "object",
    "required": ["info", "licenses", "images", "annotations", "categories"],
    "properties": {
        "info": {"type": "object", "required": ["description", "version"]},
        "images": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "width", "height", "file_name"],
                "properties": {
                    "id": whole(),
                    "width": whole(1),
                    "height": whole(1),
                    "file_name": {"type": "string"},
                },
            },
        },
        "annotations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["image_id", "file_name", "segments_info"],
                "properties": {
                    "image_id": whole(),
                    "file_name": {"type": "string", "pattern": r"\.png$"},
                    "segments_info": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["id", "category_id", "area", "bbox", "iscrowd"],
                            "properties": {
                                "id": {**whole(1), "maximum": 2**24 - 1},
                                "category_id": whole(),
                                "area": whole(1),
                                "bbox": {"type": "array", "items": whole(), "minItems": 4, "maxItems": 4},
                                "iscrowd": {"enum": [0, 1]},
                            },
                        },
                    },
                },
            },
        },
        "categories": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "name", "supercategory", "isthing", "color"],
                "properties": {
                    "id": whole(1),
                    "name": {"type": "string"},
                    "supercategory": {"type": "string"},
                    "isthing": {"enum": [0, 1]},
                    "color": {
                        "type": "array",
                        "items": {**whole(), "maximum": 255},
                        "minItems": 3,
                        "maxItems": 3,
                    },
                },
            },
        },
    },
}


def grid_of(classes_hw: NDArray[np.uint8]) -> Grid:
    height, width = classes_hw.shape
    return Grid("EPSG:32640", Affine(0.5, 0, 314047, 0, -0.5, 2775758), height, width)


def components(classes_hw: NDArray[np.uint8], things: frozenset[int]) -> NDArray[np.uint64]:
    """The same by scipy, of 4-connected components."""
    groups_hw = np.zeros(classes_hw.shape, np.int64)
    for class_id in things:
        found_hw, _ = ndimage.label(classes_hw == class_id)
        groups_hw[found_hw > 0] = found_hw[found_hw > 0] + groups_hw.max()
    return by_first_pixel(groups_hw)


def stored(folder: Path, classes_hw: NDArray[np.uint8], labels: LabelSet = LABELS) -> Mosaic:
    mosaic = Mosaic(folder / "mosaic.zarr")
    grid = grid_of(classes_hw)
    mosaic.create(grid, labels, probability=False)
    mosaic.write(0, "classes", grid.window, classes_hw)
    return mosaic


def blocks_of(classes_hw: NDArray[np.uint8], block_px: tuple[int, int] = (512, 512)) -> list[Block]:
    height, width = classes_hw.shape
    plan = BlockPlan(height, width, Lattice(512, 128), 512, block_px)
    inside = Window(0, 0, height, width)
    return [block for block in plan if (classes_hw[block.window.slices_in(inside)] != 255).any()]


def written(
    folder: Path, classes_hw: NDArray[np.uint8], field: RunObjects, tile_px: int, most: int = 2**24 - 1
) -> dict[str, Any]:
    """Write a mosaic's segments in a folder `out`; returns the document."""
    mosaic = stored(folder, classes_hw)
    (folder / "out").mkdir()
    pictures = PanopticPictures(mosaic, grid_of(classes_hw), LABELS, blocks_of(classes_hw), field, tile_px, most)
    files = pictures.write(folder / "out", INFO)
    document: dict[str, Any] = json.loads((folder / "out" / "panoptic.json").read_text())
    assert sorted(path.name for path in (folder / "out" / "panoptic").iterdir()) == list(files.pngs)
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["panoptic", "panoptic.json"]
    return document


def rgb2id(path: Path) -> NDArray[np.int64]:
    """The rule of the format: id = R + G * 256 + B * 256^2, and 0 for unlabelled."""
    rgb_hwc = np.asarray(Image.open(path)).astype(np.int64)
    assert rgb_hwc.shape[2] == 3
    return rgb_hwc[..., 0] + 256 * rgb_hwc[..., 1] + 256**2 * rgb_hwc[..., 2]


def follow_the_format(folder: Path, document: dict[str, Any]) -> None:
    """What must hold of any set in the format: the schema, and what PNG and JSON say of each other."""
    jsonschema.validate(document, SCHEMA)
    images = {image["id"]: image for image in document["images"]}
    assert [one["image_id"] for one in document["annotations"]] == sorted(images)
    categories = {category["id"] for category in document["categories"]}
    for annotation in document["annotations"]:
        image = images[annotation["image_id"]]
        ids_hw = rgb2id(folder / "out" / "panoptic" / annotation["file_name"])
        assert ids_hw.shape == (image["height"], image["width"])
        assert {one["id"] for one in annotation["segments_info"]} == set(np.unique(ids_hw).tolist()) - {0}
        assert len({one["id"] for one in annotation["segments_info"]}) == len(annotation["segments_info"])
        numbers, index_hw = np.unique(ids_hw, return_inverse=True)
        index_hw = index_hw.reshape(ids_hw.shape)
        area, boxes = np.bincount(index_hw.reshape(-1)), ndimage.find_objects(index_hw + 1)
        for segment in annotation["segments_info"]:
            assert segment["category_id"] in categories
            place = int(np.searchsorted(numbers, segment["id"]))
            assert segment["area"] == area[place]
            (rows, cols), (left, top, width, height) = boxes[place], segment["bbox"]
            assert (top, left, top + height, left + width) == (rows.start, cols.start, rows.stop, cols.stop)


def back(folder: Path, shape: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.uint64], dict[int, set[int]]]:
    """Classes (255 of void) and ids of objects as they are read back, and the numbers that each object has."""
    classes_hw, ids_hw = np.full(shape, 255, np.int64), np.zeros(shape, np.uint64)
    numbers: dict[int, set[int]] = {}
    for picture in read_coco_panoptic(folder / "out"):
        numbers_hw, objects_hw = picture.read(), picture.object_ids()
        assert picture.window is not None
        assert picture.window.shape == numbers_hw.shape
        at = picture.window.slices_in(Window(0, 0, *shape))
        class_of_number = np.full(2**24, 255, np.uint8)
        for number, segment in picture.segments.items():
            class_of_number[number] = LABELS.names.index(segment.category)
            if segment.object_id is not None:
                numbers.setdefault(segment.object_id, set()).add(number)
            assert segment.is_thing == (segment.object_id is not None)
        classes_hw[at], ids_hw[at] = class_of_number[numbers_hw], objects_hw
    return classes_hw, ids_hw, numbers


FIELDS = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.sampled_from([0, 0, 1, 2, 3, 255])
)
THINGS = frozenset({0, 2})


@settings(max_examples=8)
@given(FIELDS, st.integers(16, 40), st.booleans(), st.data())
def test_what_is_written_is_read_back_with_the_same_classes_and_objects(
    classes_hw: NDArray[np.uint8], tile_px: int, few_numbers: bool, data: st.DataObject
) -> None:
    groups = hnp.arrays(np.int64, classes_hw.shape, elements=st.integers(0, 5))
    # Objects of one class each, in any number of parts; a pixel of a thing may be of none.
    groups_hw = data.draw(groups) * 2 + (classes_hw == 2)
    ids_hw = by_first_pixel(np.where(np.isin(classes_hw, [0, 2]) & (groups_hw > 1), groups_hw, 0))
    most = int(np.unique(ids_hw[ids_hw > 0]).size) + 3 if few_numbers else 2**24 - 1
    # With so few numbers the objects of the region are one too many; those of a picture are where it has them all.
    rows, cols = range(0, len(ids_hw), tile_px), range(0, ids_hw.shape[1], tile_px)
    parts = [ids_hw[row : row + tile_px, col : col + tile_px] for row in rows for col in cols]
    most_of_a_part = max(np.unique(part[part > 0]).size for part in parts)
    with TemporaryDirectory() as name:
        folder = Path(name)
        if most_of_a_part > most - len(LABELS):
            with pytest.raises(GeosegError, match="objects, which three bytes do not tell apart"):
                written(folder, classes_hw, Field(ids_hw, THINGS), tile_px, most)
            return
        document = written(folder, classes_hw, Field(ids_hw, THINGS), tile_px, most)
        follow_the_format(folder, document)
        found_hw, found_ids_hw, numbers = back(folder, (classes_hw.shape[0], classes_hw.shape[1]))
    np.testing.assert_array_equal(found_ids_hw, ids_hw)
    is_void_hw = (classes_hw == 255) | (np.isin(classes_hw, [0, 2]) & (ids_hw == 0))
    np.testing.assert_array_equal(found_hw, np.where(is_void_hw, 255, classes_hw))
    if not few_numbers:
        order = np.unique(ids_hw[ids_hw > 0]).tolist()
        assert numbers == {object_id: {place} for place, object_id in enumerate(order, 1)}


def test_where_numbers_do_not_suffice_for_the_region_each_picture_has_its_own(tmp_path: Path) -> None:
    classes_hw = np.full((16, 48), 3, np.uint8)
    classes_hw[2:4, 2:46] = 0  # across three pictures
    classes_hw[8, [1, 5, 20, 36, 40, 44]] = 2
    ids_hw = components(classes_hw, THINGS)
    one = written(tmp_path, classes_hw, Field(ids_hw, THINGS), 16, most=4 + 4)
    follow_the_format(tmp_path, one)
    found_hw, found_ids_hw, numbers = back(tmp_path, (16, 48))
    np.testing.assert_array_equal(found_ids_hw, ids_hw)
    np.testing.assert_array_equal(found_hw, classes_hw)
    ids = [[segment["id"] for segment in some["segments_info"]] for some in one["annotations"]]
    assert ids == [[1, 2, 3, 8 - 3], [1, 2, 8 - 3], [1, 2, 3, 4, 8 - 3]]
    assert len(numbers) == 7
    again = tmp_path / "again"
    again.mkdir()
    words = r"r000000_c000032\.png would hold more than 3 objects.*smaller --tile-size"
    with pytest.raises(GeosegError, match=words):
        written(again, classes_hw, Field(ids_hw, THINGS), 16, most=3 + 4)


def towns() -> NDArray[np.uint8]:
    """Blobs of four classes on more than one chunk, a line through all of them, and a corner without data."""
    rng = np.random.default_rng(1)
    field_hw = ndimage.gaussian_filter(rng.normal(size=(700, 1100)), 5)
    classes_hw = np.digitize(field_hw, np.quantile(field_hw, [0.3, 0.5, 0.7])).astype(np.uint8)
    classes_hw[505:517] = 0
    classes_hw[:300, :520] = 255
    return classes_hw


@pytest.fixture(scope="module")
def scenery() -> NDArray[np.uint8]:
    return towns()


def confidence_of(classes_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    cols = np.arange(classes_hw.shape[1]) % 200 + 20
    return np.where(classes_hw == 255, 255, cols).astype(np.uint8)


def semantic_run(
    folder: Path,
    classes_hw: NDArray[np.uint8],
    block_px: tuple[int, int],
    least: tuple[tuple[int, float], ...] = (),
) -> ComponentObjects:
    """The objects of a semantic model's run, from its stages."""
    stored(folder, classes_hw)
    run, grid, blocks = RunFolder(folder), grid_of(classes_hw), blocks_of(classes_hw, block_px)
    run.mosaic.write(0, "confidence", grid.window, confidence_of(classes_hw))
    job = LabelBlocks(run, grid, (0, 1, 2), Thresholds(least), "0")
    assert all(report.error is None for report in LocalRunner().run(job, [Unit(one.key, one) for one in blocks]))
    join_seams(run, blocks)
    shapes = {"layers": [0, 1, 2], "thresholds": [list(one) for one in least], "block_px": block_px}
    found = objects_of(run, grid, LABELS, blocks, shapes)
    assert isinstance(found, ComponentObjects)
    return found


@pytest.mark.parametrize(("block_px", "least"), [((512, 512), 0.0), ((1024, 512), 0.0), ((512, 1536), 0.5)])
def test_objects_of_a_semantic_model_are_its_components_whatever_the_blocks(
    tmp_path: Path, scenery: NDArray[np.uint8], block_px: tuple[int, int], least: float
) -> None:
    # Where a house is not probable enough there is none.
    sure_hw = np.where((scenery == 0) & (confidence_of(scenery) < least * 254), 1, scenery)
    ids_hw, field = components(sure_hw, THINGS), semantic_run(tmp_path, scenery, block_px, ((0, least),))
    assert field.things == THINGS
    for window in (grid_of(scenery).window, Window(500, 7, 30, 1090), Window(699, 1099, 1, 1)):
        np.testing.assert_array_equal(field.read(window), ids_hw[window.slices_in(grid_of(scenery).window)])
    begun = np.sort(np.concatenate([field.begin(block) for block in field.blocks]))
    np.testing.assert_array_equal(begun, np.unique(ids_hw[ids_hw > 0]))


def test_a_thing_without_a_layer_is_stuff_in_a_semantic_run(tmp_path: Path, scenery: NDArray[np.uint8]) -> None:
    run = RunFolder(tmp_path)
    stored(tmp_path, scenery)
    shapes = {"layers": [0, 1], "thresholds": [[0, 0.5]], "block_px": [512, 512]}
    found = objects_of(run, grid_of(scenery), LABELS, (), shapes)
    assert found.things == {0}


def test_an_array_of_objects_is_read_where_there_is_one(tmp_path: Path) -> None:
    """A house of two parts, most of whose pixels were called pool, and one of which most were called house."""
    classes_hw = np.full((20, 30), 3, np.uint8)
    classes_hw[2:4, 2:8], classes_hw[3, 2:6], classes_hw[12:14, 20:22] = 2, 0, 2
    classes_hw[10, 10:13], classes_hw[10, 13] = 0, 2
    classes_hw[0, 0] = 255
    groups_hw = np.zeros(classes_hw.shape, np.int64)
    groups_hw[2:4, 2:8], groups_hw[12:14, 20:22], groups_hw[10, 10:14] = 1, 1, 2
    ids_hw = by_first_pixel(groups_hw)
    mosaic, grid = stored(tmp_path, classes_hw), grid_of(classes_hw)
    array = zarr.open_group(mosaic.path, mode="r+").create_array(
        f"0/{ARRAY}", shape=classes_hw.shape, chunks=(512, 512), dtype="uint64", fill_value=0
    )
    array[...] = np.where(classes_hw == 255, np.uint64(2**64 - 1), ids_hw)
    field = objects_of(RunFolder(tmp_path), grid, LABELS, blocks_of(classes_hw), {})
    assert isinstance(field, StoredObjects)
    (tmp_path / "out").mkdir()
    PanopticPictures(mosaic, grid, LABELS, blocks_of(classes_hw), field, 16).write(tmp_path / "out", INFO)
    found_hw, found_ids_hw, _ = back(tmp_path, (20, 30))
    np.testing.assert_array_equal(found_ids_hw, ids_hw)
    expected_hw = np.where(groups_hw == 1, 2, np.where(groups_hw == 2, 0, classes_hw))
    np.testing.assert_array_equal(found_hw, expected_hw)
    # An object that claims a first pixel that is not its own.
    array[5, 5] = 3
    (tmp_path / "again").mkdir()
    with pytest.raises(RunFolderError, match="first pixel is not its own: it is damaged"):
        PanopticPictures(mosaic, grid, LABELS, blocks_of(classes_hw), field, 16).write(tmp_path / "again", INFO)


def test_pictures_are_the_same_bytes_for_any_blocks_and_read_back_as_the_components(
    tmp_path: Path, scenery: NDArray[np.uint8]
) -> None:
    ids_hw = components(scenery, THINGS)
    files = []
    for number, block_px in enumerate([(512, 512), (1024, 1536)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        field = semantic_run(folder, scenery, block_px)
        (folder / "out").mkdir()
        source = PanopticPictures(field.run.mosaic, grid_of(scenery), LABELS, field.blocks, field, 600)
        source.write(folder / "out", INFO)
        files.append({path.name: path.read_bytes() for path in sorted((folder / "out").rglob("*.*"))})
    assert files[0] == files[1]
    assert len(files[0]) == 1 + 4
    follow_the_format(tmp_path / "0", json.loads(files[0]["panoptic.json"]))
    found_hw, found_ids_hw, _ = back(tmp_path / "0", (700, 1100))
    np.testing.assert_array_equal(found_ids_hw, ids_hw)
    np.testing.assert_array_equal(found_hw, scenery)
    pictures = read_coco_panoptic(tmp_path / "0" / "out")
    places = [(picture.window, picture.transform) for picture in pictures]
    transform = grid_of(scenery).transform
    windows = [(0, 0, 600, 600), (0, 600, 600, 500), (600, 0, 100, 600), (600, 600, 100, 500)]
    assert places == [(Window(*one), transform @ Affine.translation(one[1], one[0])) for one in windows]


def test_only_pictures_with_a_segment_are_written(tmp_path: Path) -> None:
    classes_hw = np.full((64, 64), 255, np.uint8)
    classes_hw[40, 50] = 1
    field = Field(np.zeros(classes_hw.shape, np.uint64), frozenset())
    document = written(tmp_path, classes_hw, field, 32)
    assert [image["geoseg"]["row"] for image in document["images"]] == [32]
    assert [category["isthing"] for category in document["categories"]] == [0, 0, 0, 0]
    follow_the_format(tmp_path, document)
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    document = written(nothing, np.full((9, 9), 255, np.uint8), Field(np.zeros((9, 9), np.uint64), THINGS), 32)
    jsonschema.validate(document, SCHEMA)
    assert read_coco_panoptic(nothing / "out") == ()


@pytest.mark.parametrize("tile_px", [15, 16385])
def test_a_side_that_is_none_is_refused(tmp_path: Path, tile_px: int) -> None:
    with pytest.raises(GeosegError, match=rf"expected a --tile-size of 16 to 16384 px, got {tile_px}"):
        written(tmp_path, np.zeros((2, 2), np.uint8), Field(np.zeros((2, 2), np.uint64), THINGS), tile_px)
