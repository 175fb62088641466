"""map.qgs as XML; tests/qgis opens it in QGIS."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from pyproj import CRS

from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.layers import Source
from geoseg.io.qgis_project import MOST_FILES, LayerPlace, Project
from geoseg.io.region import Region, Scene
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.io.scene_ref import SceneRef
from geoseg.labels import LabelClass, LabelSet

WriteRaster = Callable[..., Path]

RUN_ID = "ab" * 32
LAYERS = {name: LayerPlace(f"layers/geoseg.gpkg|layername={name}", "EPSG:32640") for name in ("buildings", "roads")}


@pytest.fixture(scope="module")
def ref(write_raster: WriteRaster, rgb: Imagery) -> SceneRef:
    return describe_scene(str(write_raster(np.full((3, 40, 60), 9, np.uint8))), rgb)


def region_of(refs: Sequence[SceneRef], name: str = "scene") -> Region:
    """Scenes of a file each on the first one's grid."""
    grid = refs[0].grid
    scenes = [Scene(f"{name} {n}", ref.path, None, grid.window, (0, 0), (ref,)) for n, ref in enumerate(refs)]
    return Region(grid, tuple(scenes))


def project_of(region: Region, labels: LabelSet, missing: int = 0) -> Project:
    source = Source(RUN_ID, tuple((scene.name, scene.date) for scene in region.scenes), missing)
    return Project(region, labels, ["classes.tif"], LAYERS, source, region.grid.window)


def parsed(project: Project, run: Path) -> ET.Element:
    return ET.fromstring(project.text(run))  # noqa: S314  # our own


def tree_of(root: ET.Element) -> list[dict[str, str]]:
    """What QGIS's list of layers has, from the top."""
    nodes = root.iterfind("./layer-tree-group//*")
    return [node.attrib for node in nodes if node.tag in {"layer-tree-layer", "layer-tree-group"}]


def layers_of(root: ET.Element) -> dict[str, ET.Element]:
    """The layers themselves, by name."""
    return {layer.findtext("layername", ""): layer for layer in root.iterfind("./projectlayers/maplayer")}


def crs_of(layer: ET.Element) -> CRS:
    return CRS.from_wkt(layer.findtext("./srs/spatialrefsys/wkt", ""))


def test_every_layer_of_the_tree_is_there_once_things_on_top_and_scenes_below(
    ref: SceneRef, labels: LabelSet, tmp_path: Path
) -> None:
    swapped = LabelSet((labels.classes[1], labels.classes[0], labels.classes[2]))
    for classes in (labels, swapped):
        root = parsed(project_of(region_of([ref]), classes), tmp_path)
        tree = tree_of(root)
        assert [node["name"] for node in tree] == ["buildings", "roads", "classes", "scene 0"]
        ids = [layer.findtext("id") for layer in root.iterfind("./projectlayers/maplayer")]
        assert [node["id"] for node in tree] == ids
        assert len(set(ids)) == len(ids)
        for node, layer in zip(tree, root.iterfind("./projectlayers/maplayer"), strict=True):
            assert (node["source"], node["name"]) == (layer.findtext("datasource"), layer.findtext("layername"))
            assert node["providerKey"] == layer.findtext("provider")


def test_the_class_raster_is_shown_where_there_is_no_layer_over_it(
    ref: SceneRef, labels: LabelSet, tmp_path: Path
) -> None:
    with_layers = project_of(region_of([ref]), labels)
    for project, expected in ((with_layers, "Qt::Unchecked"), (replace(with_layers, layers={}), "Qt::Checked")):
        checked = {node["name"]: node["checked"] for node in tree_of(parsed(project, tmp_path))}
        assert checked.pop("classes") == expected
        assert set(checked.values()) == {"Qt::Checked"}


def test_layers_are_drawn_in_their_classes_colours(ref: SceneRef, labels: LabelSet, tmp_path: Path) -> None:
    layers = layers_of(parsed(project_of(region_of([ref]), labels), tmp_path))
    for name, label in zip(("buildings", "roads"), labels.classes, strict=False):
        fill = layers[name].find(".//renderer-v2//Option[@name='color']")
        assert fill is not None
        assert fill.attrib["value"].rpartition(",")[0] == ",".join(map(str, label.rgb))
    entries = layers["classes"].iterfind("./pipe/rasterrenderer/colorPalette/paletteEntry")
    assert [entry.attrib["label"] for entry in entries] == list(labels.names)


@pytest.mark.parametrize("name", ["a & <b> 'c' \"d\"", "]]>", "Straße 東京", "<!-- -->"])
def test_names_are_what_they_were_once_the_xml_is_read(
    ref: SceneRef, labels: LabelSet, tmp_path: Path, name: str
) -> None:
    root = parsed(project_of(region_of([ref], name), labels), tmp_path)
    assert f"{name} 0" in layers_of(root)
    assert f"{name} 0" in [node["name"] for node in tree_of(root)]
    assert f"{name} 0" in root.findtext("title", "")


def test_a_name_that_no_xml_holds_is_told_without_its_signs_and_such_a_file_is_left_out(
    ref: SceneRef, labels: LabelSet, tmp_path: Path
) -> None:
    odd = [replace(ref, path=f"/data/{name}.tif") for name in ("a\x01", "b\udcff", "c\n")]
    root = parsed(project_of(region_of([ref, *odd], "x\x00\x1b"), labels), tmp_path)
    assert [name for name in layers_of(root) if name.startswith("x")] == ["x?? 0"]
    assert sum("3 left out" in node["name"] for node in tree_of(root)) == 1


def test_the_same_run_gives_the_same_text(ref: SceneRef, labels: LabelSet, tmp_path: Path) -> None:
    region = region_of([ref, ref])
    assert project_of(region, labels).text(tmp_path) == project_of(region, labels).text(tmp_path)


@pytest.mark.parametrize("place", ["scene.tif", "scenes/a/scene.tif", "run/scene.tif"])
def test_a_scene_beside_or_below_the_run_is_found_when_both_are_moved(
    ref: SceneRef, labels: LabelSet, tmp_path: Path, place: str
) -> None:
    before, after = tmp_path / "before", tmp_path / "after" / "deep"
    scene = before / place
    scene.parent.mkdir(parents=True)
    (before / "run").mkdir(exist_ok=True)
    shutil.copy(ref.path, scene)
    text = project_of(region_of([replace(ref, path=str(scene.resolve()))]), labels).text(before / "run")
    after.parent.mkdir()
    before.rename(after)
    source = layers_of(ET.fromstring(text))["scene 0"].findtext("datasource", "")  # noqa: S314  # our own
    assert source.startswith(("./", "../"))  # as QGIS tells such paths from others
    assert (after / "run" / source).resolve() == (after / place).resolve()
    assert str(tmp_path) not in text
    # There the same run would be written the same.
    moved = replace(ref, path=str((after / place).resolve()))
    assert project_of(region_of([moved]), labels).text(after / "run") == text


def test_a_run_that_is_named_by_a_link_finds_its_scene(ref: SceneRef, labels: LabelSet, tmp_path: Path) -> None:
    (tmp_path / "data" / "run").mkdir(parents=True)
    scene = tmp_path / "data" / "scene.tif"
    shutil.copy(ref.path, scene)
    (tmp_path / "link").symlink_to(tmp_path / "data" / "run")
    project = project_of(region_of([replace(ref, path=str(scene.resolve()))]), labels)
    assert project.text(tmp_path / "link") == project.text(tmp_path / "data" / "run")


def test_a_scene_elsewhere_is_named_by_its_whole_path(ref: SceneRef, labels: LabelSet, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    layers = layers_of(parsed(project_of(region_of([ref]), labels), run))
    assert layers["scene 0"].findtext("datasource") == ref.path
    assert Path(ref.path).is_absolute()


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("https://example.org/a%20b.tif", "/vsicurl/https://example.org/a%20b.tif"),
        ("s3://bucket/key/a.tif", "/vsis3/bucket/key/a.tif"),
        ("gs://bucket/a.tif", "/vsigs/bucket/a.tif"),
        ("az://container/a.tif", "/vsiaz/container/a.tif"),
    ],
)
def test_a_scene_on_a_server_is_named_as_gdal_calls_it(
    ref: SceneRef, labels: LabelSet, tmp_path: Path, address: str, source: str
) -> None:
    layers = layers_of(parsed(project_of(region_of([replace(ref, path=address)]), labels), tmp_path))
    assert layers["scene 0"].findtext("datasource") == source


def test_a_signed_address_is_left_out_and_its_signature_is_nowhere(
    ref: SceneRef, labels: LabelSet, tmp_path: Path
) -> None:
    bare = "https://example.org/a.tif"
    signed = replace(ref, path=bare, address=f"{bare}?sig=SECRET")
    text = project_of(region_of([signed]), labels).text(tmp_path)
    assert "SECRET" not in text
    root = ET.fromstring(text)  # noqa: S314  # our own
    assert "scene 0" not in layers_of(root)
    assert any("1 left out" in node["name"] for node in tree_of(root))


def test_more_scenes_than_qgis_opens_in_a_moment_become_a_note(
    ref: SceneRef, labels: LabelSet, tmp_path: Path
) -> None:
    for count, opened in ((MOST_FILES, MOST_FILES), (MOST_FILES + 1, 0)):
        root = parsed(project_of(region_of([ref] * count), labels), tmp_path)
        assert sum(name.startswith("scene ") for name in layers_of(root)) == opened
        group = next(node for node in tree_of(root) if node["name"].startswith("scenes"))
        assert (f"{count} files are too many" in group["name"]) == (not opened)


def test_several_class_rasters_are_a_group(ref: SceneRef, labels: LabelSet, tmp_path: Path) -> None:
    one = project_of(region_of([ref]), labels)
    for count in (2, MOST_FILES + 1):
        several = replace(one, rasters=[f"classes/{number}.tif" for number in range(count)])
        root = parsed(several, tmp_path)
        found = [layer for name, layer in layers_of(root).items() if name.startswith("classes")]
        assert len(found) == (count if count <= MOST_FILES else 0)
        assert all(layer.find("./pipe/rasterrenderer[@type='paletted']") is not None for layer in found)
        assert sum(node["name"].startswith("classes (") for node in tree_of(root)) == (count > MOST_FILES)


def test_bands_in_several_files_are_a_layer_each(ref: SceneRef, labels: LabelSet, tmp_path: Path) -> None:
    parts = tuple(replace(ref, path=f"/data/{name}.tif", bands=(1,)) for name in ("B4", "B3"))
    scene = replace(region_of([ref]).scenes[0], parts=parts)
    layers = layers_of(parsed(project_of(Region(ref.grid, (scene,)), labels), tmp_path))
    for name in ("B4", "B3"):
        renderer = layers[f"scene 0: {name}.tif"].find("./pipe/rasterrenderer")
        assert renderer is not None
        assert (renderer.attrib["type"], renderer.attrib["grayBand"]) == ("singlebandgray", "1")


def test_it_begins_with_the_data_in_the_crs_of_the_grid(ref: SceneRef, labels: LabelSet, tmp_path: Path) -> None:
    project = replace(project_of(region_of([ref]), labels), shown=Window(10, 20, 5, 30))
    root = parsed(project, tmp_path)
    left, top = ref.grid.transform @ (20, 10)
    expected = {"xmin": left, "ymin": top - 5, "xmax": left + 30, "ymax": top}
    extent = root.find("./mapcanvas/extent")
    assert extent is not None
    assert {edge.tag: float(edge.text or "") for edge in extent} == expected
    whole = root.find("./ProjectViewSettings/DefaultViewExtent")
    assert whole is not None
    assert {key: float(value) for key, value in whole.attrib.items()} == expected
    for path in ("./projectCrs", "./mapcanvas/destinationsrs"):
        assert CRS.from_wkt(root.findtext(f"{path}/spatialrefsys/wkt", "")) == CRS.from_epsg(32640)


def test_an_incomplete_run_says_so_in_its_title(ref: SceneRef, labels: LabelSet, tmp_path: Path) -> None:
    for missing in (0, 3):
        project = project_of(region_of([ref]), labels, missing)
        assert parsed(project, tmp_path).findtext("title") == project.title
        assert project.title.startswith("INCOMPLETE (3 block(s) failed") == bool(missing)
        assert RUN_ID[:12] in project.title


def test_a_scene_has_its_own_crs_or_the_one_that_the_user_said(
    write_raster: WriteRaster, rgb: Imagery, labels: LabelSet, tmp_path: Path
) -> None:
    image_chw = np.full((3, 40, 60), 9, np.uint8)
    bare = describe_scene(
        str(write_raster(image_chw, crs=None)), rgb, SceneOptions(assume_crs="EPSG:32639", crs="EPSG:32640")
    )
    other = describe_scene(str(write_raster(image_chw, crs="EPSG:32638")), rgb, SceneOptions(crs="EPSG:32640"))
    layers = layers_of(parsed(project_of(region_of([bare, other]), labels), tmp_path))
    assert crs_of(layers["scene 0"]) == CRS.from_epsg(32639)
    assert crs_of(layers["scene 1"]) == CRS.from_epsg(32638)
    assert crs_of(layers["buildings"]) == CRS.from_epsg(32640)


def test_bands_and_brightness_of_a_scene_are_those_it_is_read_with(
    ref: SceneRef, labels: LabelSet, tmp_path: Path
) -> None:
    dark = replace(ref, bands=(4, 3, 2), dtype="uint16", stretch=((0, 10), (0, 20), (5, 30)))
    unsaid = replace(dark, stretch=None)
    layers = layers_of(parsed(project_of(region_of([dark, unsaid]), labels), tmp_path))
    for name, limits in (("scene 0", "None"), ("scene 1", "CumulativeCut")):
        renderer = layers[name].find("./pipe/rasterrenderer")
        assert renderer is not None
        assert [renderer.attrib[f"{colour}Band"] for colour in ("red", "green", "blue")] == ["4", "3", "2"]
        assert renderer.findtext("./minMaxOrigin/limits") == limits
    assert [float(high.text or "") for high in layers["scene 0"].iterfind(".//maxValue")] == [10, 20, 30]


def test_a_layer_may_be_called_like_anything_else_in_the_project(ref: SceneRef, tmp_path: Path) -> None:
    names = ("classes", "scene_0")
    labels = LabelSet(tuple(LabelClass(name, name, "stuff", "#000000") for name in names))
    layers = {name: LayerPlace(f"layers/{name}.geojson", "EPSG:4326") for name in names}
    root = parsed(replace(project_of(region_of([ref]), labels), layers=layers), tmp_path)
    ids = [layer.findtext("id") for layer in root.iterfind("./projectlayers/maplayer")]
    assert len(ids) == len(set(ids)) == 4
