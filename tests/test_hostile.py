"""What strangers hand in: refused in words, no file touched that was not asked for, no memory spent."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine

from geoseg import cli

WriteRaster = Callable[..., Path]

KINDS = {
    "a VRT named .tif": "an XML document",
    "an MRF named .tif": "an XML document",
    "an inline VRT": "expected the path of a raster file on this machine",
    "/vsimem": "expected a path on this machine, or an address with https://",
    "/vsicurl": "expected a path on this machine, or an address with https://",
    "/vsizip": "expected a path on this machine, or an address with https://",
    "a URL": "expected https, got",
    "a driver's prefix": "no such file",
    "a terabyte": "declares 650000 x 650000 px of 3 band(s), 1.27 TB",
    "a giant block": "in blocks of 20000 x 20000 px, 400 MB each",
    "overviews elsewhere": "names another file for its overviews",
    "a VRT as its mask": "is not a raster to trust",
    "a VRT as its overviews": "is not a raster to trust",
    "an overview's overviews elsewhere": "names another file for its overviews",
}


def vrt(source: Path, size: int = 64) -> str:
    return (
        f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}">'
        '<Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>'
        + "".join(
            f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename>{source}</SourceFilename>'
            f"<SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
            for band in (1, 2, 3)
        )
        + "</VRTDataset>"
    )


def sparse(path: Path, height: int, width: int, count: int, block: int) -> None:
    """A TIFF that declares many pixels and holds none."""
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "crs": "EPSG:32640",
        "transform": Affine(1, 0, 320000, 0, -1, 2770000),
        "sparse_ok": True,
        "bigtiff": "yes",
        "tiled": True,
        "blockxsize": block,
        "blockysize": block,
    }
    with rasterio.open(path, "w", height=height, width=width, count=count, **profile):
        pass


def hostile(kind: str, folder: Path, write_raster: WriteRaster) -> tuple[str, Path]:
    """A scene as the user would name it, and a file that it must not touch."""
    pixels_chw = np.full((3, 64, 64), 200, np.uint8)
    secret = write_raster(pixels_chw, "secret.tif")
    scene, forbidden = folder / "scene.tif", folder / "written-by-mrf"
    match kind:
        case "a VRT named .tif":
            scene.write_text(vrt(secret))
        case "an MRF named .tif":
            scene.write_text(
                f"<MRF_META><CachedSource><Source>{secret}</Source></CachedSource><Raster>"
                '<Size x="64" y="64" c="3"/><PageSize x="64" y="64" c="3"/>'
                f"<DataFile>{forbidden}</DataFile><IndexFile>{forbidden}</IndexFile></Raster></MRF_META>"
            )
        case "an inline VRT":
            return vrt(secret), forbidden
        case "/vsimem" | "/vsicurl" | "/vsizip":
            return f"{kind}/{secret}", forbidden
        case "a URL":
            return "http://example.org/scene.tif", forbidden
        case "a driver's prefix":
            return f"GTIFF_DIR:1:{secret}", forbidden
        case _:
            hostile_tiff(kind, scene, secret, write_raster)
    return str(scene), forbidden


def hostile_tiff(kind: str, scene: Path, secret: Path, write_raster: WriteRaster) -> None:
    """Write a TIFF that is one, and more than that."""
    pixels_chw = np.full((3, 64, 64), 200, np.uint8)
    match kind:
        case "a terabyte":
            sparse(scene, 650_000, 650_000, 3, 512)
        case "a giant block":
            sparse(scene, 20_000, 20_000, 1, 20_000)
        case "overviews elsewhere":
            shutil.copy(write_raster(pixels_chw), scene)
            with rasterio.open(scene, "r+") as dataset:
                dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(secret))
        case "a VRT as its mask" | "a VRT as its overviews":
            shutil.copy(write_raster(pixels_chw), scene)
            scene.with_name("scene.tif.msk" if "mask" in kind else "scene.tif.OVR").write_text(vrt(secret))
        case "an overview's overviews elsewhere":
            shutil.copy(write_raster(pixels_chw), scene)
            overview = write_raster(pixels_chw[:, ::2, ::2])
            with rasterio.open(overview, "r+") as dataset:
                dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(secret))
            shutil.copy(overview, scene.with_name("scene.tif.ovr"))
        case _:
            raise AssertionError(kind)


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the command says before it leaves with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["geoseg", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("error: ")
    return said[0]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_scenes_are_refused_in_one_line_before_any_work(
    kind: str,
    tmp_path: Path,
    write_raster: WriteRaster,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scene, forbidden = hostile(kind, tmp_path, write_raster)
    before = {path.name for path in tmp_path.iterdir()}
    said = refused(monkeypatch, capsys, "map", scene, "-o", tmp_path / "run", "--model", tiny_model, "--local")
    assert KINDS[kind] in said
    assert not forbidden.exists()
    assert {path.name for path in tmp_path.iterdir()} == before


OPENED_FIRST = """
import os, sys, warnings
import rasterio
from rasterio.vrt import WarpedVRT
warnings.simplefilter("ignore")
secret, out, *scenes = sys.argv[1:]
with rasterio.open(secret) as file, WarpedVRT(file):
    pass  # brings the VRT driver back for the whole process, whatever was skipped


def drivers():
    with rasterio.Env() as env:
        return sorted(env.drivers())


environment, loaded = dict(os.environ), drivers()
import geoseg, geoseg.pipeline, geoseg.io.scene, geoseg.config, geoseg.train.scenes
from geoseg.errors import SceneError
from geoseg.imagery import Imagery
assert dict(os.environ) == environment
assert drivers() == loaded
with rasterio.open(scenes[0]) as file:
    assert file.driver == "VRT", "the caller's GDAL does what it did"
rgb = Imagery(("red", "green", "blue"), "uint8", (0, 255), (0.0,) * 3, (1.0,) * 3, 1.0)
for scene in scenes:
    try:
        geoseg.io.scene.describe_scene(scene, rgb)
    except SceneError as error:
        print("refused", str(error)[:200])
"""


def test_named_drivers_guard_a_process_that_loaded_gdal_before_us(
    tmp_path: Path, write_raster: WriteRaster
) -> None:
    kinds = [kind for kind in KINDS if kind not in {"a terabyte", "a giant block", "/vsicurl", "a URL"}]
    scenes, forbidden = [], []
    for kind in kinds:
        (tmp_path / kind.replace("/", "")).mkdir()
        scene, untouched = hostile(kind, tmp_path / kind.replace("/", ""), write_raster)
        scenes.append(scene)
        forbidden.append(untouched)
    secret = write_raster(np.zeros((3, 64, 64), np.uint8))
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("GDAL", "OGR", "CPL"))}
    done = subprocess.run(
        [sys.executable, "-c", OPENED_FIRST, secret, tmp_path, *scenes],
        env=inherited,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(kinds), lines
    assert all(line.startswith("refused") for line in lines)
    assert not any(path.exists() for path in forbidden)


MEASURED = """
import resource, sys
from geoseg.errors import SceneError
from geoseg.io.drivers import open_raster
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        open_raster(path)
    except SceneError:
        print("refused")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_headers_of_a_terabyte_cost_no_memory(tmp_path: Path) -> None:
    sparse(tmp_path / "tiles.tif", 650_000, 650_000, 3, 512)
    sparse(tmp_path / "blocks.tif", 300_000, 300_000, 3, 16_384)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, tmp_path / "tiles.tif", tmp_path / "blocks.tif"],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    *refusals, grown_kib = done.stdout.split()
    assert refusals == ["refused", "refused"]
    assert int(grown_kib) < 100 * 1024


@pytest.mark.parametrize("key", ["name", "layer"])
@pytest.mark.parametrize("value", ["../../x", "/etc/x", "a/b", "..", "x\0", "con.txt", ""])
def test_names_in_a_card_never_become_paths(
    key: str,
    value: str,
    tmp_path: Path,
    write_raster: WriteRaster,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tmp_path / "deep" / "er" / "model"
    shutil.copytree(tiny_model, model)
    card = json.loads((model / "card.json").read_text())
    card["classes"][0][key] = value
    (model / "card.json").write_text(json.dumps(card))
    scene = write_raster(np.full((3, 40, 50), 100, np.uint8))
    before = set(tmp_path.rglob("*"))
    said = refused(monkeypatch, capsys, "map", scene, "-o", tmp_path / "run", "--model", model, "--local")
    assert "card.json" in said
    assert "lower-case letters" in said
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_a_vrt_is_mapped_with_trust_alone_and_in_workers_too(
    tmp_path: Path, write_raster: WriteRaster, tiny_model: Path
) -> None:
    """In processes of their own: GDAL knows the driver, or does not, from when it is first used."""
    source = write_raster(np.random.default_rng(0).integers(1, 255, (3, 60, 70), dtype=np.uint8))
    scene = tmp_path / "scene.vrt"
    rasterio.shutil.copy(source, scene, driver="VRT")

    def said(name: str, *options: str) -> tuple[int, str]:
        arguments = ["map", str(scene), "-o", str(tmp_path / name), "--model", str(tiny_model), *options]
        done = subprocess.run(
            [sys.executable, "-m", "geoseg.cli", *arguments], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    code, words = said("distrusted", "--local")
    assert code == 2
    assert "--trust-vrt" in words
    for name, options in {"loop": ["--local"], "ray": ["--workers", "1"]}.items():
        code, words = said(name, "--trust-vrt", *options)
        assert code == 0, words
    classes = [(tmp_path / name / "classes.tif").read_bytes() for name in ("loop", "ray")]
    assert classes[0] == classes[1]
    elsewhere = scene.read_text().replace(str(source), "/vsicurl/http://127.0.0.1:1/a.tif")
    scene.write_text(elsewhere.replace(source.name, "/vsicurl/http://127.0.0.1:1/a.tif"))
    code, words = said("remote", "--trust-vrt", "--local")
    assert code == 2, words
