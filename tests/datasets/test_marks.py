"""Annotations: every format gives its masks and outlines back, drawn by the same rules."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_files import (
    coco_document,
    cvat_document,
    labelme_document,
    read_document,
    runs,
    supervisely_document,
    write_image,
    write_mask,
    write_outlines,
)
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_tools
from rasterio.features import rasterize, shapes

from geoseg.datasets.formats import read_chips
from geoseg.errors import ConfigError, SceneError

MASKS = ("coco packed", "coco", "coco-panoptic", "labelme", "supervisely", "cvat")
OUTLINES = ("coco", "labelme", "supervisely", "cvat")

masks = arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any)
triangles = st.lists(st.tuples(st.floats(-3, 15), st.floats(-3, 15)), min_size=3, max_size=3)


@pytest.mark.parametrize("kind", MASKS)
@given(masks)
@settings(max_examples=5)
def test_a_mask_comes_back(kind: str, mask_hw: NDArray[np.bool_]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        chip = write_mask(kind, Path(folder), mask_hw)
        values = {"roof": 1, "ground": 0}
        np.testing.assert_array_equal(chip.draw(values, 0), mask_hw)
        planes_chw = chip.planes(values, 3)
        np.testing.assert_array_equal(planes_chw[1], mask_hw)
        assert (planes_chw[2] == 255).all()
        assert "roof" in chip.categories()


@pytest.mark.parametrize("kind", OUTLINES)
@given(masks)
@settings(max_examples=6)
def test_outlines_along_pixels_hold_those_pixels(kind: str, mask_hw: NDArray[np.bool_]) -> None:
    # Each piece by itself, its holes filled: what lies in a hole is drawn by outlines of its own.
    pieces = [shapely.geometry.shape(some) for some, _ in shapes(mask_hw.astype(np.uint8), mask=mask_hw)]
    filled_hw = rasterize([(shapely.Polygon(piece.exterior), 1) for piece in pieces], out_shape=mask_hw.shape)
    with tempfile.TemporaryDirectory() as folder:
        rings = [[(float(x), float(y)) for x, y in piece.exterior.coords] for piece in pieces]
        chip = write_outlines(kind, Path(folder), (mask_hw.shape[0], mask_hw.shape[1]), rings)
        np.testing.assert_array_equal(chip.draw({"roof": 1}, 0), filled_hw)


@pytest.mark.parametrize("kind", OUTLINES)
@given(st.lists(triangles, min_size=1, max_size=3))
@settings(max_examples=6)
def test_outlines_hold_the_pixels_whose_centres_they_hold(
    kind: str, rings: list[list[tuple[float, float]]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        drawn_hw = write_outlines(kind, Path(folder), (11, 12), rings).draw({"roof": 1}, 0)
    covered = shapely.union_all([shapely.make_valid(shapely.Polygon(ring)) for ring in rings])
    edges = shapely.union_all([shapely.Polygon(ring).exterior for ring in rings])
    rows, cols = np.mgrid[:11, :12] + 0.5
    centres = shapely.points(cols, rows)
    clear_hw = shapely.distance(centres, edges) > 1e-6  # a centre on an edge may fall to either side
    np.testing.assert_array_equal(drawn_hw[clear_hw], shapely.contains(covered, centres)[clear_hw])


@given(triangles)
@settings(max_examples=20)
def test_away_from_edges_polygons_are_filled_as_by_pycocotools(ring: list[tuple[float, float]]) -> None:
    inside = [(min(max(x, 0.0), 11.0), min(max(y, 0.0), 11.0)) for x, y in ring]
    with tempfile.TemporaryDirectory() as folder:
        write_image(Path(folder) / "chip.png", (11, 12))
        numbers = [number for place in inside for number in place]
        drawn_hw = read_document("coco", Path(folder), coco_document((11, 12), [[numbers]])).draw({"roof": 1}, 0)
    oracle_hw = coco_tools.decode(coco_tools.merge(coco_tools.frPyObjects([numbers], 11, 12)))
    rows, cols = np.mgrid[:11, :12] + 0.5
    # pycocotools rounds its polygons to a grid of its own, up to a pixel off.
    clear_hw = shapely.distance(shapely.points(cols, rows), shapely.LinearRing(inside)) > 1.1
    np.testing.assert_array_equal(drawn_hw[clear_hw], oracle_hw[clear_hw])


def square(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def flat(ring: list[list[float]]) -> list[float]:
    return [number for place in ring for number in place]


def test_small_instances_of_coco_lie_on_large_ones_and_crowds_under_all(tmp_path: Path) -> None:
    write_image(tmp_path / "chip.png", (4, 6))
    boxes = [square(1, 1, 2, 2), square(0, 0, 3, 3), square(2, 0, 6, 4)]
    document = coco_document((4, 6), [[flat(box)] for box in boxes])
    document["categories"] += [{"id": 8, "name": "yard"}]
    document["annotations"][1]["category_id"] = 8
    document["annotations"][2]["iscrowd"] = 1
    crowd_hw = np.zeros((4, 6), np.bool_)
    crowd_hw[:, 2:] = True
    document["annotations"][2]["segmentation"] = {"size": [4, 6], "counts": runs(crowd_hw.T.reshape(-1))}
    chip = read_document("coco", tmp_path, document)
    expected_hw = np.where(crowd_hw, 255, 9)
    expected_hw[:3, :3] = 1
    expected_hw[1, 1] = 0
    np.testing.assert_array_equal(chip.draw({"roof": 0, "yard": 1}, 9), expected_hw)
    roof_hw, yard_hw = chip.planes({"roof": 0, "yard": 1}, 2)
    np.testing.assert_array_equal(yard_hw, expected_hw * 0 + np.pad(np.ones((3, 3)), ((0, 1), (0, 3))))
    assert roof_hw[1, 1] == 1
    assert (roof_hw[crowd_hw] == 255).all()
    assert roof_hw[0, 0] == 0


def test_several_polygons_of_one_instance_are_all_of_them(tmp_path: Path) -> None:
    write_image(tmp_path / "chip.png", (3, 6))
    parts = [flat(square(0, 0, 2, 2)), flat(square(1, 1, 6, 3))]
    drawn_hw = read_document("coco", tmp_path, coco_document((3, 6), [parts])).draw({"roof": 1}, 0)
    np.testing.assert_array_equal(drawn_hw, [[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]])


def test_z_order_decides_in_cvat_and_then_the_order_of_the_file(tmp_path: Path) -> None:
    write_image(tmp_path / "chip.png", (2, 6))
    elements = "".join(
        f'<box label="{label}" xtl="{left}" ytl="0" xbr="{left + 3}" ybr="2" z_order="{z}"/>'
        for label, left, z in (("top", 1, 5), ("below", 0, -1), ("later", 3, 5))
    )
    chip = read_document("cvat", tmp_path, cvat_document((2, 6), elements))
    drawn_hw = chip.draw({"top": 1, "below": 2, "later": 3}, 0)
    np.testing.assert_array_equal(drawn_hw, [[2, 1, 1, 3, 3, 3]] * 2)


def test_later_shapes_of_labelme_lie_on_earlier_ones(tmp_path: Path) -> None:
    write_image(tmp_path / "chip.png", (2, 4))
    some = [
        {"label": "a", "shape_type": "rectangle", "points": [[3, 2], [0, 0]]},
        {"label": "b", "shape_type": "polygon", "points": square(1, 0, 2, 2)},
        {"label": "__ignore__", "shape_type": "rectangle", "points": [[1, 0], [4, 1]]},
    ]
    chip = read_document("labelme", tmp_path, labelme_document((2, 4), some))
    # What is ignored hides nothing that is learned.
    np.testing.assert_array_equal(chip.draw({"a": 1, "b": 2}, 0), [[1, 2, 1, 255], [1, 2, 1, 0]])
    planes_chw = chip.planes({"a": 0, "b": 1}, 2)
    np.testing.assert_array_equal(planes_chw, [[[1, 1, 1, 255], [1, 1, 1, 0]], [[0, 1, 255, 255], [0, 1, 0, 0]]])


def test_holes_of_supervisely_stay_open_and_its_rectangles_hold_both_corners(tmp_path: Path) -> None:
    write_image(tmp_path / "img" / "chip.png", (5, 8))
    points = {"exterior": square(0, 0, 5, 5), "interior": [square(1, 1, 4, 4)]}
    some = [
        {"geometryType": "polygon", "points": points},
        {"geometryType": "rectangle", "points": {"exterior": [[6, 1], [7, 2]], "interior": []}},
    ]
    drawn_hw = read_document("supervisely", tmp_path, supervisely_document((5, 8), some)).draw({"roof": 1}, 0)
    expected_hw = np.zeros((5, 8), np.uint8)
    expected_hw[:, :5] = 1
    expected_hw[1:4, 1:4] = 0
    expected_hw[1:3, 6:] = 1
    np.testing.assert_array_equal(drawn_hw, expected_hw)


ROWS, COLS = np.mgrid[:40, :40] + 0.5


def test_circles_and_ellipses_are_what_their_equations_say(tmp_path: Path) -> None:
    write_image(tmp_path / "chip.png", (40, 40))
    circle = {"shape_type": "circle", "points": [[20.2, 19.3], [20.2, 30.0]]}
    drawn_hw = read_document("labelme", tmp_path, labelme_document((40, 40), [circle])).draw({"roof": 1}, 0)
    np.testing.assert_array_equal(drawn_hw, (COLS - 20.2) ** 2 + (ROWS - 19.3) ** 2 < 10.7**2)
    # Turned clockwise on the screen: what pointed right points right and down.
    element = '<ellipse label="roof" cx="18.3" cy="21.1" rx="15" ry="4" rotation="30"/>'
    drawn_hw = read_document("cvat", tmp_path, cvat_document((40, 40), element)).draw({"roof": 1}, 0)
    angle, x, y = np.deg2rad(30), COLS - 18.3, ROWS - 21.1
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    np.testing.assert_array_equal(drawn_hw, (along / 15) ** 2 + (across / 4) ** 2 < 1)


def test_boxes_are_turned_about_their_middle(tmp_path: Path) -> None:
    write_image(tmp_path / "chip.png", (40, 40))
    element = '<box label="roof" xtl="5.3" ytl="16.2" xbr="35.1" ybr="24.4" rotation="30"/>'
    drawn_hw = read_document("cvat", tmp_path, cvat_document((40, 40), element)).draw({"roof": 1}, 0)
    angle, x, y = np.deg2rad(30), COLS - 20.2, ROWS - 20.3
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    np.testing.assert_array_equal(drawn_hw, (abs(along) < 14.9) & (abs(across) < 4.1))


LINES = {
    "labelme": labelme_document((40, 40), [{"shape_type": "linestrip", "points": [[5, 5], [30.3, 8], [33, 36]]}]),
    "cvat": cvat_document((40, 40), '<polyline label="roof" points="5,5;30.3,8;33,36"/>'),
    "supervisely": supervisely_document(
        (40, 40), [{"geometryType": "line", "points": {"exterior": [[5, 5], [30.3, 8], [33, 36]]}}]
    ),
}


@pytest.mark.parametrize("kind", LINES)
def test_lines_hold_what_lies_within_half_their_width(kind: str, tmp_path: Path) -> None:
    write_image(tmp_path / ("img/chip.png" if kind == "supervisely" else "chip.png"), (40, 40))
    chip = read_document(kind, tmp_path, LINES[kind])
    with pytest.raises(ConfigError, match="without a width"):
        chip.draw({"roof": 1}, 0)
    assert not chip.draw({"roof": 255}, 0).any(), "a line that is not learned needs no width"
    path = tmp_path / "labels.xml" if kind == "cvat" else tmp_path
    (chip,) = read_chips(path, line_width_px=5)
    distance_hw = shapely.distance(shapely.points(COLS, ROWS), shapely.LineString([(5, 5), (30.3, 8), (33, 36)]))
    drawn_hw = chip.draw({"roof": 1}, 0)
    np.testing.assert_array_equal(
        drawn_hw[abs(distance_hw - 2.5) > 0.02], (distance_hw < 2.5)[abs(distance_hw - 2.5) > 0.02]
    )


@pytest.mark.parametrize("kind", MASKS)
def test_a_category_without_a_class_is_named(kind: str, tmp_path: Path) -> None:
    chip = write_mask(kind, tmp_path, np.ones((3, 3), np.bool_))
    with pytest.raises(ConfigError, match="'roof', which stands for no class: expected one of ground, house;"):
        chip.draw({"house": 0, "ground": 1}, 255)
    with pytest.raises(ConfigError, match="'roof'"):
        chip.planes({"house": 0, "ground": 1}, 2)


@pytest.mark.parametrize("kind", [kind for kind in MASKS if kind != "coco-panoptic"])
def test_annotations_of_another_size_are_refused(kind: str, tmp_path: Path) -> None:
    chip = write_mask(kind, tmp_path, np.ones((3, 5), np.bool_))
    write_image(chip.image, (5, 3))
    with pytest.raises(SceneError, match=r"3 x 5 px, .* has 5 x 3 px"):
        chip.draw({"roof": 1}, 0)


def test_segments_that_nothing_describes_are_refused_and_void_and_crowds_ignored(tmp_path: Path) -> None:
    chip = write_mask("coco-panoptic", tmp_path, np.array([[True, False, False]]))
    png = tmp_path / "labels" / "chip.png"
    ids_hwc = np.array([[[112, 17, 1], [3, 0, 0], [0, 0, 0]]], np.uint8)
    Image.fromarray(ids_hwc).save(png)
    np.testing.assert_array_equal(chip.draw({"roof": 1, "ground": 0}, 9), [[1, 0, 255]])
    document = json.loads((tmp_path / "labels.json").read_text())
    document["annotations"][0]["segments_info"][1]["iscrowd"] = 1
    (tmp_path / "labels.json").write_text(json.dumps(document))
    (crowded,) = read_chips(tmp_path / "labels.json")
    np.testing.assert_array_equal(crowded.draw({"roof": 1, "ground": 0}, 9), [[1, 255, 255]])
    Image.fromarray(ids_hwc + np.uint8(1)).save(png)
    with pytest.raises(SceneError, match=r"holds the segment .*chip\.png|chip\.png holds the segment"):
        chip.draw({"roof": 1, "ground": 0}, 9)
