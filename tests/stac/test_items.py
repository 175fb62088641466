"""stac/ of finished runs: before pystac and stac-model, and against the files that it names."""

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import shapely
import shapely.geometry
import torch
import zarr
from affine import Affine
from loopback import Web
from pyproj import CRS, Transformer
from stac_model.schema import MLModelExtension, MLModelProperties

import geoseg
from geoseg.errors import InputChangedError, SceneError
from geoseg.io.region import Region
from geoseg.io.run_folder import RunFolder
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.io.stac import is_stac, read_stac
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.layering import LayerOptions
from geoseg.layout import TileOptions, lay_blocks
from geoseg.models.architecture import Architecture, build
from geoseg.models.package import CardDraft, TileDefaults, load_card, load_package, save_package
from geoseg.outcome import MosaicState
from geoseg.plan import RunPlan
from geoseg.predict import Numerics
from geoseg.run import Run
from geoseg.stac.assets import assets_of
from geoseg.stac.model_item import model_item
from geoseg.stac.moments import ANY_TIME, moments
from geoseg.stac.run_item import run_item
from geoseg.stac.writing import write_stac
from geoseg.verify import mend_run, verify_run

WriteRaster = Callable[..., Path]
Validate = Callable[[dict[str, Any]], list[str]]

pytestmark = [
    pytest.mark.filterwarnings("ignore:the scene is in"),
    pytest.mark.filterwarnings("ignore:the scene's pixels are resampled"),
]

OWN_CRS = CRS.from_proj4("+proj=laea +lat_0=24.5 +lon_0=55.1 +ellps=GRS80 +units=m").to_wkt()

PLACES: dict[str, dict[str, Any]] = {
    "utm": {"crs": "EPSG:32640", "transform": Affine(1, 0, 320000, 0, -1, 2770000)},
    "antimeridian in degrees": {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 179.9988, 0, -1e-5, 60.0)},
    "antimeridian in metres": {"crs": "EPSG:32601", "transform": Affine(1, 0, 166000, 0, -1, 8000)},
    "own crs": {"crs": OWN_CRS, "transform": Affine(1, 0, 1000, 0, -1, 2000)},
    "no data": {"crs": "EPSG:32640", "transform": Affine(1, 0, 320000, 0, -1, 2770000)},
}


def mapped(scenes: Path | list[Path], model: Path, run: Path, **options: Any) -> Run[Path]:  # noqa: ANN401  # of map_scenes
    return geoseg.map_scenes(
        scenes, run, model=model, local=True, **{"min_area": 0, "simplify": 0, "resolution": "native", **options}
    )


def patches(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 256, (3, 25, 30)).repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)


@pytest.fixture(scope="module", params=PLACES)
def run(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    write_raster: WriteRaster,
    tiny_model: Path,
) -> Run[Path]:
    image_chw = patches(5)
    image_chw[:, :, :40] = 0
    if request.param == "no data":
        image_chw[:] = 0
    scene = write_raster(image_chw, nodata=0, **PLACES[request.param])
    return mapped(scene, tiny_model, tmp_path_factory.mktemp("stac") / "run", probability=request.param == "utm")


@pytest.fixture(scope="module")
def two_scenes(write_raster: WriteRaster) -> list[Path]:
    """One with a date, and one beside it that has another."""
    scenes = [
        write_raster(patches(1), "one.tif"),
        write_raster(patches(2), "two.tif", transform=Affine(1, 0, 320200, 0, -1, 2770050)),
    ]
    for scene, date in zip(scenes, ("2021:02:03 04:05:06", "2019:06:30 23:59:59"), strict=True):
        with rasterio.open(scene, "r+") as file:
            file.update_tags(TIFFTAG_DATETIME=date)
    return scenes


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, two_scenes: list[Path], tiny_model: Path) -> Run[Path]:
    return mapped(two_scenes, tiny_model, tmp_path_factory.mktemp("stac") / "run")


def item_of(run: Run[Path] | Path) -> dict[str, Any]:
    path = run if isinstance(run, Path) else run.path
    item: dict[str, Any] = json.loads((path / "stac" / "item.json").read_text())
    return item


def model_of(run: Run[Path] | Path) -> dict[str, Any]:
    path = run if isinstance(run, Path) else run.path
    item: dict[str, Any] = json.loads((path / "stac" / "model.json").read_text())
    return item


def valid_pixels(run: Run[Path]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.asarray(run.array("classes")[...]) != NODATA_CLASS


def test_the_item_is_valid(run: Run[Path], validate: Validate) -> None:
    item = item_of(run)
    assert len(validate(item)) == 1 + len(item["stac_extensions"])


def test_the_validator_sees_faults(run: Run[Path], validate: Validate) -> None:
    faults: list[Callable[[dict[str, Any]], object]] = [
        lambda item: item["properties"].pop("datetime"),
        lambda item: item["assets"]["classes"].update({"proj:shape": [1]}),
        lambda item: item["assets"]["classes"].update({"file:checksum": "XYZ"}),
        lambda item: item["assets"]["classes"]["classification:classes"][0].pop("name"),
        lambda item: item["assets"]["mosaic"]["bands"][1].update({"raster:scale": "small"}),
        lambda item: item["properties"].update({"processing:software": ["geoseg"]}),
    ]
    for fault in faults:
        item = item_of(run)
        fault(item)
        with pytest.raises(pystac.STACValidationError):
            validate(item)


def test_the_models_item_is_valid(run: Run[Path], validate: Validate) -> None:
    item = model_of(run)
    MLModelExtension.ext(pystac.Item.from_dict(item))  # refuses an Item of another version
    known = MLModelProperties.model_validate(item["properties"])
    assert known.name == "tiny"
    assert [len(one.value_scaling or ()) for one in known.input] == [3]
    assert [len(one.classes or ()) for one in known.output] == [3]
    written = json.loads(known.model_dump_json(by_alias=True))
    for key, value in written.items():
        if value not in (None, False) and key in item["properties"] and key not in {"mlm:input", "mlm:output"}:
            assert item["properties"][key] == value, key
    assert {key for key in item["properties"] if key.startswith("mlm:")} <= {
        *(f"mlm:{name}" for name in MLModelProperties.model_fields)
    }
    text = json.dumps(item).replace("/mlm/v1.6.0/", "/mlm/v1.4.0/")
    assert text != json.dumps(item)
    assert len(validate(json.loads(text))) == 1 + len(item["stac_extensions"])
    with pytest.raises(pystac.STACValidationError):
        validate(json.loads(text.replace('"float32"', '"float33"')))
    with pytest.raises(ValueError, match="equal length"):
        MLModelProperties.model_validate(
            json.loads(json.dumps(item["properties"]).replace('"batch", "bands"', '"bands"'))
        )


def test_it_names_what_lies_in_the_folder(run: Run[Path]) -> None:
    item = item_of(run)
    found = {}
    for key, asset in item["assets"].items():
        path = (run.path / "stac" / asset["href"]).resolve()
        assert path.is_relative_to(run.path.resolve()), key
        assert path.exists(), key
        if path.is_file():
            content = path.read_bytes()
            assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
            assert asset["file:size"] == len(content)
        found[path.relative_to(run.path.resolve()).as_posix()] = asset
    written = {output.path: output for output in run.record.outputs}
    assert {*written} - {*found} == {"map.qgs", "report.html", "stac/item.json", "stac/model.json"}
    assert {*found} <= {*written}
    for path_in_run, asset in found.items():
        assert asset.get("geoseg:features") == written[path_in_run].features
    assert item["assets"]["mosaic"]["type"] == "application/vnd.zarr; version=3"
    assert item["assets"]["classes"]["type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
    assert item["assets"]["buildings.geojson"]["type"] == "application/geo+json"
    assert item["assets"]["geoseg.gpkg"]["type"] == "application/geopackage+sqlite3"
    assert item["assets"]["preview"]["roles"] == ["thumbnail"]
    model = next(link for link in item["links"] if "mlm:name" in link)
    assert (model["rel"], model["href"], model["mlm:name"]) == ("derived_from", "./model.json", "tiny")
    assert item["properties"]["processing:expression"]["expression"] == model["href"]
    assert str(run.path) not in json.dumps([item, model_of(run)])


def test_its_pixels_are_those_of_the_rasters(run: Run[Path]) -> None:
    assets = item_of(run)["assets"]
    with rasterio.open(run.class_raster) as cog:
        for key in ("classes", "mosaic"):
            assert assets[key]["proj:shape"] == list(cog.shape)
            assert assets[key]["proj:transform"] == list(cog.transform)[:6]
            placed = CRS(assets[key]["proj:code"] or assets[key]["proj:wkt2"])
            assert placed.equals(CRS(cog.crs.to_wkt()), ignore_axis_order=True)
        assert assets["classes"]["data_type"] == cog.dtypes[0]
        assert assets["classes"]["nodata"] == cog.nodata
        colours = cog.colormap(1)
    classes = {entry["value"]: entry for entry in assets["classes"]["classification:classes"]}
    assert classes.pop(NODATA_CLASS)["nodata"] is True
    assert {value: entry["name"] for value, entry in classes.items()} == dict(enumerate(run.class_names))
    assert all(bytes.fromhex(entry["color_hint"]) == bytes(colours[value][:3]) for value, entry in classes.items())
    bands = {band["name"]: band for band in assets["mosaic"]["bands"]}
    group = zarr.open_group(run.path / "mosaic.zarr", path="0", mode="r")
    arrays = {"classes", "confidence", "probability"} & {*group.array_keys()}
    assert {name.partition("/")[0] for name in bands} == arrays
    for name, band in bands.items():
        array = group[name.partition("/")[0]]
        assert isinstance(array, zarr.Array)
        assert (band["data_type"], band["nodata"]) == (array.dtype.name, array.fill_value)
        assert ("raster:scale" in band) == (name != "classes")
    assert bands["confidence"]["raster:scale"] * 254 == pytest.approx(1, abs=1e-15)


def test_its_place_is_that_of_the_data(run: Run[Path]) -> None:
    item, valid_hw = item_of(run), valid_pixels(run)
    if not valid_hw.any():
        assert item["geometry"] is None
        assert "bbox" not in item
        return
    rows, cols = np.nonzero(valid_hw)
    x, y = run.grid.transform @ (cols + 0.5, rows + 0.5)  # type: ignore[operator]  # arrays too
    lon, lat = Transformer.from_crs(run.grid.crs, "EPSG:4326", always_xy=True).transform(x, y)
    lon = (lon + 180) % 360 - 180
    area = shapely.geometry.shape(item["geometry"])
    assert area.is_valid
    assert shapely.contains_xy(area, lon, lat).all()
    metres = shapely.geometry.shape(item["geometry"]).area * 111_320**2 * np.cos(np.radians(lat.mean()))
    assert metres == pytest.approx(valid_hw.sum() * np.prod(run.grid.ground_resolution_m()), rel=0.02)
    west, south, east, north = item["bbox"]
    assert (west > east) == (lon.max() - lon.min() > 180)
    inside = (lon >= west) | (lon <= east) if west > east else (lon >= west) & (lon <= east)
    assert inside.all()
    assert south < lat.min() < lat.max() < north
    assert north - south < 0.003


def test_several_scenes_have_a_span(several: Run[Path], validate: Validate) -> None:
    item = item_of(several)
    assert len(validate(item)) == 1 + len(item["stac_extensions"])
    properties = item["properties"]
    assert properties["datetime"] is None
    assert properties["start_datetime"] == "2019-06-30T23:59:59Z"
    assert properties["end_datetime"] == "2021-02-03T04:05:06Z"
    assert {scene["name"] for scene in properties["geoseg:scenes"]} == {"one.tif", "two.tif"}
    scenes = zarr.open_array(several.path / "mosaic.zarr", path="0/scene", mode="r")
    # The band's numbers are places in this list.
    assert [scene["name"] for scene in properties["geoseg:scenes"]] == scenes.attrs["scenes"]
    band = item["assets"]["mosaic"]["bands"][-1]
    assert (band["name"], band["data_type"], band["nodata"]) == ("scene", scenes.dtype.name, scenes.fill_value)
    assert "two.tif" in properties["processing:lineage"]


def test_moments() -> None:
    first, last = "2020-01-02T03:04:05", "2021-01-01T00:30:00+01:00"
    assert moments([None, first, None]) == {"datetime": "2020-01-02T03:04:05Z"}
    assert moments([first, "2020-01-02T03:04:05Z"]) == {"datetime": "2020-01-02T03:04:05Z"}
    assert moments([last, None, first]) == {
        "datetime": None,
        "start_datetime": "2020-01-02T03:04:05Z",
        "end_datetime": "2020-12-31T23:30:00Z",
    }
    unknown = moments([None, None])
    assert unknown == moments([])
    assert unknown == {"datetime": None, "start_datetime": ANY_TIME[0], "end_datetime": ANY_TIME[1]}


def test_what_is_unknown_of_dates_is_said(run: Run[Path]) -> None:
    properties = item_of(run)["properties"]
    assert (properties["start_datetime"], properties["end_datetime"]) == ANY_TIME
    assert properties["geoseg:scenes_without_date"] == 1
    assert "unknown" in properties["description"]


def test_the_same_run_elsewhere_has_the_same_bytes(
    several: Run[Path], two_scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    """Other blocks, another folder, copies of scenes and model, and more to it than is asked for."""
    copies = [Path(shutil.copy2(scene, tmp_path / scene.name)) for scene in two_scenes]
    model = Path(shutil.copytree(tiny_model, tmp_path / "deep" / "tiny"))
    other = mapped(copies, model, tmp_path / "deep" / "deeper" / "run", block_size=512)
    for name in ("item.json", "model.json"):
        assert (other.path / "stac" / name).read_bytes() == (several.path / "stac" / name).read_bytes()
        text = (other.path / "stac" / name).read_text()
        assert text == json.dumps(json.loads(text), sort_keys=True, indent=1) + "\n"


def test_it_is_written_again_when_what_it_lists_changes(
    several: Run[Path], two_scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(several.path, tmp_path / "run"))
    item, model = folder / "stac" / "item.json", folder / "stac" / "model.json"
    before = item.read_bytes(), model.read_bytes(), item.stat().st_mtime_ns
    (folder / "run.json").unlink()
    mapped(two_scenes, tiny_model, folder)
    assert item.stat().st_mtime_ns == before[2]
    mapped(two_scenes, tiny_model, folder, min_area=60, formats=("gpkg",))
    changed = item_of(folder)
    assert "buildings.geojson" not in changed["assets"]
    assert changed["properties"]["geoseg:layers"]["min_area_m2"]["building"] == 60
    assert verify_run(folder).differences == ()
    mapped(two_scenes, tiny_model, folder)
    assert (item.read_bytes(), model.read_bytes()) == before[:2]


@pytest.mark.parametrize("name", ["item.json", "model.json"])
def test_damage_is_found_and_mended(
    several: Run[Path], two_scenes: list[Path], tiny_model: Path, tmp_path: Path, name: str
) -> None:
    folder = Path(shutil.copytree(several.path, tmp_path / "run"))
    file = folder / "stac" / name
    file.write_text(file.read_text().replace("tiny", "tony"))
    assert [one.path for one in verify_run(folder).differences] == [f"stac/{name}"]
    assert mend_run(folder) == 1
    mapped(two_scenes, tiny_model, folder)
    assert verify_run(folder).differences == ()
    assert file.read_bytes() == (several.path / "stac" / name).read_bytes()
    shutil.rmtree(folder / "stac")
    mapped(two_scenes, tiny_model, folder)
    assert file.read_bytes() == (several.path / "stac" / name).read_bytes()
    assert folder / "stac" in RunFolder(folder).results()


def test_an_incomplete_run_says_so(
    tmp_path: Path, write_raster: WriteRaster, tiny_model: Path, validate: Validate
) -> None:
    image_chw = np.random.default_rng(1).integers(0, 256, (3, 75, 5)).repeat(20, axis=1).repeat(20, axis=2)
    scene = write_raster(image_chw.astype(np.uint8))
    whole = scene.read_bytes()
    scene.write_bytes(whole[: len(whole) * 2 // 3])
    run = mapped(scene, tiny_model, tmp_path / "run", block_size=512)
    assert run.status == "incomplete"
    item = item_of(run)
    validate(item)
    properties = item["properties"]
    assert properties["geoseg:status"] == "incomplete"
    assert properties["geoseg:missing_blocks"] == len(run.failed_blocks) == 2
    for words in ("processing:lineage", "description"):
        assert properties[words].startswith("INCOMPLETE: 2 of 3 blocks failed")
    # The blocks that are missing are no part of its place.
    south = Transformer.from_crs("EPSG:32640", "EPSG:4326", always_xy=True).transform(320000, 2770000 - 513)[1]
    assert item["bbox"][1] > south


def planned(scene: Path, model_path: Path) -> RunPlan:
    model = load_package(model_path)
    ref = describe_scene(str(scene), model.imagery, SceneOptions())
    return RunPlan(
        region=Region.of(ref, scene.name),
        model_path=str(model_path),
        model_name=model.card.name,
        model_identity=model.identity,
        labels=model.labels,
        imagery=model.imagery,
        blocks=lay_blocks(ref.grid.height, ref.grid.width, model, TileOptions()),
        probability=False,
        layers=LayerOptions(0, 0),
        numerics=Numerics("cpu", "fp32", 1, 1),
        workers=1,
        worker_bytes=1,
        warnings=(),
    )


def test_public_scenes_are_linked_without_what_is_secret(
    tmp_path: Path, two_scenes: list[Path], tiny_model: Path, validate: Validate
) -> None:
    plan = planned(two_scenes[0], tiny_model)
    [scene] = plan.region.scenes
    paths = {
        "https://user:SECRET@example.org/a.tif?sig=SECRET#SECRET": "https://example.org/a.tif",
        "s3://bucket/b.tif": "s3://bucket/b.tif",
        "http://127.0.0.1:8000/c.tif?sig=SECRET": None,
        str(two_scenes[0]): None,
    }
    scenes = tuple(
        replace(scene, name=f"{number}.tif", parts=(replace(scene.parts[0], path=path),))
        for number, path in enumerate(paths)
    )
    plan = replace(plan, region=replace(plan.region, scenes=scenes))
    state = MosaicState.of(RunFolder(tmp_path).ledger("mosaic"))
    model = model_item(load_card(tiny_model))
    item = run_item(plan, state, {}, None, model, model_href="./model.json", failed_blocks=0)
    links = [(link["title"], link["href"]) for link in item["links"] if "mlm:name" not in link]
    assert links == [(f"{number}.tif", href) for number, href in enumerate(paths.values()) if href]
    assert "SECRET" not in json.dumps(item)
    assert str(two_scenes[0].parent) not in json.dumps(item)
    item["stac_extensions"] = []
    validate(item)


def test_a_scene_on_a_server_leaves_no_signature(
    tmp_path: Path, two_scenes: list[Path], tiny_model: Path, web: Web
) -> None:
    web.put("/a.tif", two_scenes[0].read_bytes())
    run = geoseg.map_scenes(f"{web.origin}/a.tif?sig=SECRET", tmp_path / "run", model=tiny_model, local=True)
    assert "SECRET" not in json.dumps([item_of(run), model_of(run)])
    assert item_of(run)["properties"]["datetime"] == "2021-02-03T04:05:06Z"


def test_every_format_has_a_media_type(two_scenes: list[Path], tiny_model: Path, validate: Validate) -> None:
    """Also those of an index of several rasters and of styles; a project is of this machine, and no asset."""
    plan = planned(two_scenes[0], tiny_model)
    files = {
        "mosaic.zarr": "zarr",
        "classes/0.tif": "cog",
        "classes/1.tif": "cog",
        "classes/index.gpkg": "gpkg-index",
        "layers/geoseg.gpkg": "gpkg",
        "layers/geoseg.pmtiles": "pmtiles",
        "map.qgs": "qgs",
        "preview.png": "png",
        "report.html": "html",
    }
    files |= {f"layers/roads.{suffix}": suffix for suffix in ("geojson", "fgb", "parquet", "qml")}
    files["layers/roads.geojsonl"] = "geojsonseq"
    outputs = [
        {"path": path, "format": kind, "features": None, "sha256": None if kind == "zarr" else "0" * 64}
        for path, kind in files.items()
    ]
    window = plan.region.grid.part(plan.region.grid.window).window
    assets = assets_of(plan, outputs, {"classes/1.tif": replace(window, row=8, height=20)}, {"preview.png": 7})
    assert [asset["href"] for asset in assets.values()] == [
        f"../{path}" for path in files if path not in {"map.qgs", "report.html"}
    ]
    assert all("/" in asset["type"] and asset["roles"] for asset in assets.values())
    assert {"classes-0", "classes-1", "classes-index", "roads.fgb", "preview"} <= {*assets}
    assert assets["classes-1"]["proj:shape"] == [20, 240]
    assert assets["classes-1"]["proj:transform"] == [1, 0, 320000, 0, -1, 2770000 - 8]
    assert assets["preview"]["file:size"] == 7
    model = model_item(load_card(tiny_model))
    state = MosaicState(frozenset(), frozenset(), "", ())
    item = run_item(plan, state, assets, None, model, model_href="./model.json", failed_blocks=0)
    validate(item)
    with pytest.raises(ValueError, match="'dwg' has no media type"):
        assets_of(plan, [{**outputs[-1], "format": "dwg"}], {}, {})


def test_the_models_item_says_what_the_card_says(tiny_model: Path) -> None:
    card, item = load_card(tiny_model), model_item(load_card(tiny_model))
    properties = item["properties"]
    network = load_package(tiny_model).build()
    assert properties["mlm:total_parameters"] == sum(numbers.numel() for numbers in network.parameters())
    assert properties["mlm:memory_size"] == sum(
        tensor.numel() * 4 for name, tensor in network.state_dict().items() if "num_batches" not in name
    )
    assert properties["license"] == card.licence
    assert properties["geoseg:attribution"] == list(card.attribution)
    [inputs] = properties["mlm:input"]
    assert [(one["mean"], one["stddev"]) for one in inputs["value_scaling"]] == [(128, 50)] * 3
    assert inputs["bands"] == [band["name"] for band in properties["bands"]] == list(card.imagery.bands)
    assert inputs["input"]["shape"] == [-1, 3, 64, 64]
    [weights] = item["assets"].values()
    sha256 = hashlib.sha256((tiny_model / "weights.safetensors").read_bytes())
    assert weights["file:checksum"] == "1220" + sha256.hexdigest()
    assert weights["file:size"] == (tiny_model / "weights.safetensors").stat().st_size
    scheme, _, digest = weights["href"].partition(";")
    assert (scheme, base64.urlsafe_b64decode(digest + "=")) == ("ni:///sha-256", sha256.digest())
    assert "mlm:pretrained" not in properties


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"recipe": {}}, {"mlm:pretrained": False, "mlm:pretrained_source": None}),
        (
            {"recipe": {}, "encoder_weights": {"file": "resnet18.pth", "sha256": "0" * 64}, "torch": "2.13.0+cpu"},
            {
                "mlm:pretrained": True,
                "mlm:pretrained_source": "resnet18.pth",
                "mlm:framework_version": "2.13.0+cpu",
            },
        ),
        ({"torch": "2.14.0a0+git"}, {}),
    ],
)
def test_names_licences_and_training_of_all_kinds_are_valid(
    tmp_path: Path,
    tiny_model: Path,
    labels: LabelSet,
    validate: Validate,
    training: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    torch.manual_seed(1)
    for name in ("m", "a-", "net_2"):
        architecture = Architecture("unet_resnet18", 3, len(labels), 0.01)
        imagery = load_card(tiny_model).imagery
        draft = CardDraft(
            name=name,
            description="for tests",
            architecture=architecture,
            imagery=imagery,
            classes=labels.classes,
            tile=TileDefaults(size_px=64, overlap_px=16),
            metrics={},
            training=training,
            licence="free for all, but not for sale",
            attribution=(),
        )
        item = model_item(save_package(tmp_path / name, draft, build(architecture)))
        MLModelProperties.model_validate(item["properties"])
        validate(json.loads(json.dumps(item).replace("/mlm/v1.6.0/", "/mlm/v1.4.0/")))
        kept = {"mlm:pretrained", "mlm:pretrained_source", "mlm:framework_version"}
        assert {key: value for key, value in item["properties"].items() if key in kept} == expected
        assert item["properties"]["license"] == "other"
        # MLM 1.6 wants three characters, and a letter or digit at the end.
        assert item["properties"]["mlm:name"] == (name if name == "net_2" else f"{name}-model")


def test_another_model_in_the_place_of_the_planned_one_is_noticed(
    several: Run[Path], two_scenes: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "tiny"))
    plan = planned(two_scenes[0], model)
    card = json.loads((model / "card.json").read_text())
    card["imagery"]["mean"][0] += 1
    (model / "card.json").write_text(json.dumps(card))
    run = RunFolder(Path(shutil.copytree(several.path, tmp_path / "run")))
    with pytest.raises(InputChangedError, match="changed during the run"):
        write_stac(plan, run, MosaicState.of(run.ledger("mosaic")), (), 0)


def test_our_reader_knows_it_and_says_what_it_lacks(run: Run[Path]) -> None:
    """What it names lies outside its folder, where documents must not lead."""
    path = str(run.path / "stac" / "item.json")
    assert is_stac(path)
    for assets in (None, ("classes",)):
        with pytest.raises(SceneError, match=r"item\.json|must not lead"):
            read_stac(path, assets, ("red", "green", "blue"))
