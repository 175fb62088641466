from xml.etree import ElementTree as ET

from geoseg.io.qgis_styles import classes_style, layer_style
from geoseg.labels import LabelClass, LabelSet

_WATER = LabelClass("water", "waters", "stuff", "#3182bd")
_LABELS = LabelSet(
    (LabelClass("building", "buildings", "thing", "#d7301f"), _WATER, LabelClass("other", None, "stuff", "#ffffbf"))
)


def _properties(style: str) -> dict[str, str]:
    root = ET.fromstring(style)  # noqa: S314  # our own
    return {option.attrib["name"]: option.attrib["value"] for option in root.iterfind(".//layer/Option/Option")}


def test_a_layer_is_filled_with_its_class_s_colour_seen_through_in_a_thin_dark_outline() -> None:
    properties = _properties(layer_style(_WATER))
    *fill, alpha = map(int, properties["color"].split(","))
    *outline, opaque = map(int, properties["outline_color"].split(","))
    assert tuple(fill) == _WATER.rgb
    assert 0 < alpha < 255
    assert opaque == 255
    assert all(dark < light for dark, light in zip(outline, fill, strict=True))
    assert float(properties["outline_width"]) < 0.26  # QGIS's own default, in mm
    assert properties["outline_width_unit"] == "MM"


def test_the_class_raster_has_every_class_by_value_name_and_colour_and_nothing_else() -> None:
    root = ET.fromstring(classes_style(_LABELS))  # noqa: S314  # our own
    assert [
        (entry.attrib["value"], entry.attrib["label"], entry.attrib["color"], entry.attrib["alpha"])
        for entry in root.iterfind("./pipe/rasterrenderer[@type='paletted']/colorPalette/paletteEntry")
    ] == [
        ("0", "building", "#d7301f", "255"),
        ("1", "water", "#3182bd", "255"),
        ("2", "other", "#ffffbf", "255"),
    ]


def test_a_style_changes_how_a_layer_is_drawn_and_leaves_the_rest_of_it() -> None:
    for style in (layer_style(_WATER), classes_style(_LABELS)):
        assert ET.fromstring(style).attrib["styleCategories"] == "Symbology"  # noqa: S314  # our own


def test_the_same_classes_give_the_same_text() -> None:
    assert layer_style(_WATER) == layer_style(LabelClass("water", "waters", "stuff", "#3182bd"))
    assert classes_style(_LABELS) == classes_style(LabelSet(_LABELS.classes))
