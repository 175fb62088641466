import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geoseg.errors import SceneError
from geoseg.io.drivers import open_raster
from geoseg.io.formats import RASTER_DRIVERS
from geoseg.io.gdal_environment import GDAL_CACHE_MIB, gdal_environment

WriteRaster = Callable[..., Path]

VRT = """<VRTDataset rasterXSize="4" rasterYSize="4">
<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{source}</SourceFilename>
<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""

PIXELS = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)


@pytest.mark.parametrize(("driver", "suffix"), [("GTiff", "tif"), ("PNG", "png"), ("JPEG", "jpg")])
def test_allowed_formats_open(write_raster: WriteRaster, driver: str, suffix: str) -> None:
    path = write_raster(PIXELS, f"scene.{suffix}", driver=driver, crs=None, transform=None)
    with open_raster(str(path)) as dataset:
        assert dataset.driver == driver
        assert dataset.shape == (4, 4)


def test_a_raster_without_a_place_opens_in_silence(write_raster: WriteRaster) -> None:
    path = write_raster(PIXELS, crs=None, transform=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_raster(str(path)) as dataset:
            assert dataset.crs is None


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", ["scene.vrt", "scene.tif", "scene.png"])
def test_a_vrt_is_not_opened_under_any_name(write_raster: WriteRaster, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(VRT.format(source=write_raster(PIXELS)))
    with rasterio.open(path) as dataset:
        assert dataset.driver == "VRT", "without care it would be read"
    with pytest.raises(SceneError, match="got an XML document"):
        open_raster(str(path))


def test_a_vrt_is_trusted_when_asked_and_its_sources_are_not(write_raster: WriteRaster, tmp_path: Path) -> None:
    honest = write_raster(PIXELS)
    good, renamed, nested, foreign = (tmp_path / name for name in ("a.vrt", "a.tif", "b.vrt", "c.vrt"))
    good.write_text(VRT.format(source=honest))
    renamed.write_text(VRT.format(source=honest))
    nested.write_text(VRT.format(source=good))
    foreign.write_text(VRT.format(source=write_raster(PIXELS[:1], "scene.tif", driver="ENVI")))
    with warnings.catch_warnings(action="ignore"), open_raster(str(good), trust_vrt=True) as dataset:
        assert (dataset.read(1) == PIXELS[0]).all()
    for path, words in (
        (good, "XML document"),
        (renamed, "XML document"),
        (nested, "a.vrt cannot be opened"),
        (foreign, "cannot be opened"),
    ):
        with pytest.raises(SceneError, match=words):
            open_raster(str(path), trust_vrt=path != good)
    for source in ("/vsicurl/http://127.0.0.1:1/a.tif", "/etc/passwd", str(tmp_path / "missing.tif")):
        good.write_text(VRT.format(source=source))
        with pytest.raises(SceneError):
            open_raster(str(good), trust_vrt=True)


def test_the_vrt_driver_is_there_for_who_trusts(write_raster: WriteRaster) -> None:
    assert "VRT" in gdal_environment()["GDAL_SKIP"].split(",")
    trusting = gdal_environment(trust_vrt=True)["GDAL_SKIP"].split(",")
    assert set(gdal_environment()["GDAL_SKIP"].split(",")) - set(trusting) == {"VRT"}


def test_a_format_outside_the_list_is_not_opened(write_raster: WriteRaster) -> None:
    path = write_raster(PIXELS[:1], "scene.tif", driver="ENVI")
    with pytest.raises(SceneError, match="cannot be opened as a raster: expected one of GTiff"):
        open_raster(str(path))


def test_what_is_no_raster_is_named(tmp_path: Path, write_raster: WriteRaster) -> None:
    tiff = write_raster(np.zeros((3, 64, 64), np.uint8)).read_bytes()
    contents = {
        "": "is empty",
        "just text\n": "got a text file",
        "<html><body>404</body></html>": "got an XML document",
    }
    for number, (text, message) in enumerate(contents.items()):
        path = tmp_path / f"{number}.tif"
        path.write_text(text)
        with pytest.raises(SceneError, match=message):
            open_raster(str(path))
    for head, message in ((tiff[:10], "cut short or damaged"), (b"\0\1\2\3", "first bytes 00 01 02 03")):
        path = tmp_path / "bytes.tif"
        path.write_bytes(head)
        with pytest.raises(SceneError, match=message):
            open_raster(str(path))


@pytest.mark.parametrize(
    "path",
    [
        "/vsicurl/http://example.org/a.tif",
        "/vsizip/a.zip/a.tif",
        "http://example.org/a.tif",
        "ftp://example.org/a.tif",
        "file:///etc/passwd",
        "<VRTDataset/>",
        " <VRTDataset/>",
    ],
)
def test_only_files_and_addresses_that_are_read_are_opened(path: str) -> None:
    with pytest.raises(SceneError, match=r"expected (https|(the|a) path .*on this machine)"):
        open_raster(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(write_raster: WriteRaster) -> None:
    path = write_raster(PIXELS)
    path.chmod(0)
    with pytest.raises(SceneError, match=r"cannot be read .Permission denied"):
        open_raster(str(path))


def test_missing_files_folders_and_options_are_refused(tmp_path: Path, write_raster: WriteRaster) -> None:
    with pytest.raises(SceneError, match=r"no such file: .*nothing.tif"):
        open_raster(str(tmp_path / "nothing.tif"))
    with pytest.raises(SceneError, match="got a folder"):
        open_raster(str(tmp_path))
    with pytest.raises(SceneError, match="no such file"):
        open_raster(f"GTIFF_DIR:1:{write_raster(PIXELS)}")
    with pytest.raises(SceneError, match=r"cannot be read .File name too long"):
        open_raster(str(tmp_path / ("a" * 5000)))
    with pytest.raises(SceneError, match="no such file"):
        open_raster("a\0b.tif")


def in_clean_process(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run code where GDAL is loaded with our environment, as in a worker."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("GDAL", "OGR", "CPL"))}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**inherited, **gdal_environment()},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_gdal_knows_only_what_we_use(write_raster: WriteRaster, tmp_path: Path) -> None:
    """In one process, because loading GDAL is slow: no VRT by any name, and all formats that we write."""
    vrt = tmp_path / "renamed.tif"
    vrt.write_text(VRT.format(source=write_raster(PIXELS)))
    done = in_clean_process(
        """
import sys
from pathlib import Path
import warnings
import numpy as np, pyogrio, rasterio, shapely
from rasterio.drivers import raster_driver_extensions
from rasterio.errors import RasterioIOError
from rasterio.shutil import copy

warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
vrt, folder = sys.argv[1], Path(sys.argv[2])
try:
    rasterio.open(vrt)
except RasterioIOError:
    print("refused vrt")
try:
    pyogrio.read_info(vrt)
except pyogrio.errors.DataSourceError:
    print("refused vector vrt")

pixels = np.arange(300, dtype=np.uint8).reshape(3, 10, 10)
size = {"width": 10, "height": 10}
place = {"crs": "EPSG:32640", "transform": rasterio.Affine(1, 0, 320000, 0, -1, 2770000)}
for driver in ("GTiff", "PNG"):
    extra = place if driver == "GTiff" else {}
    with rasterio.open(folder / driver, "w", driver=driver, count=3, dtype="uint8", **size, **extra) as f:
        f.write(pixels)
copy(folder / "GTiff", folder / "COG", driver="COG")
for driver in ("GTiff", "PNG", "COG"):
    with rasterio.open(folder / driver) as dataset:
        assert (dataset.read() == pixels).all()
    print("wrote", driver)

geometry = np.array([shapely.to_wkb(shapely.box(0, 0, 1, 1))], dtype=object)
for driver, suffix in (("GeoJSON", "geojson"), ("GPKG", "gpkg")):
    file = folder / f"layer.{suffix}"
    options = {"geometry_type": "Polygon", "crs": "EPSG:4326", "driver": driver}
    pyogrio.raw.write(file, geometry, [np.array([1])], ["id"], **options)
    assert pyogrio.read_info(file)["features"] == 1
    print("wrote", driver)

with rasterio.Env() as env:
    print(*sorted(env.drivers()), sep=",")
""",
        vrt,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    *lines, drivers = done.stdout.splitlines()
    assert lines == [
        "refused vrt",
        "refused vector vrt",
        *(f"wrote {driver}" for driver in ("GTiff", "PNG", "COG", "GeoJSON", "GPKG")),
    ]
    assert done.stderr == ""
    assert {*RASTER_DRIVERS, "COG", "GPKG", "GeoJSON"} <= set(drivers.split(","))
    dangerous = {
        "VRT",
        "MRF",
        "WMS",
        "HTTP",
        "DERIVED",
        "GDALG",
        "Zarr",
        "netCDF",
        "HDF5",
        "STACIT",
        "GTI",
        "OGR_VRT",
    }
    assert not dangerous & set(drivers.split(","))


def test_the_cache_is_bounded() -> None:
    done = in_clean_process(
        "from rasterio.env import Env, get_gdal_config\nwith Env():\n    print(get_gdal_config('GDAL_CACHEMAX'))"
    )
    assert int(done.stdout) == GDAL_CACHE_MIB * 2**20


BAND = """<VRTRasterBand dataType="Byte" band="1"{kind}>{inner}<SimpleSource>
<SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"""


@pytest.mark.parametrize(
    ("kind", "inner", "after", "words"),
    [
        ("", "", "<MaskBand>{band}</MaskBand>", "MaskBand"),
        ("", "<Overview><SourceFilename>/etc/passwd</SourceFilename></Overview>", "", "Overview"),
        (
            ' subClass="VRTDerivedRasterBand"',
            "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>",
            "",
            "VRTDerivedRasterBand",
        ),
        (' subClass="VRTRawRasterBand"', "", "", "VRTRawRasterBand"),
    ],
)
def test_a_trusted_vrt_has_no_masks_overviews_or_code(
    write_raster: WriteRaster, tmp_path: Path, kind: str, inner: str, after: str, words: str
) -> None:
    source = write_raster(PIXELS)
    band = BAND.format(kind=kind, inner=inner, source=source)
    mask = after.format(band=BAND.format(kind="", inner="", source="/vsicurl/http://127.0.0.1:9/a.tif"))
    path = tmp_path / "a.vrt"
    path.write_text(f'<VRTDataset rasterXSize="4" rasterYSize="4">{band}{mask}</VRTDataset>')
    with pytest.raises(SceneError, match=words):
        open_raster(str(path), trust_vrt=True)


def test_sources_that_gdal_does_not_list_pass_the_same_door(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = tmp_path / "a.vrt"
    for source in ("/vsicurl/http://127.0.0.1:9/a.tif", "http://127.0.0.1:9/a.tif", "/etc/passwd", "<VRTDataset/>"):
        path.write_text(VRT.format(source=source.replace("<", "&lt;").replace(">", "&gt;")))
        with pytest.raises(SceneError):
            open_raster(str(path), trust_vrt=True)
    for encoding in ("utf-8", "utf-16"):
        path.write_text('<!DOCTYPE a [<!ENTITY b "c">]>' + VRT.format(source="&b;"), encoding)
        with pytest.raises(SceneError, match="DOCTYPE"):
            open_raster(str(path), trust_vrt=True)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_colon_in_a_name_names_no_subdataset(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(write_raster(PIXELS), tmp_path / "scene.tif")
    (tmp_path / "GTIFF_DIR:1:scene.tif").write_bytes(b"no raster at all")
    with pytest.raises(SceneError, match="cannot be opened"):
        open_raster("GTIFF_DIR:1:scene.tif")
