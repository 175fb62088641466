import hashlib
import itertools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401  # registers .rio
import xarray
import zarr
import zarr_cm
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.grid import Grid, Window
from geoseg.io.halving import majority_of_four, mean_of_four
from geoseg.io.mosaic import CHUNK_PX, Mosaic, level_grids
from geoseg.labels import NODATA_CLASS, LabelSet

UTM = Grid("EPSG:32640", Affine(0.5, 0, 320000.25, 0, -0.5, 2770000.75), 1100, 700)
OWN_CRS = CRS.from_proj4("+proj=laea +lat_0=25 +lon_0=55 +ellps=GRS80 +units=m").to_wkt()

few_values = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.sampled_from([0, 1, 2, 255])
)
any_values = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7))


@pytest.fixture
def mosaic(tmp_path: Path, labels: LabelSet) -> Mosaic[Path]:
    mosaic = Mosaic(tmp_path / "mosaic.zarr")
    mosaic.create(UTM, labels, probability=True)
    return mosaic


def noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def chunk_windows(height: int, width: int) -> list[Window]:
    return [
        Window(row, col, min(CHUNK_PX, height - row), min(CHUNK_PX, width - col))
        for row, col in itertools.product(range(0, height, CHUNK_PX), range(0, width, CHUNK_PX))
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# Overviews


def quads(values_hw: NDArray[np.uint8]) -> dict[tuple[int, int], list[int]]:
    """The values of each 2 x 2 pixels, in raster order."""
    found: dict[tuple[int, int], list[int]] = {}
    for (row, col), value in np.ndenumerate(values_hw):
        found.setdefault((row // 2, col // 2), []).append(int(value))
    return found


@given(few_values)
def test_the_majority_of_four(values_hw: NDArray[np.uint8]) -> None:
    half_hw = majority_of_four(values_hw)
    assert half_hw.shape == tuple(-(-side // 2) for side in values_hw.shape)
    for (row, col), four in quads(values_hw).items():
        # most_common keeps the order of first appearance among equals.
        ranked = Counter(value for value in four if value != NODATA_CLASS).most_common()
        assert half_hw[row, col] == (ranked[0][0] if ranked else NODATA_CLASS)


@given(st.one_of(few_values, any_values))
def test_the_mean_of_four(values_hw: NDArray[np.uint8]) -> None:
    half_hw = mean_of_four(values_hw)
    assert half_hw.shape == tuple(-(-side // 2) for side in values_hw.shape)
    for (row, col), four in quads(values_hw).items():
        valid = [value for value in four if value != NODATA_CLASS]
        expected = int(sum(valid) / len(valid) + 0.5) if valid else NODATA_CLASS
        assert half_hw[row, col] == expected


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_levels_halve_down_to_one_chunk_and_cover_the_same_ground(height: int, width: int) -> None:
    levels = level_grids(Grid(UTM.crs, UTM.transform, height, width))
    assert levels[0].window.shape == (height, width)
    assert max(levels[-1].window.shape) <= CHUNK_PX
    for above, below in itertools.pairwise(levels):
        assert max(above.window.shape) > CHUNK_PX
        assert below.window.shape == (-(-above.height // 2), -(-above.width // 2))
        assert below.transform @ (0, 0) == above.transform @ (0, 0)
        assert below.transform @ (1, 1) == above.transform @ (2, 2)


# Chunks


@pytest.mark.parametrize("shape", [(1, 1), (1, 600), (512, 512), (513, 512), (1100, 700)])
def test_a_new_mosaic_is_nodata_and_stores_no_chunk(
    tmp_path: Path, labels: LabelSet, shape: tuple[int, int]
) -> None:
    mosaic = Mosaic(tmp_path / "mosaic.zarr")
    grid = Grid(UTM.crs, UTM.transform, *shape)
    mosaic.create(grid, labels, probability=False)
    assert mosaic.level_shapes() == tuple(level.window.shape for level in level_grids(grid))
    for level, level_shape in enumerate(mosaic.level_shapes()):
        for name in ("classes", "confidence"):
            values_hw = mosaic.read(level, name)
            assert values_hw.shape == level_shape
            assert (values_hw == NODATA_CLASS).all()
            assert not (mosaic.path / str(level) / name / "c").exists()
    assert not (mosaic.path / "0" / "probability").exists()
    assert list(tmp_path.iterdir()) == [mosaic.path]


@settings(max_examples=3)
@given(st.permutations(range(6)), st.integers(0, 99))
def test_chunks_come_back_and_their_bytes_do_not_depend_on_the_order(
    tmp_path_factory: pytest.TempPathFactory, labels: LabelSet, order: list[int], seed: int
) -> None:
    windows = chunk_windows(UTM.height, UTM.width)
    assert len(windows) == len(order)
    expected_hw, expected_chw = noise(UTM.window.shape, seed), noise((3, *UTM.window.shape), seed)
    stored = []
    for numbers in (range(6), order):
        mosaic = Mosaic(tmp_path_factory.mktemp("run") / "mosaic.zarr")
        mosaic.create(UTM, labels, probability=True)
        for number in numbers:
            index = windows[number].slices_in(UTM.window)
            mosaic.write(0, "classes", windows[number], expected_hw[index])
            mosaic.write(0, "probability", windows[number], expected_chw[:, *index])
        np.testing.assert_array_equal(mosaic.read(0, "classes"), expected_hw)
        np.testing.assert_array_equal(mosaic.read(0, "probability"), expected_chw)
        part = Window(500, 3, 50, 600)
        np.testing.assert_array_equal(mosaic.read(0, "classes", part), expected_hw[part.slices_in(UTM.window)])
        stored.append(files(mosaic.path))
        shutil.rmtree(mosaic.path)
    assert stored[0] == stored[1]


@pytest.mark.parametrize(
    "window",
    [
        Window(0, 0, 511, 512),
        Window(0, 0, 512, 699),
        Window(1, 0, 511, 700),
        Window(512, 512, 512, 100),
        Window(1024, 256, 76, 256),
    ],
)
def test_a_window_that_cuts_a_chunk_is_refused(mosaic: Mosaic[Path], window: Window) -> None:
    before = files(mosaic.path)
    with pytest.raises(ValueError, match="cuts a chunk of 512 px"):
        mosaic.write(0, "classes", window, np.zeros(window.shape, np.uint8))
    assert files(mosaic.path) == before


def test_a_write_touches_its_own_objects_only(mosaic: Mosaic[Path]) -> None:
    mosaic.write(0, "classes", Window(0, 0, 512, 512), noise((512, 512)))
    before = files(mosaic.path)
    mosaic.write(0, "classes", Window(512, 512, 588, 188), noise((588, 188)))
    after = files(mosaic.path)
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {"0/classes/c/1/1", "0/classes/c/2/1"}


def test_hashes_are_of_the_stored_objects(mosaic: Mosaic[Path]) -> None:
    window = Window(512, 0, 588, 700)
    values_hw = noise(window.shape)
    values_hw[512:, 512:] = NODATA_CLASS
    probability_chw = np.full((3, *window.shape), NODATA_CLASS, np.uint8)
    probability_chw[1] = values_hw
    mosaic.write(0, "classes", window, values_hw)
    mosaic.write(0, "probability", window, probability_chw)
    hashes = mosaic.chunk_hashes(0, ("classes", "probability"), window)
    chunks = ["1/0", "1/1", "2/0", "2/1"]
    layers = ["classes/c", *(f"probability/c/{k}" for k in range(3))]
    assert set(hashes) == {f"0/{layer}/{chunk}" for layer in layers for chunk in chunks}
    assert {key for key, value in hashes.items() if value is not None} == {
        f"0/{layer}/{chunk}" for layer in ("classes/c", "probability/c/1") for chunk in chunks[:3]
    }
    for key, value in hashes.items():
        file = mosaic.path / key
        assert (hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None) == value


def test_an_interrupted_creation_is_started_afresh(tmp_path: Path, labels: LabelSet) -> None:
    mosaic = Mosaic(tmp_path / "mosaic.zarr")
    leftover = tmp_path / "mosaic.zarr.partial"
    leftover.mkdir()
    (leftover / "half").touch()
    assert not mosaic.path.exists()
    mosaic.create(UTM, labels, probability=False)
    assert list(tmp_path.iterdir()) == [mosaic.path]
    assert not (mosaic.path / "half").exists()


def test_a_mosaic_is_never_replaced(mosaic: Mosaic[Path], labels: LabelSet) -> None:
    mosaic.write(0, "classes", Window(0, 0, 512, 512), noise((512, 512)))
    before = files(mosaic.path)
    with pytest.raises(OSError, match="not empty"):
        mosaic.create(UTM, labels, probability=False)
    assert files(mosaic.path) == before


def test_every_stored_chunk_is_listed_and_nothing_else(mosaic: Mosaic[Path]) -> None:
    mosaic.write(0, "classes", Window(0, 0, 512, 512), noise((512, 512)))
    mosaic.write(1, "confidence", Window(0, 0, *mosaic.level_shapes()[1]), noise(mosaic.level_shapes()[1]))
    chunks = sorted(mosaic.chunk_files())
    assert chunks[0] == "0/classes/c/0/0"
    assert chunks == sorted(str(file.relative_to(mosaic.path)) for file in mosaic.path.rglob("c/*/*"))


# What others see


@pytest.mark.parametrize(
    "grid",
    [
        UTM,
        Grid("EPSG:4326", Affine(1e-5, 0, 55.1, 0, -2e-5, 25.3), 600, 1030),
        Grid("EPSG:2263", Affine(1, 0, 985000, 0, -1, 215000), 513, 20),
        Grid(OWN_CRS, Affine(2, 0, -100, 0, -2, 50), 1, 1),
    ],
    ids=["utm", "degrees", "feet", "own"],
)
def test_xarray_and_rioxarray_place_every_level(tmp_path: Path, labels: LabelSet, grid: Grid) -> None:
    mosaic = Mosaic(tmp_path / "mosaic.zarr")
    mosaic.create(grid, labels, probability=True)
    for level, level_grid in enumerate(level_grids(grid)):
        values_hw = noise(level_grid.window.shape, level)
        mosaic.write(level, "classes", level_grid.window, values_hw)
        with xarray.open_dataset(
            mosaic.path, engine="zarr", group=str(level), consolidated=False, decode_coords="all"
        ) as dataset:
            assert set(dataset.data_vars) == {"classes", "confidence"} | ({"probability"} if level == 0 else set())
            classes = dataset["classes"]
            assert classes.dims == ("y", "x")
            assert classes.dtype == np.uint8
            np.testing.assert_array_equal(classes.to_numpy(), values_hw)
            assert CRS.from_user_input(classes.rio.crs) == CRS.from_user_input(grid.crs)
            assert classes.rio.transform().almost_equals(level_grid.transform, precision=1e-9)
            # The coordinates say the same as the transform: those are pixel centres.
            assert (
                classes.rio.transform(recalc=True).almost_equals(level_grid.transform, 1e-9) or 1 in classes.shape
            )
            x, y = level_grid.transform @ (level_grid.width - 0.5, level_grid.height - 0.5)
            assert classes.sel(x=x, y=y, method="nearest") == values_hw[-1, -1]
            assert (float(classes.x[-1]), float(classes.y[-1])) == pytest.approx((x, y), rel=1e-12)


def test_a_rotated_grid_has_a_geotransform_and_no_coordinates(tmp_path: Path, labels: LabelSet) -> None:
    mosaic = Mosaic(tmp_path / "mosaic.zarr")
    transform = UTM.transform @ Affine.rotation(30)
    mosaic.create(Grid(UTM.crs, transform, 8, 9), labels, probability=False)
    with xarray.open_dataset(
        mosaic.path, engine="zarr", group="0", consolidated=False, decode_coords="all"
    ) as dataset:
        assert "x" not in dataset.coords
        assert dataset["classes"].rio.transform().almost_equals(transform, precision=1e-9)


def array(mosaic: Mosaic[Path], path: str) -> zarr.Array[Any]:
    return zarr.open_array(mosaic.path, path=path, mode="r")


@pytest.mark.parametrize("crs", ["EPSG:32640", OWN_CRS], ids=["code", "own"])
def test_attributes_follow_the_geozarr_conventions(tmp_path: Path, labels: LabelSet, crs: str) -> None:
    mosaic = Mosaic(tmp_path / "mosaic.zarr")
    grid = Grid(crs, UTM.transform, UTM.height, UTM.width)
    mosaic.create(grid, labels, probability=True)
    root = dict(zarr.open_group(mosaic.path, mode="r").attrs)
    assert set(zarr_cm.detect_revisions(root)) == {"multiscales", "spatial", "proj"}
    zarr_cm.validate_all(root)
    names = [f"{level}/{name}" for level in range(3) for name in ("classes", "confidence")]
    for name in (*names, "0/probability"):
        attributes: dict[str, Any] = dict(array(mosaic, name).attrs)
        assert set(zarr_cm.detect_revisions(attributes)) == {"spatial", "proj"}
        zarr_cm.validate_all(attributes)
        assert CRS.from_user_input(attributes["_CRS"]["wkt"]) == CRS.from_user_input(crs)
    multiscales: Any = root["multiscales"]
    layout = multiscales["layout"]
    assert [level["asset"] for level in layout] == ["0", "1", "2"]
    for level, level_grid in zip(layout, level_grids(grid), strict=True):
        assert Affine(*level["spatial:transform"]) == level_grid.transform
        assert tuple(level["spatial:shape"]) == array(mosaic, f"{level['asset']}/classes").shape
    assert root["spatial:bbox"] == pytest.approx([320000.25, 2769450.75, 320350.25, 2770000.75])


def test_arrays_are_what_the_layout_says(mosaic: Mosaic[Path], labels: LabelSet) -> None:
    root = zarr.open_group(mosaic.path, mode="r")
    held = {level: sorted(group.array_keys()) for level, group in root.groups()}
    below = ["classes", "confidence", "spatial_ref", "x", "y"]
    assert held == {"0": sorted([*below, "probability"]), "1": below, "2": below}
    for name, dimensions in (("classes", ("y", "x")), ("probability", ("class", "y", "x"))):
        stored = array(mosaic, f"0/{name}")
        assert stored.metadata.to_dict()["dimension_names"] == dimensions
        assert stored.chunks[-2:] == (CHUNK_PX, CHUNK_PX)
        assert stored.chunks[:-2] == (1,) * (len(dimensions) - 2)
        assert stored.shards is None
        assert stored.fill_value == NODATA_CLASS
        assert [type(codec).__name__ for codec in stored.compressors] == ["ZstdCodec"]
        assert stored.attrs["flag_values"] == [0, 1, 2]
        assert stored.attrs["flag_meanings"] == " ".join(labels.names)
