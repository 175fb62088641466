"""The training ground in cells."""

from collections.abc import Callable

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoseg.errors import SceneError
from geoseg.imagery import Imagery
from geoseg.io.regions import Region, region_mask
from geoseg.labels import NODATA_CLASS
from geoseg.train.cells import Cells
from geoseg.train.scenes import LabelCoding, LabelledScene, Source, open_scenes

WriteScene = Callable[..., Source]

CODING = LabelCoding({1: 0, 2: 1, 3: NODATA_CLASS})


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(1, 130),
    st.integers(1, 130),
    st.integers(8, 70),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
    st.booleans(),
)
def test_they_cover_the_region_and_stay_within_its_bounds(
    write_scene: WriteScene, imagery: Imagery, height: int, width: int, side_px: int, part: list[float], whole: bool
) -> None:
    (left, right), (top, bottom) = sorted(part[:2]), sorted(part[2:])
    corners = left * width, top * height, right * width, bottom * height
    pixels = shapely.box(0, 0, width, height) if whole else shapely.box(*corners)
    inside_hw = np.ones((height, width), np.bool_)
    if not whole:
        centres = np.arange(width) + 0.5, np.arange(height) + 0.5
        inside_hw = (abs(2 * centres[1] - corners[1] - corners[3]) < corners[3] - corners[1])[:, None] & (
            abs(2 * centres[0] - corners[0] - corners[2]) < corners[2] - corners[0]
        )[None]
    if not inside_hw.any():
        return
    on_ground = shapely.transform(pixels, lambda places: places * [1, -1] + [320000, 2770000])
    source = write_scene(
        "scene",
        np.zeros((3, height, width), np.uint8),
        np.ones((height, width), np.uint8),
        region=None if whole else Region("EPSG:32640", on_ground),
    )
    with LabelledScene(source, imagery, CODING) as scene:
        found = Cells.of((scene,), side_px)
        seen_hw = np.zeros((height, width), int)
        for cell in range(len(found)):
            number, window = found.place(cell)
            assert number == 0
            assert window.shape == (side_px, side_px)
            inner = window.intersection(scene.grid.window)
            assert inner is not None
            seen_hw[inner.slices_in(scene.grid.window)] += 1
            assert region_mask(scene.pixels, inner).any()
        rows, cols = np.nonzero(inside_hw)
        assert (seen_hw[inside_hw] >= 1).all()
        sides = np.ptp(rows) + 1, np.ptp(cols) + 1
        # As few as there can be on a lattice; a millionth of a pixel may decide whether one more is in.
        assert len(found) == np.prod([-(-side // side_px) for side in sides])
        for first, length, size, axis in ((rows.min(), sides[0], height, 1), (cols.min(), sides[1], width, 2)):
            starts = found.places_n3[:, axis]
            if length >= side_px:
                assert starts.min() == first
                assert starts.max() == first + length - side_px
            elif size >= side_px:
                assert 0 <= starts.min() <= starts.max() <= size - side_px


def test_those_without_labels_or_data_are_left_out(write_scene: WriteScene, imagery: Imagery) -> None:
    labels_hw, valid_hw = np.zeros((96, 128), np.uint8), np.ones((96, 128), np.bool_)
    labels_hw[:, 64:] = 1
    labels_hw[95, 0] = 2  # a single pixel
    labels_hw[31, 31] = 3  # ignored
    valid_hw[:32, 96:] = False
    valid_hw[64:, 64:96] = False
    valid_hw[95, 95] = True
    image_chw = np.zeros((3, 96, 128), np.uint8)
    sources = (write_scene("a", image_chw, labels_hw, valid_hw), write_scene("b", image_chw[:, :9], labels_hw[:9]))
    with open_scenes(sources, imagery, CODING) as scenes:
        found = Cells.of(scenes, 32)
        places = [found.place(cell) for cell in range(len(found))]
    # Of the first scene's 12 cells 6 hold no label, but one a single pixel; one holds no data.
    expected = {(0, 0, 64), (0, 32, 64), (0, 32, 96), (0, 64, 64), (0, 64, 96), (0, 64, 0)}
    # The second is 9 px high: cells in its middle, two of four with labels.
    expected |= {(1, -12, 64), (1, -12, 96)}
    assert {(number, window.row, window.col) for number, window in places} == expected
    assert len(places) == len(expected) == found.epoch_length


def test_ground_without_any_label_is_refused(write_scene: WriteScene, imagery: Imagery) -> None:
    source = write_scene("none", np.zeros((3, 40, 40), np.uint8), np.zeros((40, 40), np.uint8))
    with LabelledScene(source, imagery, CODING) as scene, pytest.raises(SceneError, match="found none"):
        Cells.of((scene,), 32)
