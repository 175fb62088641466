"""Regions from STAC documents and web servers: the bytes of a local run, faults ridden out, or the blocks named."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from loopback import Fault, Web, first
from numpy.typing import NDArray
from pyogrio import read_dataframe

import geoseg
from geoseg.errors import SceneError
from geoseg.run import Run

WriteRaster = Callable[..., Path]

WEST, NORTH = 320000, 2770000


@pytest.fixture(scope="module")
def scenes(write_raster: WriteRaster) -> list[Path]:
    """Two scenes that overlap, in blocks of their own: a reader of one part fetches that part."""
    rng = np.random.default_rng(8)
    paths = []
    for number in range(2):
        small = rng.integers(1, 256, (3, 7, 9))
        image_chw = small.repeat(40, axis=1).repeat(40, axis=2)[:, :260, :330].astype(np.uint8)
        transform = Affine(1, 0, WEST + 250 * number, 0, -1, NORTH)
        options = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}
        paths.append(write_raster(image_chw, f"part{number}.tif", transform=transform, **options))
    return paths


def item(name: str, hrefs: dict[str, str], date: str) -> dict[str, object]:
    media = "image/tiff; application=geotiff; profile=cloud-optimized"
    names = ("red", "green", "blue")
    assets = {
        key: {
            "href": href,
            "type": media,
            "roles": ["data"],
            "eo:bands": [{"common_name": band} for band in (names if key == "image" else (key,))],
        }
        for key, href in hrefs.items()
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"],
        "id": name,
        "geometry": None,
        "properties": {"datetime": date},
        "links": [],
        "assets": assets,
    }


def collection(links: list[str]) -> dict[str, object]:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": "all",
        "description": "all of it",
        "license": "CC0-1.0",
        "extent": {"spatial": {"bbox": [[50, 20, 60, 30]]}, "temporal": {"interval": [[None, None]]}},
        "links": [{"rel": "item", "href": href, "type": "application/geo+json"} for href in links],
    }


def serve(web: Web, scenes: list[Path]) -> str:
    """A collection with an item for each scene; returns its address."""
    for number, path in enumerate(scenes):
        web.put(f"/data/{path.name}", path.read_bytes())
        content = item(f"tile-{number}", {"image": f"../data/{path.name}"}, f"202{number}-01-02T03:04:05Z")
        web.put(f"/stac/{number}.json", json.dumps(content).encode())
    return web.put(
        "/stac/collection.json", json.dumps(collection([f"./{n}.json" for n in range(len(scenes))])).encode()
    )


def mapped(scenes: object, output: Path, model: Path, **options: object) -> Run:
    defaults = {"model": model, "local": True, "min_area": 0, "simplify": 0, "block_size": 512}
    return geoseg.map_scenes(scenes, output, **{**defaults, **options})  # type: ignore[arg-type]


def classes_of(run: Run) -> NDArray[np.uint8]:
    return np.asarray(run.array("classes")[...])


def test_a_collection_on_a_web_server_maps_like_the_files(
    web: Web, scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    run = mapped(serve(web, scenes), tmp_path / "web", tiny_model)
    local = mapped(scenes, tmp_path / "local", tiny_model)
    assert run.grid == local.grid
    assert np.array_equal(classes_of(run), classes_of(local))
    assert (classes_of(run) != 255).sum() > 100_000
    frame = read_dataframe(run.geopackage, layer="buildings")
    assert set(frame["scene"]) == {"tile-0", "tile-1"}
    assert set(frame["date"]) == {"2020-01-02T03:04:05Z", "2021-01-02T03:04:05Z"}


def test_a_collection_on_disk_leads_to_files_beside_it(
    scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    for number, path in enumerate(scenes):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        content = item(f"tile-{number}", {"image": f"./{path.name}"}, f"202{number}-01-02T03:04:05Z")
        (tmp_path / f"{number}.json").write_text(json.dumps(content))
    (tmp_path / "all.json").write_text(json.dumps(collection(["./0.json", "./1.json"])))
    run = mapped(tmp_path / "all.json", tmp_path / "run", tiny_model, merge="latest")
    assert [Path(entry.path).name for entry in run.record.inputs] == ["part1.tif", "part0.tif"]
    assert any("latest by date" in note for note in run.warnings)


@pytest.mark.slow
def test_bands_in_assets_of_their_own(
    web: Web, write_raster: WriteRaster, tiny_model: Path, tmp_path: Path
) -> None:
    image_chw = np.random.default_rng(3).integers(1, 256, (3, 80, 90)).astype(np.uint8)
    hrefs = {}
    for name, band_hw in zip(("red", "green", "blue"), image_chw, strict=True):
        path = write_raster(band_hw[None], f"{name}.tif")
        hrefs[name] = web.put(f"/{name}.tif", path.read_bytes())
    address = web.put("/item.json", json.dumps(item("one", hrefs, "2020-01-01T00:00:00Z")).encode())
    run = mapped(address, tmp_path / "web", tiny_model)
    whole = mapped(write_raster(image_chw, "whole.tif"), tmp_path / "whole", tiny_model)
    assert np.array_equal(classes_of(run), classes_of(whole))
    by_hand = {}
    for name, band_hw in zip(hrefs, image_chw, strict=True):
        by_hand[name] = write_raster(band_hw[None], f"{name}.tif")
    assert np.array_equal(classes_of(mapped(by_hand, tmp_path / "hand", tiny_model)), classes_of(whole))


def test_a_bad_item_is_named_and_left_out_when_told(
    web: Web, scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    serve(web, scenes)
    for name, content in (
        ("spy", item("spy", {"image": "file:///etc/passwd"}, "2020-01-01T00:00:00Z")),
        ("blind", item("blind", {"nir": "../a.tif", "swir": "../b.tif"}, "2020-01-01T00:00:00Z")),
    ):
        web.put(f"/stac/{name}.json", json.dumps(content).encode())
    links = ["./0.json", "./spy.json", "./blind.json"]
    address = web.put("/stac/collection.json", json.dumps(collection(links)).encode())
    with pytest.raises(SceneError, match=r"2 of 3 scenes cannot be mapped: spy: .*passwd.*blind: .*--skip-bad"):
        mapped(address, tmp_path / "run", tiny_model)
    run = mapped(address, tmp_path / "run", tiny_model, skip_bad=True)
    assert [Path(entry.path).name for entry in run.record.inputs] == ["part0.tif"]
    assert [scene.name for scene in run.scenes_left_out] == ["spy", "blind"]
    assert all(scene.reason for scene in run.scenes_left_out)


def test_signatures_of_scenes_that_are_left_out_are_not_told(
    web: Web, scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    """Of one that is not there, of a copy, and of an item whose asset is no raster."""
    content = scenes[0].read_bytes()
    signed = [f"{web.put(f'/{name}.tif', content)}?sig=SECRET{name}" for name in ("one", "two")]
    web.put("/text.tif", b"not a raster")
    href = f"{web.origin}/text.tif?sig=SECRET"
    web.put("/item.json", json.dumps(item("text", {"image": href}, "2020-01-01T00:00:00Z")).encode())
    missing = f"{web.origin}/missing.tif?sig=SECRET"
    given = [*signed, missing, f"{web.origin}/item.json?sig=SECRET"]
    run = mapped(given, tmp_path / "run", tiny_model, skip_bad=True)
    left_out = [scene.uri.removeprefix(web.origin) for scene in run.scenes_left_out]
    assert left_out == ["/two.tif", "/missing.tif", "/text.tif"]
    assert "SECRET" not in (run.path / "run.json").read_text()
    assert "SECRET" not in (run.path / "plan.json").read_text()


@pytest.mark.parametrize("fault", [Fault(status=503), pytest.param(Fault(reset=True), marks=pytest.mark.slow)])
def test_faults_that_pass_are_ridden_out(
    web: Web, scenes: list[Path], tiny_model: Path, tmp_path: Path, fault: Fault
) -> None:
    address = serve(web, scenes)
    web.misbehave = first(2, fault)
    run = mapped(address, tmp_path / "web", tiny_model)
    assert run.status == "complete"


@pytest.mark.slow
def test_a_scene_that_is_never_served_is_named_before_any_work(
    web: Web, scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    address = serve(web, scenes)
    web.misbehave = lambda request, _before: Fault(status=503) if "part1" in request.path else None
    with pytest.raises(SceneError, match=r"1 of 2 scenes cannot be mapped: tile-1: .*503"):
        mapped(address, tmp_path / "run", tiny_model)
    run = mapped(address, tmp_path / "run", tiny_model, skip_bad=True)
    assert run.status == "complete"
    assert any(note.startswith("left out: tile-1: ") for note in run.warnings)


def test_blocks_whose_pixels_are_never_served_are_named(
    web: Web, scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    """The header and what the plan looks at are there; later the server serves nothing of one scene any more."""
    address = serve(web, scenes)
    begun = tmp_path / "run" / "mosaic.zarr"
    web.misbehave = lambda request, _: Fault(status=503) if "part1" in request.path and begun.exists() else None
    run = mapped(address, tmp_path / "run", tiny_model)
    assert run.status == "incomplete"
    assert all("part1.tif" in block.error for block in run.failed_blocks)
