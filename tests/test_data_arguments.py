"""Scenes and labels named on the command line, as a configuration."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely

from geoseg.data_arguments import DataArguments, config_from_arguments
from geoseg.errors import GeosegError
from geoseg.imagery import Imagery
from geoseg.labelled_data import coding_of, imagery_of, sources_of
from geoseg.train.survey import sound_sources, survey

WriteRaster = Callable[..., Path]


@pytest.fixture
def scene(write_raster: WriteRaster) -> str:
    """200 x 200 px at 1 m."""
    return str(write_raster(np.random.default_rng(0).integers(0, 256, (3, 200, 200)).astype(np.uint8)))


def features(path: Path, shapes: list[tuple[shapely.Geometry, dict[str, Any]]]) -> str:
    """Shapes in metres from the scene's corner."""
    content = [
        {
            "type": "Feature",
            "properties": properties,
            "geometry": shapely.geometry.mapping(
                shapely.transform(shape, lambda at: at * [1, -1] + [320000, 2770000])
            ),
        }
        for shape, properties in shapes
    ]
    crs = {"type": "name", "properties": {"name": "EPSG:32640"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": content}))
    return str(path)


def boxes(path: Path, *names: str) -> str:
    """Small boxes all over the scene, of the classes in turn."""
    places = [(x, y) for x in range(2, 200, 16) for y in range(2, 200, 16)]
    return features(
        path,
        [(shapely.box(x, y, x + 7, y + 7), {"class": names[n % len(names)]}) for n, (x, y) in enumerate(places)],
    )


def test_polygons_of_one_class_train_against_all_else(scene: str, tmp_path: Path) -> None:
    file = boxes(tmp_path / "houses.geojson", "x")
    config = config_from_arguments(DataArguments((scene,), (("building", file),)), "My Houses")
    assert config.label_set().names == ("building", "other")
    assert config.imagery.ground_resolution_m == pytest.approx(1, rel=0.01)
    assert config.imagery.bands == ("red", "green", "blue")
    sources = sources_of(config, tmp_path)
    found = survey(sources, imagery_of(config), coding_of(config, sources), config.label_set())
    assert {source.split for source in sources} == {"train", "val", "test"}
    assert found.problems == ()
    assert sound_sources(sources, found, skip_bad=False) == (sources, ())
    assert all(scene.counts_v[-1] == 0 for scene in found.scenes)


def test_classes_are_those_that_the_labels_name_with_colours_that_differ(scene: str, tmp_path: Path) -> None:
    names = [f"Kind {number}" for number in range(30)]
    config = config_from_arguments(
        DataArguments((scene,), ((None, boxes(tmp_path / "a.geojson", *names)),)), "kinds"
    )
    assert set(config.label_set().names) == {f"kind_{number}" for number in range(30)} | {"other"}
    assert config.label_set().names[-1] == "other"
    assert len({label.color for label in config.classes}) == 31
    sources = sources_of(config, tmp_path)
    assert all(source.labelled is None for source in sources)


def test_rasters_name_classes_by_their_values(scene: str, write_raster: WriteRaster, tmp_path: Path) -> None:
    values_hw = np.random.default_rng(1).integers(0, 4, (200, 200)).astype(np.uint8)
    file = str(write_raster(values_hw[None], "labels.tif", nodata=0))
    plain = config_from_arguments(DataArguments((scene,), ((None, file),)), "plain")
    assert plain.label_set().names == ("class_1", "class_2", "class_3")
    named = DataArguments((scene,), ((None, file),), values=(("1", "road"), ("2", "ignore")), rest="other")
    assert config_from_arguments(named, "named").label_set().names == ("road", "other")
    assert config_from_arguments(named, "named").data[0].values == {"1": "road", "2": "ignore", "3": "other"}


def test_rasters_that_name_their_values_are_believed(scene: str, write_raster: WriteRaster) -> None:
    values_hw = np.random.default_rng(1).choice(np.array([0, 1, 2, 255], np.uint8), (200, 200))
    path = write_raster(values_hw[None], "sure.tif", nodata=255)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(class_0="building", class_1="road", class_2="water", class_3="other")
    named = config_from_arguments(DataArguments((scene,), ((None, str(path)),)), "sure")
    assert named.data[0].values == {"0": "building", "1": "road", "2": "water"}
    ignored = DataArguments((scene,), ((None, str(path)),), values=(("1", "ignore"),))
    assert config_from_arguments(ignored, "one").label_set().names == ("class_0", "class_2")


def test_a_package_to_begin_from_gives_pixels_network_and_classes_it_knows(
    scene: str, tmp_path: Path, tiny_model: Path, rgb: Imagery
) -> None:
    file = boxes(tmp_path / "houses.geojson", "building", "shed")
    arguments = DataArguments((scene,), ((None, file),), start_from=str(tiny_model))
    config = config_from_arguments(arguments, "finer")
    assert (config.start_from, config.architecture) == (str(tiny_model), None)
    assert config.imagery.mean == (128.0,) * 3
    assert config.imagery.ground_resolution_m == rgb.ground_resolution_m
    colors = {label.name: label.color for label in config.classes}
    assert colors["building"] == "#aa0000"
    assert set(colors) == {"building", "shed", "other"}


def test_lines_get_the_width_that_is_told(scene: str, tmp_path: Path) -> None:
    file = features(
        tmp_path / "r.geojson", [(shapely.LineString([(0, 9 + y), (200, 9 + y)]), {}) for y in (0, 60, 120)]
    )
    config = config_from_arguments(DataArguments((scene,), (("road", file),), width_m=6.0), "roads")
    assert config.data[0].width_m == 6
    assert [label.layer for label in config.classes] == ["roads", None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ()}, "expected labels: give --labels"),
        ({"labels": ((None, "a"), (None, "b"))}, "expected one --labels FILE, or --labels CLASS=FILE"),
        ({"labels": (("road", "a"), (None, "b"))}, "expected --labels CLASS=FILE for every file"),
        ({"labels": (("road", "a"), ("road", "b"))}, "road has .*a and b: join them"),
        ({"labels": (("road", "a"),), "values": (("1", "x"),)}, "expected no --value"),
        ({"labels": (("road", "a"),), "rest": "unknown"}, "expected two classes or more, the labels name road"),
        ({"labels": ((None, "FILE"),), "class_attribute": "kind"}, "has no attribute 'kind'"),
        ({"labels": ((None, "FILE"),), "values": (("a", "road"),)}, "hold the value b: say what it means"),
        ({"labels": (("Road!", "a"),)}, "class name must be lower-case"),
        ({"labels": ((None, "/nosuch/file.gpkg"),)}, "there is nothing at /nosuch/file.gpkg"),
    ],
)
def test_what_makes_no_configuration_is_refused_in_words(
    scene: str, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    file = boxes(tmp_path / "two.geojson", "a", "b")
    labels = tuple((name, file if path == "FILE" else path) for name, path in arguments.pop("labels"))
    with pytest.raises(GeosegError, match=message) as refused:
        config_from_arguments(DataArguments((scene,), labels, **arguments), "wrong")
    assert "\n" not in str(refused.value)
