"""Real class masks, outlined block by block, against rasterio on the whole of them.

Crops of a hand-made label raster of Dubai ("Semantic segmentation of aerial imagery", Humans in the Loop with the
Mohammed Bin Rashid Space Center, CC0 1.0) and of a land cover raster (test fixtures of rio-tiler, BSD 3-Clause).
"""

from pathlib import Path

import numpy as np
import pytest
import rasterio.features
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from geoseg.grid import Window
from geoseg.vectorize.joining import join
from geoseg.vectorize.polygons import trace
from geoseg.vectorize.rings import Rings

MASKS = sorted((Path(__file__).parent / "masks").glob("*.png"))


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image, np.uint8)


def ids_of(classes_hw: NDArray[np.uint8]) -> NDArray[np.int64]:
    """1 + place of the first pixel of the component of each pixel."""
    ids_hw = np.zeros(classes_hw.shape, np.int64)
    for class_id in np.unique(classes_hw):
        component_hw, _ = ndimage.label(classes_hw == class_id)
        _, first = np.unique(component_hw, return_index=True)
        at_hw = component_hw > 0
        ids_hw[at_hw] = 1 + first[component_hw[at_hw] - component_hw.min()]
    return ids_hw


@pytest.fixture(scope="module", params=MASKS, ids=[path.stem for path in MASKS])
def mask(request: pytest.FixtureRequest) -> tuple[NDArray[np.uint8], NDArray[np.int64], dict[int, bytes]]:
    """Classes (row, column), the object of each pixel (row, column), and the polygon of each object."""
    classes_hw = read(request.param)
    ids_hw = ids_of(classes_hw)
    expected = {}
    for geometry, _ in rasterio.features.shapes(classes_hw, connectivity=4):
        polygon = shapely.geometry.shape(geometry)
        # The first pixel in raster order lies below the leftmost corner of the topmost edge.
        top = min(polygon.exterior.coords, key=lambda xy: (xy[1], xy[0]))
        expected[int(ids_hw[int(top[1]), int(top[0])])] = polygon.normalize().wkb
    assert len(expected) == len(np.unique(ids_hw)) > 50
    return classes_hw, ids_hw, expected


@settings(max_examples=15)
@given(st.integers(1, 8), st.integers(1, 10), st.randoms(use_true_random=False))
def test_objects_joined_from_blocks_in_any_order_are_those_of_the_whole(
    mask: tuple[NDArray[np.uint8], NDArray[np.int64], dict[int, bytes]], down: int, across: int, random: object
) -> None:
    classes_hw, ids_hw, expected = mask
    height, width = classes_hw.shape
    block_px = (-(-height // down), -(-width // across))
    windows = [
        Window(row, col, min(block_px[0], height - row), min(block_px[1], width - col))
        for row in range(0, height, block_px[0])
        for col in range(0, width, block_px[1])
    ]
    assert hasattr(random, "shuffle")
    random.shuffle(windows)
    rings, ids = [], []
    for window in windows:
        at = window.slices_in(Window(0, 0, height, width))
        found, place = trace(classes_hw[at], window)
        rings.append(found)
        ids.append(ids_hw[at].reshape(-1)[place])
    object_id, joined = join(Rings.concatenate(rings), np.concatenate(ids), block_px)
    wkb = shapely.to_wkb(shapely.normalize(joined.polygons())).tolist()
    assert dict(zip(object_id.tolist(), wkb, strict=True)) == expected
