"""The objects of scenes, from each kind of labels, against what numpy and scipy say of the whole scene."""

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass, label

from geoseg.datasets.label_files import REST, ChipFile, VectorFile, VectorFiles
from geoseg.errors import ConfigError, SceneError
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.regions import Region
from geoseg.labels import NODATA_CLASS
from geoseg.train.cells import Cells
from geoseg.train.centres import REACH_PX, encode
from geoseg.train.instances import SceneInstances, doubts
from geoseg.train.samples import Sampler
from geoseg.train.scenes import LabelCoding, LabelledScene, Source
from geoseg.train.things import Things

WriteScene = Callable[..., Source]

CODING = LabelCoding({1: 0, 2: 1, 3: 2, 4: NODATA_CLASS})
THINGS = Things.of(CODING.candidates, (1, 2))
HEIGHT, WIDTH = 70, 90
WEST, NORTH = 320000.0, 2770000.0


def classes(seed: int) -> NDArray[np.uint8]:
    """Values of a class raster: patches of two kinds of things and of ground, and some that are ignored."""
    rng = np.random.default_rng(seed)
    values = rng.choice([1, 2, 3, 4], (24, 30), p=[0.4, 0.3, 0.25, 0.05]).astype(np.uint8)
    return values.repeat(3, 0).repeat(3, 1)[:HEIGHT, :WIDTH]


def numbers(seed: int) -> NDArray[np.int32]:
    """Objects that have nothing to do with classes: patches of sparse numbers, one of which lies in two places."""
    rng = np.random.default_rng(seed)
    known = np.array([0, 7, 70_000, 2**31 - 1, 12, 13, 14, 15])
    return rng.choice(known, (14, 18)).repeat(5, 0).repeat(5, 1).astype(np.int32)


def write_numbers(path: Path, ids_hw: NDArray[Any], nodata: int | None = None) -> str:
    profile = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": 1, "crs": "EPSG:32640"}
    transform = Affine(1, 0, WEST, 0, -1, NORTH)
    with rasterio.open(path, "w", dtype=ids_hw.dtype, nodata=nodata, transform=transform, **profile) as dataset:
        dataset.write(ids_hw, 1)
    return str(path)


def stars(seed: int) -> list[tuple[shapely.Geometry, str]]:
    """Overlapping triangles and the like, of things and stuff, over the edges too."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(14):
        angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 7)))
        x, y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
        points = np.column_stack([x + 14 * np.cos(angle), y + 14 * np.sin(angle)])
        found.append((shapely.make_valid(shapely.polygons(points)), "012"[number % 3]))
    return found


def vectors(path: Path, shapes: list[tuple[shapely.Geometry, str]]) -> VectorFiles:
    ground = [
        shapely.transform(shape, lambda at: np.column_stack([WEST + at[:, 0], NORTH - at[:, 1]]))
        for shape, _ in shapes
    ]
    crs = {"type": "name", "properties": {"name": "EPSG:32640"}}
    content = [
        {"type": "Feature", "properties": {"class": name}, "geometry": shapely.geometry.mapping(shape)}
        for shape, (_, name) in zip(ground, shapes, strict=True)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": content}))
    ids = tuple((str(number), number) for number in range(3))
    return VectorFiles((VectorFile(str(path), ids, "class"),), rest=0)


def scene_of(
    write_scene: WriteScene,
    imagery: Imagery,
    values_hw: NDArray[np.uint8],
    **changes: Any,  # noqa: ANN401  # of a Source
) -> LabelledScene:
    image_chw = np.broadcast_to(values_hw, (3, HEIGHT, WIDTH))
    return LabelledScene(replace(write_scene("scene", image_chw, values_hw), **changes), imagery, CODING)


def assert_same_objects(found: SceneInstances, expected_hw: NDArray[Any], side: int) -> None:
    """Windows are those of the whole, objects are these up to their numbers, and centres are scipy's."""
    whole_hw = found.ids(Window(0, 0, HEIGHT, WIDTH)).copy()
    rng = np.random.default_rng(side)
    for _ in range(5):
        row, col = int(rng.integers(HEIGHT)), int(rng.integers(WIDTH))
        window = Window(row, col, int(rng.integers(1, HEIGHT - row + 1)), int(rng.integers(1, WIDTH - col + 1)))
        assert np.array_equal(found.ids(window), whole_hw[row : window.row_stop, col : window.col_stop])
    pairs = np.unique(np.stack([whole_hw.ravel(), expected_hw.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(whole_hw)) == len(np.unique(expected_hw))
    assert ((whole_hw == 0) == (expected_hw == 0)).all()
    table = found.table
    assert table.ids_n.tolist() == sorted(set(whole_hw[whole_hw > 0].tolist()))
    assert table.pixels_n.tolist() == [np.count_nonzero(whole_hw == number) for number in table.ids_n]
    centres = center_of_mass(np.ones_like(whole_hw), whole_hw, table.ids_n)
    np.testing.assert_allclose(table.centres_n2, np.array(centres).reshape(-1, 2) + 0.5, atol=1e-9)


@pytest.mark.parametrize("side", [7, 32, 512])
def test_without_numbers_they_are_the_components_of_the_whole_scene(
    write_scene: WriteScene, imagery: Imagery, side: int
) -> None:
    values_hw = classes(side)
    expected_hw, count = np.zeros((HEIGHT, WIDTH), np.int64), 0
    for value in (2, 3):
        numbers_hw, more = label(values_hw == value)
        expected_hw[numbers_hw > 0] = numbers_hw[numbers_hw > 0] + count
        count += more
    # A region that cuts objects changes none of them.
    region = Region("EPSG:32640", shapely.box(WEST + 20, NORTH - 50, WEST + 60, NORTH - 11))
    with scene_of(write_scene, imagery, values_hw, region=region) as scene:
        found = SceneInstances(scene, THINGS, side_px=side)
        assert found.are_components
        assert_same_objects(found, expected_hw, side)
        (line,) = doubts([scene], [found])
        assert "scene say classes alone: objects that touch count as one" in line


@pytest.mark.parametrize("side", [7, 512])
def test_a_raster_of_objects_numbers_pixels_of_things_alone(
    write_scene: WriteScene, imagery: Imagery, tmp_path: Path, side: int
) -> None:
    values_hw, ids_hw = classes(side), numbers(side)
    path = write_numbers(tmp_path / "objects.tif", ids_hw, nodata=15)
    with scene_of(write_scene, imagery, values_hw, instances=path) as scene:
        found = SceneInstances(scene, THINGS, side_px=side)
        assert not found.are_components
        thing_hw = np.isin(values_hw, (2, 3)) & (ids_hw != 15)
        assert_same_objects(found, np.where(thing_hw, ids_hw, 0), side)
        assert np.array_equal(found.ids(scene.grid.window), np.where(thing_hw, ids_hw, 0))
        assert doubts([scene], [found]) == ()


@pytest.mark.parametrize("side", [7, 512])
def test_each_feature_is_an_object_and_of_overlapping_ones_the_last_has_the_pixel(
    write_scene: WriteScene, imagery: Imagery, tmp_path: Path, side: int
) -> None:
    shapes = stars(side)
    with scene_of(write_scene, imagery, classes(0), labels=vectors(tmp_path / "v.geojson", shapes)) as scene:
        found = SceneInstances(scene, THINGS, side_px=side)
        last_hw = rasterio.features.rasterize(
            [(shape, number) for number, (shape, _) in enumerate(shapes, 1)], (HEIGHT, WIDTH), dtype=np.int32
        )
        of_thing = np.array([False, *(name != "0" for _, name in shapes)])
        assert_same_objects(found, np.where(of_thing[last_hw], last_hw, 0), side)
        depth_hw = sum(
            rasterio.features.rasterize([shape], (HEIGHT, WIDTH), dtype=np.int32)
            for shape, name in shapes
            if name != "0"
        )
        assert found.overlap_px == np.count_nonzero(depth_hw > 1) > 0
        (line,) = doubts([scene], [found])
        assert f"objects overlap on {found.overlap_px} pixels of scene" in line


class Numbered:
    """A chip whose labels number objects, upside down as files may be."""

    def __init__(self, image: Path, values_hw: NDArray[np.uint8], ids_hw: NDArray[np.int32]) -> None:
        self.image, self.where, self._values_hw, self._ids_hw = image, "numbered", values_hw, ids_hw

    def categories(self) -> frozenset[str]:
        return frozenset("12")

    def draw(self, values: Any, rest: int) -> NDArray[np.uint8]:  # noqa: ANN401, ARG002  # of the protocol
        return self._values_hw

    def planes(self, values: Any, classes: int) -> NDArray[np.uint8]:  # noqa: ANN401
        raise NotImplementedError

    def instances(self, categories: Collection[str]) -> NDArray[np.int32]:  # noqa: ARG002  # of the protocol
        return self._ids_hw


def test_a_chip_may_say_what_its_objects_are(write_scene: WriteScene, imagery: Imagery) -> None:
    ids_hw = numbers(1)
    coded_hw = (classes(1) % 3).astype(np.uint8)
    source = write_scene("scene", np.broadcast_to(coded_hw, (3, HEIGHT, WIDTH)), coded_hw)
    chip = ChipFile(Numbered(Path(source.image), coded_hw, ids_hw), {}, REST)
    with LabelledScene(replace(source, labels=chip), imagery, CODING) as scene:
        found = SceneInstances(scene, THINGS, side_px=16)
        assert_same_objects(found, np.where(coded_hw > 0, ids_hw, 0), 16)


@pytest.mark.parametrize("seed", range(4))
def test_a_crop_has_whole_objects_and_the_heat_and_offsets_of_the_scene(
    write_scene: WriteScene, imagery: Imagery, tmp_path: Path, seed: int
) -> None:
    values_hw = classes(seed)
    path = write_numbers(tmp_path / "objects.tif", numbers(seed) if seed % 2 else numbers(seed) % 13)
    changes = {"instances": path} if seed else {}
    with scene_of(write_scene, imagery, values_hw, **changes) as scene:
        found = SceneInstances(scene, THINGS, side_px=32)
        whole = found.crop(scene.grid.window)
        heat_hw, offset_ahw = encode(whole)
        rng = np.random.default_rng(seed)
        for _ in range(6):
            window = Window(int(rng.integers(-20, 60)), int(rng.integers(-20, 60)), 40, 30)
            crop = found.crop(window)
            assert len(crop.centres_n2) == len(crop.pixels_n) < len(whole.pixels_n) + 1
            inside = window.intersection(scene.grid.window)
            assert inside is not None
            here, there = inside.slices_in(window), inside.slices_in(scene.grid.window)
            assert np.array_equal(crop.ids_hw[here] > 0, whole.ids_hw[there] > 0)
            assert np.count_nonzero(crop.ids_hw) == np.count_nonzero(crop.ids_hw[here])
            # Objects are the same ones, with centres that may lie outside.
            at = crop.centres_n2[crop.ids_hw[here] - 1] + (window.row, window.col)
            expected = whole.centres_n2[whole.ids_hw[there] - 1]
            np.testing.assert_allclose(at[crop.ids_hw[here] > 0], expected[whole.ids_hw[there] > 0], atol=1e-9)
            crop_heat_hw, crop_offset_ahw = encode(crop)
            np.testing.assert_allclose(crop_heat_hw[here], heat_hw[there], atol=1e-6)
            np.testing.assert_allclose(crop_offset_ahw[:, *here], offset_ahw[:, *there], atol=1e-4)
    assert REACH_PX == 25


def test_samples_have_the_objects_of_their_windows(write_scene: WriteScene, imagery: Imagery) -> None:
    values_hw = classes(3)
    with scene_of(write_scene, imagery, values_hw) as scene:
        found = SceneInstances(scene, THINGS)
        cells = Cells.of((scene,), 32)
        sampler = Sampler((scene,), cells, imagery, 0, instances=[found])
        plain = Sampler((scene,), cells, imagery, 0)
        for number in range(5):
            sample = sampler.sample(number, 32)
            assert plain.sample(number, 32).instances is None
            assert sample.instances is not None
            thing_hw = np.isin(sample.labels_hw, (1, 2))
            assert np.array_equal(sample.instances.ids_hw > 0, thing_hw)


def test_rasters_that_number_no_objects_are_refused(
    write_scene: WriteScene, imagery: Imagery, tmp_path: Path
) -> None:
    wide = write_numbers(tmp_path / "wide.tif", numbers(0).astype(np.int64))
    with pytest.raises(SceneError, match=r"wide\.tif has numbers of 64 bits: expected objects"):
        scene_of(write_scene, imagery, classes(0), instances=wide)
    negative = write_numbers(tmp_path / "negative.tif", numbers(0) - 9)
    with (
        scene_of(write_scene, imagery, classes(0), instances=negative) as scene,
        pytest.raises(SceneError, match="expected 0 where there is no object, and objects numbered from 1"),
    ):
        SceneInstances(scene, THINGS)
    none = write_numbers(tmp_path / "none.tif", np.zeros((HEIGHT, WIDTH), np.uint16))
    with scene_of(write_scene, imagery, classes(0), instances=none) as scene:
        found = SceneInstances(scene, THINGS)
        assert len(found.table) == 0
        assert found.crop(Window(-4, -4, 30, 30)).centres_n2.shape == (0, 2)
        with pytest.raises(ConfigError, match=r"architecture\.instances: expected objects of things"):
            doubts([scene], [found])
