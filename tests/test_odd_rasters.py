"""Every odd kind of raster, made here, is mapped whole or refused in words.

A table: how each is written, what the user adds, and what becomes of it.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from plans import plan_of
from pyogrio import read_dataframe
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC
from rasterio.shutil import copy

from geoseg import cli
from geoseg.errors import SceneError
from geoseg.imagery import Imagery
from geoseg.io.run_folder import RunFolder
from geoseg.io.scene import PercentStretch, SceneOptions, describe_scene
from geoseg.labels import NODATA_CLASS
from geoseg.pipeline import map_scene
from geoseg.plan import RunPlan
from geoseg.runner import LocalRunner

WriteRaster = Callable[..., Path]
Image = NDArray[Any]

SIZE = 70, 90
PLACE = Affine(1, 0, 320000, 0, -1, 2770000)
RGBA = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
ESRI = (
    'PROJCS["USA_Contiguous_Albers_Equal_Area_Conic_USGS_version",GEOGCS["GCS_North_American_1983",'
    'DATUM["D_North_American_1983",SPHEROID["GRS_1980",6378137.0,298.257222101]],PRIMEM["Greenwich",0.0],'
    'UNIT["Degree",0.0174532925199433]],PROJECTION["Albers"],PARAMETER["False_Easting",0.0],'
    'PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",-96.0],PARAMETER["Standard_Parallel_1",29.5],'
    'PARAMETER["Standard_Parallel_2",45.5],PARAMETER["Latitude_Of_Origin",23.0],UNIT["Meter",1.0]]'
)
METRE = 1 / 111320
"""Degrees of a metre at the equator."""

VALID_HW: NDArray[np.bool_] = np.add.outer(np.arange(SIZE[0]), np.arange(SIZE[1])) > 40
"""An irregular footprint."""


def patches(dtype: str = "uint8", count: int = 3, size: tuple[int, int] = SIZE) -> Image:
    """Coloured patches, none of them zero."""
    coarse = np.random.default_rng(5).integers(1, 256, (count, -(-size[0] // 10), -(-size[1] // 10)))
    return coarse.repeat(10, axis=1).repeat(10, axis=2)[:, : size[0], : size[1]].astype(dtype)


def where_valid(image_chw: Image, nodata: float) -> Image:
    return np.where(VALID_HW, image_chw, nodata).astype(image_chw.dtype)


@dataclass(frozen=True)
class Odd:
    """One kind of raster.

    Attributes:
        image_chw: Its pixels.
        written: How it is written.
        options: What the user adds.
        valid: Share of its grid's pixels that hold data; None for any.
        tags: Scale and offset tags of every band.
    """

    image_chw: Image
    written: dict[str, Any] = field(default_factory=dict)
    options: SceneOptions = field(default_factory=SceneOptions)
    valid: float | None = 1.0
    tags: tuple[float, float] | None = None


SHARE = float(VALID_HW.mean())
STRETCH = SceneOptions(stretch=PercentStretch(2, 98))

GCPS = [
    GroundControlPoint(row, col, 320000 + col, 2770000 - row) for row, col in ((0, 0), (0, 90), (70, 0), (70, 90))
]

MAPPED = {
    "GCPs only": Odd(patches(), {"transform": None, "gcps": GCPS}, valid=1),
    "alpha": Odd(
        np.concatenate([patches(), VALID_HW[None].astype(np.uint8) * 255]), {"colorinterp": RGBA}, valid=SHARE
    ),
    "internal mask": Odd(patches(), {"mask_hw": VALID_HW}, valid=SHARE),
    "external mask": Odd(patches(), {"mask_hw": VALID_HW, "sidecar": True}, valid=SHARE),
    "nodata": Odd(where_valid(patches(), 0), {"nodata": 0}, valid=SHARE),
    "nodata and NaN": Odd(where_valid(patches("float32"), np.nan), {"nodata": 0.0}, STRETCH, valid=SHARE),
    "NaN as nodata": Odd(where_valid(patches("float32"), np.nan), {"nodata": np.nan}, STRETCH, valid=SHARE),
    "float with a huge nodata": Odd(
        where_valid(patches("float32"), float(np.finfo(np.float32).min)),
        {"nodata": float(np.finfo(np.float32).min)},
        SceneOptions(stretch=(0, 255)),
        valid=SHARE,
    ),
    "float64": Odd(patches("float64", 4), {}, STRETCH),
    "scale and offset": Odd(patches("int16"), {}, SceneOptions(stretch=(0, 255)), tags=(0.0001, 1000.0)),
    "uint16": Odd(patches("uint16") * np.uint16(40), {}, STRETCH),
    "four bands": Odd(patches(count=4)),
    "one band": Odd(patches(count=1), {}, SceneOptions(bands=(1, 1, 1))),
    "geographic": Odd(patches(), {"crs": "EPSG:4326", "transform": Affine(METRE, 0, 36.8, 0, -METRE, -1.28)}),
    "ESRI's WKT": Odd(patches(), {"crs": ESRI, "transform": Affine(1, 0, 50000, 0, -1, 1900000)}),
    "a CRS without a code": Odd(
        patches(), {"crs": "+proj=laea +lat_0=52 +lon_0=10 +ellps=GRS80", "transform": Affine(1, 0, 9, 0, -1, 9)}
    ),
    "web mercator": Odd(
        patches(), {"crs": "EPSG:3857", "transform": Affine(1.1, 0, 6e6, 0, -1.1, 2.9e6)}, valid=None
    ),
    "striped": Odd(patches(), {"interleave": "pixel", "compress": "deflate"}),
    "BigTIFF": Odd(patches(), {"bigtiff": "yes", "tiled": True, "blockxsize": 16, "blockysize": 16}),
    "tiny": Odd(patches(size=(2, 2))),
    "a single pixel": Odd(patches(size=(1, 1))),
    "PNG with a world file": Odd(patches(), {"driver": "PNG", "name": "scene.png"}),
    "across the antimeridian in degrees": Odd(
        patches(), {"crs": "EPSG:4326", "transform": Affine(METRE, 0, 180 - 45 * METRE, 0, -METRE, -0.5)}
    ),
    "across the antimeridian in metres": Odd(
        patches(), {"crs": "EPSG:32601", "transform": Affine(1, 0, 166021 - 45, 0, -1, 1000)}
    ),
    "south-up": Odd(patches(), {"transform": Affine(1, 0, 320000, 0, 1, 2770000)}),
    "rotated": Odd(patches(), {"transform": PLACE @ Affine.rotation(30)}, valid=None),
    "sheared": Odd(patches(), {"transform": PLACE @ Affine.shear(15, 0)}, valid=None),
    "all nodata": Odd(np.zeros((3, *SIZE), np.uint8), {"nodata": 0}, valid=0.0),
    "all nodata, stretched": Odd(np.zeros((3, *SIZE), np.uint16), {"nodata": 0}, STRETCH, valid=0.0),
}


def planned(odd: Odd, path: Path, model_path: Path) -> RunPlan:
    if odd.tags is not None:
        with rasterio.open(path, "r+") as dataset:
            dataset.scales = (odd.tags[0],) * dataset.count
            dataset.offsets = (odd.tags[1],) * dataset.count
    return plan_of(path, model_path, options=odd.options)


@pytest.mark.parametrize("kind", MAPPED)
def test_mapped_whole(kind: str, write_raster: WriteRaster, tiny_model: Path, tmp_path: Path) -> None:
    odd = MAPPED[kind]
    plan = planned(odd, write_raster(odd.image_chw, **odd.written), tiny_model)
    outcome = map_scene(plan, RunFolder(tmp_path / "run"), LocalRunner(), ["geoseg", "map"])
    assert outcome.status == "complete"
    assert not outcome.quarantined
    with rasterio.open(tmp_path / "run" / "classes.tif") as cog:
        t, classes_hw = cog.transform, cog.read(1)
    assert (t.b, t.d) == (0, 0)
    assert t.a > 0 > t.e
    held = float((classes_hw != NODATA_CLASS).mean())
    assert (
        0.3 < held < 1
        if odd.valid is None and plan.region.scenes[0].parts[0].warp
        else held == pytest.approx(odd.valid or held)
    )
    areas = 0.0
    for layer in ("buildings", "roads"):
        frame = read_dataframe(tmp_path / "run" / "layers" / "geoseg.gpkg", layer=layer)
        areas += float(frame["area_m2"].sum())
        written = json.loads((tmp_path / "run" / "layers" / f"{layer}.geojson").read_text())
        assert len(written["features"]) == len(frame)
        for feature in written["features"]:
            assert_within_the_world(feature["geometry"]["coordinates"])
    if odd.valid == 0:
        assert areas == 0
    else:
        height_m, width_m = plan.region.grid.ground_resolution_m()
        mapped_px = int(((classes_hw != NODATA_CLASS) & (classes_hw != 2)).sum())
        assert areas == pytest.approx(mapped_px * height_m * width_m, rel=0.01)


def assert_within_the_world(coordinates: Any) -> None:  # noqa: ANN401  # GeoJSON nests to any depth
    if isinstance(coordinates[0], list):
        longitudes = [point[0] for point in _points(coordinates)]
        assert min(longitudes) >= -180
        assert max(longitudes) <= 180
        for part in coordinates if isinstance(coordinates[0][0][0], list) else [coordinates]:
            wide = [point[0] for point in _points(part)]
            assert max(wide) - min(wide) < 1, "a polygon goes around the world"


def _points(nested: Any) -> list[list[float]]:  # noqa: ANN401  # GeoJSON nests to any depth
    if isinstance(nested[0], list):
        return [point for part in nested for point in _points(part)]
    return [nested]


def test_scale_and_offset_are_noted(write_raster: WriteRaster, tiny_model: Path) -> None:
    odd = MAPPED["scale and offset"]
    plan = planned(odd, write_raster(odd.image_chw, **odd.written), tiny_model)
    assert "not applied" in plan.region.scenes[0].parts[0].notes[0]


def rpcs() -> RPC:
    poly = [1.0] + [0.0] * 19
    kinds = ("height", "lat", "long", "line", "samp")
    return RPC(
        **{f"{what}_{kind}": 1.0 for what in kinds for kind in ("off", "scale")},
        line_num_coeff=poly,
        line_den_coeff=poly,
        samp_num_coeff=poly,
        samp_den_coeff=poly,
        err_bias=0.0,
        err_rand=0.0,
    )


LINE = [GroundControlPoint(n, 2 * n, 320000 + 2 * n, 2770000 - n) for n in range(8)]

REFUSED = {
    "too few GCPs": (Odd(patches(), {"transform": None, "gcps": GCPS[:2]}), r"2 ground control point\(s\)"),
    "GCPs on a line": (Odd(patches(), {"transform": None, "gcps": LINE}), "do not determine its place"),
    "RPCs only": (Odd(patches(), {"transform": None, "crs": None, "rpcs": rpcs()}), "RPCs only"),
    "no CRS": (Odd(patches(), {"crs": None}), "--assume-crs EPSG:N"),
    "no geotransform": (Odd(patches(), {"transform": None}), "no geotransform"),
    "too few bands": (Odd(patches(count=2)), r"expects 3 bands \(red, green, blue\)"),
    "uint16 without a stretch": (Odd(patches("uint16")), "--stretch LO,HI"),
    "complex": (Odd(patches("complex64")), "real numbers"),
    "palette": (Odd(patches(count=1), {"photometric": "palette"}), "gdal_translate -expand rgb"),
    "coarse": (Odd(patches(), {"transform": Affine(10, 0, 320000, 0, -10, 2770000)}), "--resolution native"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_words(kind: str, write_raster: WriteRaster, rgb: Imagery) -> None:
    odd, words = REFUSED[kind]
    path = write_raster(odd.image_chw, **odd.written)
    if kind == "palette":
        with rasterio.open(path, "r+") as dataset:
            dataset.write_colormap(1, {1: (255, 0, 0, 255)})
    with pytest.raises(SceneError, match=words) as refused:
        describe_scene(str(path), rgb, odd.options)
    assert str(path) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


# Damage


@pytest.mark.slow
def test_a_file_cut_short_loses_only_the_blocks_it_lacks(
    write_raster: WriteRaster,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A COG keeps its header and overviews in front: cut near its end, it opens, and its south is gone."""
    noise_chw = np.random.default_rng(1).integers(0, 256, (3, 180, 110)).repeat(6, axis=1).repeat(5, axis=2)
    plain = write_raster(noise_chw.astype(np.uint8), tiled=True)
    scene = tmp_path / "scene.tif"
    copy(plain, scene, driver="COG", compress="deflate", blocksize=128)
    content = scene.read_bytes()
    scene.write_bytes(content[: len(content) * 95 // 100])
    run = tmp_path / "run"
    arguments = [
        "geoseg",
        "map",
        scene,
        "-o",
        run,
        "--model",
        tiny_model,
        "--local",
        "--block-size",
        512,
        "--min-hole",
        0,
    ]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    said = capsys.readouterr().err
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "incomplete"
    failed = {entry["block"] for entry in record["blocks"]["quarantined"]}
    assert failed
    assert len(failed) < record["blocks"]["total"]
    for entry in record["blocks"]["quarantined"]:
        assert f"failed   block {entry['block']}" in said
        assert "cut short or damaged" in entry["error"]
    with rasterio.open(run / "classes.tif") as cog:
        classes_hw = cog.read(1)
    assert (classes_hw[:512] != NODATA_CLASS).all()
    assert (classes_hw[-50:] == NODATA_CLASS).all()
    assert (run / "preview.png").exists()
