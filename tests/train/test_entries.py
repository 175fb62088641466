"""Entries of a configuration, in whichever words, become scenes that say what they know."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image

from geoseg.config import TrainConfig
from geoseg.config.data import LabelFormat
from geoseg.datasets.formats import FORMATS
from geoseg.errors import ConfigError, GeosegError
from geoseg.labelled_data import coding_of, imagery_of, sources_of
from geoseg.labels import NODATA_CLASS
from geoseg.train.cells import Cells
from geoseg.train.samples import Balance, Sampler
from geoseg.train.scenes import LabelledScene, open_scenes

WriteRaster = Callable[..., Path]
NAMES = ("building", "road", "other")
WEST, NORTH = 320000.0, 2770000.0


def config(*data: dict[str, Any], **more: Any) -> TrainConfig:  # noqa: ANN401  # whatever a file may say
    """A configuration of three classes at 1 m."""
    return TrainConfig.model_validate(
        {
            "kind": "train",
            "name": "small",
            "description": "three classes",
            "licence": "CC0-1.0",
            "attribution": "nobody",
            "architecture": {"name": "unet", "width": 0.25},
            "imagery": {
                "bands": ["red", "green", "blue"],
                "dtype": "uint8",
                "value_range": [0, 255],
                "ground_resolution_m": 1,
            },
            "classes": [{"name": name, "layer": None, "kind": "stuff", "color": "#000000"} for name in NAMES],
            "data": list(data),
            "training": {"iterations": 10, "validate_every": 5},
            **more,
        }
    )


def raster(path: Path, values: Any, pixel_m: float = 1.0) -> None:  # noqa: ANN401  # an array of either shape
    path.parent.mkdir(parents=True, exist_ok=True)
    chw = values if values.ndim == 3 else values[None]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(chw),
        height=chw.shape[1],
        width=chw.shape[2],
        dtype="uint8",
        crs="EPSG:32640",
        transform=Affine(pixel_m, 0, WEST, 0, -pixel_m, NORTH),
    ) as dataset:
        dataset.write(chw)


def features(path: Path, *boxes: tuple[tuple[float, float, float, float], dict[str, Any]]) -> None:
    """Boxes (left, top, right, bottom) in metres from the scenes' corner, with their properties."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = [
        {
            "type": "Feature",
            "properties": properties,
            "geometry": shapely.geometry.mapping(
                shapely.box(WEST + left, NORTH - bottom, WEST + right, NORTH - top)
            ),
        }
        for (left, top, right, bottom), properties in boxes
    ]
    crs = {"type": "name", "properties": {"name": "EPSG:32640"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": content}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Scenes of 40 x 40 m at 1 m and 0.25 m, with labels of every kind."""
    rng = np.random.default_rng(0)
    raster(tmp_path / "images" / "a_image.tif", rng.integers(0, 256, (3, 40, 40)))
    raster(tmp_path / "images" / "b_image.tif", rng.integers(0, 256, (3, 160, 160)), 0.25)
    values_hw = np.zeros((40, 40), np.uint8)
    values_hw[:20], values_hw[20:30] = 1, 2
    raster(tmp_path / "labels" / "a_label.tif", values_hw)
    raster(tmp_path / "labels" / "b_label.tif", values_hw.repeat(4, 0).repeat(4, 1), 0.25)
    features(
        tmp_path / "houses.geojson", ((0, 0, 10, 10), {"class": "building"}), ((0, 20, 10, 30), {"class": None})
    )
    features(tmp_path / "mixed.geojson", ((0, 0, 10, 10), {"kind": "h"}), ((0, 5, 40, 8), {"kind": "r"}))
    return tmp_path


def first(root: Path, **entry: Any) -> tuple[LabelledScene, np.ndarray[Any, np.dtype[np.uint8]]]:  # noqa: ANN401
    """The first scene of an entry, and its coded labels."""
    whole = config({"split": "train", "image": "images/a_image.tif", **entry}, VAL)
    sources = sources_of(whole, root)
    with open_scenes(sources, imagery_of(whole), coding_of(whole, sources)) as scenes:
        return scenes[0], scenes[0].labels(scenes[0].grid.window)


VAL = {
    "split": "val",
    "image": "images/a_image.tif",
    "labels": "labels/a_label.tif",
    "values": {0: "other", 1: "building", 2: "road"},
}


def test_globs_and_names_of_labels_give_the_same_ground_at_every_resolution(root: Path) -> None:
    values = {0: "unknown", 1: "building", 2: "ignore"}
    whole = config(
        {"split": "train", "image": "images/*_image.tif", "labels": "labels/{name}_label.tif", "values": values},
        VAL,
    )
    sources = sources_of(whole, root)
    coding = coding_of(whole, sources)
    assert [source.name for source in sources] == ["a_image", "b_image", "a_image"]
    assert [source.labelled for source in sources] == [frozenset({0}), frozenset({0}), None]
    rest = coding.candidates.rest(frozenset({0}))
    with open_scenes(sources, imagery_of(whole), coding) as scenes:
        one, fine, other = (scene.labels(scene.grid.window) for scene in scenes)
        assert scenes[1].grid.window.shape == (40, 40)
    assert np.array_equal(one, fine)
    assert [int(one[row, 5]) for row in (5, 25, 35)] == [0, NODATA_CLASS, rest]
    assert [int(other[row, 5]) for row in (5, 25, 35)] == [0, 1, 2]


def test_vectors_say_what_they_label_and_what_the_rest_is(root: Path) -> None:
    scene, labels_hw = first(root, labels="houses.geojson")
    assert scene.labelled == {0}
    # A feature that names no class is passed over.
    assert [int(labels_hw[row, 5]) for row in (5, 25)] == [0, 3]
    scene, labels_hw = first(root, labels={"building": "houses.geojson"}, rest="other")
    assert scene.labelled == {0, 2}
    assert [int(labels_hw[row, 5]) for row in (5, 25, 35)] == [0, 0, 2]
    scene, labels_hw = first(
        root, labels="mixed.geojson", class_attribute="kind", values={"h": "building", "r": "road"}, rest="ignore"
    )
    assert scene.labelled == {0, 1}
    assert [int(labels_hw[6, 5]), int(labels_hw[3, 5]), int(labels_hw[6, 20]), int(labels_hw[30, 5])] == [
        1,
        0,
        1,
        255,
    ]
    scene, _ = first(root, labels="mixed.geojson", classes=["road"])
    assert scene.labelled == {1}


def test_ignored_polygons_and_regions_never_count(root: Path) -> None:
    region = {"file": "houses.geojson", "where": {"class": "building"}}
    _, labels_hw = first(root, labels={"building": "houses.geojson"}, rest="other", region=region)
    assert (labels_hw[:10, :10] == 0).all()
    assert np.count_nonzero(labels_hw != NODATA_CLASS) == 100
    _, kept_hw = first(root, labels={"building": "houses.geojson"}, rest="other", ignore="mixed.geojson")
    assert (kept_hw[:10, :10] == NODATA_CLASS).all()
    assert (kept_hw[12:] != NODATA_CLASS).all()


def test_chips_without_a_place_are_scenes_at_the_resolution_that_is_told(root: Path) -> None:
    rng = np.random.default_rng(1)
    for folder in ("set/images", "set/labels"):
        (root / folder).mkdir(parents=True)
    labels_hw = np.zeros((32, 48), np.uint8)
    labels_hw[:, :16], labels_hw[:, 40:] = 1, 255
    for name in ("p", "q"):
        Image.fromarray(rng.integers(0, 256, (32, 48, 3)).astype(np.uint8)).save(root / f"set/images/{name}.png")
        Image.fromarray(labels_hw).save(root / f"set/labels/{name}.png")
    chips = {"split": "train", "image": "set/images", "labels": "set/labels", "values": {0: "unknown", 1: "road"}}
    whole = config(chips | {"ground_resolution_m": 0.5}, VAL)
    sources = sources_of(whole, root)
    assert [source.name for source in sources] == ["p", "q", "a_image"]
    coding = coding_of(whole, sources)
    with open_scenes(sources, imagery_of(whole), coding) as scenes:
        assert scenes[0].grid.window.shape == (16, 24)
        drawn_hw = scenes[0].labels(scenes[0].grid.window)
        planes_khw = scenes[0].planes(scenes[0].grid.window)
    rest = coding.candidates.rest(frozenset({1}))
    assert np.array_equal(drawn_hw, np.select([labels_hw == 1, labels_hw == 255], [1, 255], rest)[1::2, 1::2])
    assert np.array_equal(planes_khw[1], np.select([labels_hw == 1, labels_hw == 255], [1, 255], 0)[1::2, 1::2])
    assert (planes_khw[[0, 2]] == NODATA_CLASS).all()
    with pytest.raises(ConfigError, match=r"data\.0\.ground_resolution_m: .*p\.png has no place on earth"):
        sources_of(config(chips, VAL), root)
    with pytest.raises(ConfigError, match=r"cannot be divided in blocks of ground"):
        sources_of(config(chips | {"ground_resolution_m": 0.5, "split": "auto"}, VAL), root)


@pytest.mark.parametrize("labels", ["town", "town/set.json"])
def test_a_panoptic_set_is_named_by_its_folder_or_its_document(root: Path, labels: str) -> None:
    rng = np.random.default_rng(1)
    for folder in ("town/set", "town/images"):
        (root / folder).mkdir(parents=True)
    Image.fromarray(rng.integers(0, 256, (8, 12, 3)).astype(np.uint8)).save(root / "town/images/p.png")
    ids_hwc = np.zeros((8, 12, 3), np.uint8)
    ids_hwc[:3, :, 0], ids_hwc[5:, :, 0] = 1, 2  # in the middle void
    Image.fromarray(ids_hwc).save(root / "town/set/p.png")
    segments = [{"id": 1, "category_id": 1}, {"id": 2, "category_id": 2}]
    things = [{"id": 1, "name": "building", "isthing": 1}, {"id": 2, "name": "road", "isthing": 0}]
    document = {
        "images": [{"id": 1, "file_name": "p.png", "height": 8, "width": 12}],
        "annotations": [{"image_id": 1, "file_name": "p.png", "segments_info": segments}],
        "categories": things,
    }
    (root / "town/set.json").write_text(json.dumps(document))
    entry = {"split": "train", "image": "town/images", "labels": labels, "ground_resolution_m": 1}
    whole = config(entry, VAL)
    sources = sources_of(whole, root)
    with open_scenes(sources, imagery_of(whole), coding_of(whole, sources)) as scenes:
        labels_hw = scenes[0].labels(scenes[0].grid.window)
    assert labels_hw[:, 0].tolist() == [0, 0, 0, 255, 255, 1, 1, 1]


def test_every_format_of_chips_may_be_named() -> None:
    assert set(FORMATS) | {"auto", "raster", "vector"} == set(LabelFormat.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"labels": "labels/none.tif"}, r"data\.0\.labels: expected a file, got labels/none\.tif"),
        ({"image": "images/c*.tif", "labels": "x"}, r"data\.0\.image: expected rasters .* found none"),
        ({"labels": "labels/a_label.tif"}, r"data\.0\.values: expected what the values of .* mean"),
        ({"labels": "labels/a_label.tif", "values": {"h": "road"}}, r"values\.h: expected whole numbers"),
        ({"labels": "labels"}, r"data\.0\.labels: expected one file in labels of the name of a_image\.tif"),
        ({"labels": "mixed.geojson"}, r"data\.0: expected labels of one of building, road, other"),
        ({"labels": "mixed.geojson", "class_attribute": "kind", "classes": ["road"]}, r"names classes .*: h, r in"),
        ({"labels": "labels/a_label.tif", "values": {1: "road", 2: "building"}}, "holds the label value 0"),
        ({"labels": {"road": "nosuch.gpkg"}}, r"data\.0\.labels\.road: expected a file, got nosuch\.gpkg"),
    ],
)
def test_what_an_entry_gets_wrong_is_named_by_its_key(root: Path, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(GeosegError, match=message) as refused:
        first(root, **entry)
    assert "\n" not in str(refused.value)


def test_balanced_windows_show_rare_classes_as_often_as_others(root: Path) -> None:
    features(root / "rare.geojson", ((30, 30, 34, 34), {}))
    whole = config(
        {"split": "train", "image": "images/a_image.tif", "labels": {"building": "rare.geojson"}, "rest": "other"},
        VAL,
    )
    sources = sources_of(whole, root)[:1]
    with open_scenes(sources, imagery_of(whole), coding_of(whole, sources_of(whole, root))) as scenes:
        seen = {}
        for share in (0.0, 0.5, 1.0):
            sampler = Sampler(scenes, Cells.of(scenes, 8), imagery_of(whole), 0, Balance(share) if share else None)
            samples = [sampler.sample(number, 8) for number in range(120)]
            seen[share] = np.mean([(sample.labels_hw == 0).any() for sample in samples])
            assert all(sample.image_chw.shape == (3, 8, 8) for sample in samples)
        # Around a pixel of either of two classes; 0.046 is one standard error.
        assert seen[1.0] == pytest.approx(0.5, abs=0.15)
        assert seen[0.0] < seen[0.5] < seen[1.0]
        by_pixels = Sampler(scenes, Cells.of(scenes, 8), imagery_of(whole), 0, Balance(1.0, "inverse_frequency"))
        assert np.mean([(by_pixels.sample(n, 8).labels_hw == 0).any() for n in range(60)]) > 0.9
        again = Sampler(scenes, Cells.of(scenes, 8), imagery_of(whole), 0, Balance(1.0, "inverse_frequency"))
        assert np.array_equal(again.sample(7, 8).labels_hw, by_pixels.sample(7, 8).labels_hw)
