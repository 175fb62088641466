"""What every test may use: a steady Hypothesis, and small rasters on disk."""

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from bucket import BucketServer, bucket_server, reached
from hypothesis import settings
from loopback import Web, loopback_server
from numpy.typing import NDArray
from packages import save_tiny
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from xdist.scheduler import LoadScopeScheduling

from geoseg.imagery import Imagery
from geoseg.io.bucket import BucketPath
from geoseg.labels import LabelClass, LabelSet
from geoseg.models.architecture import Architecture, build

WriteRaster = Callable[..., Path]

_START_RAY = ("cluster", "faults")
"""Folders of tests that start Ray, some of them again and again."""


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives processes whole files, whose fixtures are dear, and one of them all those that start Ray.

    Two at once are too much for two cores: Ray gives its own processes 30 s to come up.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return "ray" if Path(path).parent.name in _START_RAY else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    return _ByFile(config, log)


# The same examples in every run: a test that fails does so for what changed. No deadline: machines differ.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=40)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.load_profile("steady")

# Commands that run in this process tell GDAL which drivers to leave out, which it heeds when it registers them, and
# that is once: whichever test opens the first raster must not decide what all others can open.
with rasterio.Env():
    pass


@pytest.fixture(scope="session")
def heavy_libraries() -> frozenset[str]:
    """What takes a while to load, and what commands and imports that need none of it do without."""
    names = "torch ray rasterio numpy numba zarr pydantic scipy shapely pyproj matplotlib"
    return frozenset(names.split())


@pytest.fixture(scope="session")
def bucket() -> Iterator[BucketServer]:
    """A bucket on a server of this process's own."""
    with bucket_server() as server:
        yield server


@pytest.fixture
def place(bucket: BucketServer, request: pytest.FixtureRequest) -> Iterator[BucketPath]:
    """What would be a folder in it, for one test, which finds the bucket without more ado."""
    with reached(bucket):
        yield bucket.folder(f"{request.node.name}/run")


@pytest.fixture(scope="session")
def rgb() -> Imagery:
    """Red, green and blue bytes at 1 m, normalized to themselves."""
    return Imagery(("red", "green", "blue"), "uint8", (0, 255), (0.0,) * 3, (1.0,) * 3, 1.0)


@pytest.fixture(scope="session")
def labels() -> LabelSet:
    """Three classes, two of them with a layer."""
    return LabelSet(
        (
            LabelClass("building", "buildings", "thing", "#aa0000"),
            LabelClass("road", "roads", "stuff", "#777777"),
            LabelClass("other", None, "stuff", "#000000"),
        )
    )


@pytest.fixture(scope="session")
def write_raster(tmp_path_factory: pytest.TempPathFactory) -> WriteRaster:
    """Write image_chw to a raster of its own, by default a GeoTIFF at 1 m in UTM zone 40N.

    Takes `name`, `crs`, `transform`, `colorinterp`, and further creation options of rasterio; `mask_hw` (True
    where there is data) becomes an internal mask, or with `sidecar` an external one (.msk).
    """
    folder = tmp_path_factory.mktemp("rasters")
    numbers = itertools.count()

    def write(
        image_chw: NDArray[Any],
        name: str = "scene.tif",
        *,
        crs: str | None = "EPSG:32640",
        transform: Affine | None = Affine(1, 0, 320000, 0, -1, 2770000),  # noqa: B008  # a frozen value
        colorinterp: Sequence[ColorInterp] | None = None,
        mask_hw: NDArray[np.bool_] | None = None,
        sidecar: bool = False,
        **options: Any,  # noqa: ANN401  # rasterio's own
    ) -> Path:
        # As wide as any number, so that what is written first is also first by name.
        path = folder / f"{next(numbers):06}" / name
        path.parent.mkdir()
        count, height, width = image_chw.shape
        profile = {"driver": "GTiff", "dtype": image_chw.dtype, "crs": crs, **options}
        if transform is not None:
            profile["transform"] = transform
        with (
            warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=not sidecar),
            rasterio.open(path, "w", count=count, height=height, width=width, **profile) as dataset,
        ):
            if colorinterp is not None:
                dataset.colorinterp = colorinterp
            dataset.write(image_chw)
            if mask_hw is not None:
                dataset.write_mask(mask_hw)
        return path

    return write


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, rgb: Imagery, labels: LabelSet) -> Path:
    """A small model package whose classes mean nothing, but vary."""
    torch.manual_seed(7)
    architecture = Architecture("unet_resnet18", len(rgb.bands), len(labels), 0.125)
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", build(architecture), architecture, rgb, labels)


@pytest.fixture(scope="session")
def panoptic_model(tmp_path_factory: pytest.TempPathFactory, rgb: Imagery, labels: LabelSet) -> Path:
    """A small panoptic package whose classes, centres and offsets mean nothing, but vary."""
    torch.manual_seed(3)
    architecture = Architecture("unet_resnet18", len(rgb.bands), len(labels), 0.125, instances=True)
    network: Any = build(architecture)
    heads = network.instances.heads
    for head in (heads.heat, heads.offset):  # they begin at nearly nothing
        torch.nn.init.xavier_uniform_(head.weight)
    with torch.no_grad():
        heads.offset.weight *= 8
    return save_tiny(tmp_path_factory.mktemp("models") / "panoptic", network, architecture, rgb, labels)


@pytest.fixture(scope="session")
def patchwork_scene(write_raster: WriteRaster) -> Path:
    """A scene of 540 x 600 px of coloured patches, with an irregular footprint."""
    rng = np.random.default_rng(3)
    patches_chw = rng.integers(0, 256, (3, 6, 6)).repeat(100, axis=1).repeat(100, axis=2)[:, :540, :600]
    rows, cols = np.mgrid[:540, :600]
    return write_raster(patches_chw.astype(np.uint8), mask_hw=(rows + cols > 160) & (rows + cols < 980), tiled=True)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A web server on the loopback address, and readers that lose their patience within a second or two."""
    for name, value in {"MAX_RETRY": "3", "RETRY_DELAY": "0.05", "TIMEOUT": "1", "CONNECTTIMEOUT": "1"}.items():
        monkeypatch.setenv(f"GDAL_HTTP_{name}", value)
    with loopback_server() as server:
        yield server
