"""Rasters on a server: the same pixels as on disk, whatever goes wrong on the way, or an error in bounded time."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from loopback import Fault, Web, first, server_elsewhere

from geoseg.errors import InputChangedError, SceneError
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.answers import RemoteError
from geoseg.io.drivers import open_raster
from geoseg.io.identity import identify
from geoseg.io.raster import SceneReader
from geoseg.io.scene import describe_scene
from geoseg.io.stamp import Stamp, refuse_changes

WriteRaster = Callable[..., Path]

PIXELS = np.random.default_rng(5).integers(0, 256, (3, 512, 512), np.uint8)
ROWS, COLS = np.mgrid[:512, :512]
SECRET = "sig=SECRET&X-Amz-Signature=SECRET"  # noqa: S105  # none

BUSY, GONE, CUT = Fault(status=503), Fault(status=404), Fault(reset=True)


@pytest.fixture(scope="module")
def file(write_raster: WriteRaster) -> Path:
    return write_raster(PIXELS, tiled=True, blockxsize=128, blockysize=128, mask_hw=ROWS + COLS > 200)


@pytest.fixture
def address(web: Web, file: Path) -> str:
    return web.put("/scenes/a.tif", file.read_bytes())


def test_a_remote_scene_is_read_as_a_local_one(web: Web, file: Path, address: str, rgb: Imagery) -> None:
    local, remote = describe_scene(str(file), rgb), describe_scene(address, rgb)
    assert remote.path == address
    assert remote.to_json() | {"path": "", "fingerprint": ""} == local.to_json() | {"path": "", "fingerprint": ""}
    window = Window(100, 50, 300, 400)
    for ours, theirs in zip(SceneReader(remote).read(window), SceneReader(local).read(window), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert {request.path for request in web.requests} == {"/scenes/a.tif"}, "nothing beside it is looked for"
    assert all(request.part is not None or web.asked(request.path) for request in web.requests)


@pytest.mark.parametrize("driver", ["JPEG", "PNG", "JP2OpenJPEG"])
def test_other_formats_are_read_as_local_ones(web: Web, write_raster: WriteRaster, driver: str) -> None:
    """GDAL opens some of them more than once."""
    file = write_raster(PIXELS, driver=driver)
    with open_raster(web.put("/scenes/b", file.read_bytes())) as remote, open_raster(str(file)) as local:
        np.testing.assert_array_equal(remote.read(), local.read())
        np.testing.assert_array_equal(remote.dataset_mask(), local.dataset_mask())


@pytest.mark.parametrize("fault", [BUSY, Fault(status=429), CUT])
def test_what_passes_is_waited_for(web: Web, file: Path, address: str, rgb: Imagery, fault: Fault) -> None:
    web.misbehave = first(2, fault)
    with open_raster(address) as remote, open_raster(str(file)) as local:
        asked = web.asked("/scenes/a.tif")
        web.misbehave = lambda _request, before: fault if before < asked + 2 else None
        np.testing.assert_array_equal(remote.read(), local.read())
        np.testing.assert_array_equal(remote.dataset_mask(), local.dataset_mask())


@pytest.mark.parametrize("fault", [BUSY, CUT, Fault(wait_s=3)])
def test_what_does_not_pass_is_an_error_in_bounded_time(web: Web, address: str, fault: Fault) -> None:
    start = time.monotonic()
    web.misbehave = first(1000, fault)
    with pytest.raises(SceneError, match=r"/scenes/a\.tif cannot be read: .*4 times"):
        open_raster(f"{address}?{SECRET}")
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("fault", [BUSY, CUT])
def test_after_a_failure_the_next_reading_succeeds(web: Web, file: Path, address: str, fault: Fault) -> None:
    with open_raster(f"{address}?{SECRET}") as remote, open_raster(str(file)) as local:
        web.misbehave = first(1000, fault)
        with pytest.raises(SceneError, match=r"/scenes/a\.tif cannot be read") as failed:
            remote.read()
        assert "SECRET" not in str(failed.value)
        web.misbehave = first(0, fault)
        np.testing.assert_array_equal(remote.read(), local.read())


def test_a_header_that_is_cut_short_is_never_believed(web: Web, address: str, file: Path) -> None:
    """GDAL takes the half of an answer for the whole file: a tag or a mask would be missing without a word."""
    with open_raster(str(file)) as local:
        for number in range(12):
            web.requests.clear()
            web.misbehave = lambda _request, before, number=number: CUT if before == number else None  # type: ignore[misc]
            try:
                with open_raster(address) as remote:
                    assert remote.mask_flag_enums == local.mask_flag_enums
                    assert remote.tags() == local.tags()
            except SceneError as error:
                assert "cannot be" in str(error)  # noqa: PT017  # both are right


def test_errors_say_what_the_server_said(web: Web, address: str) -> None:
    for status, words in ((404, "no such file"), (403, "expired"), (401, "login"), (500, "4 times")):
        web.misbehave = first(1000, Fault(status=status))
        web.requests.clear()
        with pytest.raises(RemoteError, match=f"{status} .*{words}") as refused:
            open_raster(f"{address}?{SECRET}")
        assert refused.value.status == status
        assert "SECRET" not in str(refused.value)


def test_what_is_no_raster_is_named(web: Web) -> None:
    for name, content, words in (
        ("/a.tif", b"", "is empty"),
        ("/b.tif", b"<html/>", "got an XML document"),
        ("/c.tif", b"just text", "got a text file"),
    ):
        with pytest.raises(SceneError, match=words):
            open_raster(web.put(name, content))


def test_a_server_without_parts_is_refused(web: Web, address: str) -> None:
    web.ranges = False
    with pytest.raises(SceneError, match="does not send parts"):
        open_raster(address)


def test_a_remote_vrt_or_overviews_elsewhere_are_refused(web: Web, write_raster: WriteRaster, file: Path) -> None:
    vrt = '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1"/></VRTDataset>'
    with pytest.raises(SceneError, match="XML document"):
        open_raster(web.put("/a.vrt", vrt.encode()), trust_vrt=True)


def test_redirects_lead_to_the_same_server_or_to_public_ones(web: Web, address: str, file: Path) -> None:
    def redirected(location: str) -> None:
        web.misbehave = lambda request, _: (
            Fault(302, (("Location", location),)) if request.path == "/r.tif" else None
        )

    redirected("/scenes/a.tif")
    with open_raster(web.origin + "/r.tif") as remote:
        np.testing.assert_array_equal(remote.read(), PIXELS)
    assert web.asked("/r.tif") == 1, "GDAL is told where it led"
    port = web.origin.rpartition(":")[2]
    for location in (
        "http://127.0.0.1:9/a.tif",
        f"http://localhost:{port}/scenes/a.tif",
        "http://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/a.tif",
        "https://10.0.0.1/a.tif",
        "https://[::ffff:192.168.0.1]/a.tif",
        "https://2130706433/a.tif",
        "//127.0.0.1:9/a.tif",
        "file:///etc/passwd",
        "ftp://example.org/a.tif",
        "https://user:word@example.org/a.tif",
        "/vsimem/a.tif\\@example.org",
    ):
        redirected(location)
        with pytest.raises(SceneError, match="must not lead"):
            open_raster(web.origin + "/r.tif")
    redirected("/r.tif")
    with pytest.raises(SceneError, match="redirects"):
        open_raster(web.origin + "/r.tif")


def test_secrets_of_the_environment_are_not_sent(web: Web, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_HEADERS", "Authorization: Bearer SECRET")
    monkeypatch.setenv("GDAL_HTTP_USERPWD", "user:SECRET")
    monkeypatch.setenv("GDAL_HTTP_COOKIE", "word=SECRET")
    web.misbehave = lambda _request, _before: Fault(headers=(("Set-Cookie", "a=b"),))
    with open_raster(address) as remote:
        remote.read()
    assert web.requests
    assert not any({"authorization", "cookie"} & set(request.headers) for request in web.requests)


def test_signatures_are_kept_out_of_what_is_said(web: Web, address: str, rgb: Imagery) -> None:
    signed = describe_scene(f"{address}?{SECRET}", rgb)
    assert signed.path == address
    assert "SECRET" not in json.dumps(signed.to_json()) + repr(signed) + signed.stamps[0].path
    assert signed.to_json() == describe_scene(address, rgb).to_json(), "a new signature is the same scene"
    web.requests.clear()
    SceneReader(signed).read(Window(0, 0, 8, 8))
    refuse_changes(signed.stamps)
    assert all("SECRET" in request.path for request in web.requests)


def test_a_file_that_changes_on_its_server_is_noticed(web: Web, address: str, write_raster: WriteRaster) -> None:
    other = write_raster(PIXELS[:, :256]).read_bytes()
    before = Stamp.of(address)
    asked = web.asked("/scenes/a.tif")
    refuse_changes([before] * 100)
    assert web.asked("/scenes/a.tif") == asked, "blocks do not ask one by one"
    web.put("/scenes/a.tif", other)
    identify(address, within_s=0)
    with pytest.raises(InputChangedError, match=r"scenes/a\.tif changed during the run"):
        refuse_changes([before])
    del web.files["/scenes/a.tif"]
    with pytest.raises(RemoteError, match="404"):
        identify(address, within_s=0)
    with pytest.raises(InputChangedError, match="removed"):
        refuse_changes([before])


def test_a_file_that_changes_is_not_read_on(web: Web, address: str, write_raster: WriteRaster) -> None:
    with open_raster(address) as remote:
        remote.read(window=((0, 8), (0, 8)))
        other = write_raster(PIXELS[:, ::-1], tiled=True, blockxsize=128, blockysize=128)
        web.put("/scenes/a.tif", other.read_bytes())
        for _ in range(2):
            with pytest.raises(SceneError, match="changed while it was read"):
                remote.read()


def test_without_etag_and_time_the_content_tells(web: Web, address: str, file: Path) -> None:
    web.etag = False
    before = identify(address, within_s=0)
    assert before == identify(address, within_s=0)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    web.put("/scenes/a.tif", bytes(content))
    assert identify(address, within_s=0).fingerprint != before.fingerprint


@pytest.fixture(scope="module")
def cloud(file: Path) -> Iterator[str]:
    with server_elsewhere({"/bucket/scenes/a.tif": file.read_bytes()}) as origin:
        yield origin


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_clouds_are_read_through_gdal(
    cloud: str, file: Path, rgb: Imagery, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    for name, value in {
        "AWS_S3_ENDPOINT": cloud.removeprefix("http://"),
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_NO_SIGN_REQUEST": "YES",
        "CPL_GS_ENDPOINT": f"{cloud}/",
        "GS_NO_SIGN_REQUEST": "YES",
        "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=a;AccountKey=YQ==;BlobEndpoint={cloud}",
    }.items():
        monkeypatch.setenv(name, value)
    local, remote = describe_scene(str(file), rgb), describe_scene(f"{scheme}://bucket/scenes/a.tif", rgb)
    assert remote.mask_rule == local.mask_rule == "dataset"
    window = Window(0, 0, 512, 512)
    for ours, theirs in zip(SceneReader(remote).read(window), SceneReader(local).read(window), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    refuse_changes(remote.stamps)
    with pytest.raises(SceneError, match=f"{scheme}://bucket/b.tif cannot be read"):
        open_raster(f"{scheme}://bucket/b.tif")
