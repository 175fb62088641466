"""How QGIS draws layers and the class raster by default: its style documents (QML), in the classes' colours."""

from xml.etree import ElementTree as ET

from geoseg.labels import LabelClass, LabelSet

DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
"""How all XML of QGIS begins."""

QGIS_VERSION = "3.22.0"
"""Whose XML is written; later versions read it."""

_FILL_ALPHA = 102
"""Of 255: the image below is seen through a filled object."""

_DARKER = 0.6
"""An outline's colour over that of its fill, so that it is told from a fill below it."""

_OUTLINE_MM = "0.2"
"""Thin, so that thousands of small objects do not merge into one."""


_LINE_MM = "0.5"


def layer_style(label: LabelClass) -> str:
    """The style of a layer: objects filled with the class's colour, half transparent, in a thin darker outline.

    Args:
        label: The class whose objects the layer holds.

    Returns:
        QML: what lies beside a vector file as `.qml`, or in a GeoPackage's table `layer_styles`.
    """
    return _document(outlined_fill(label))


def classes_style(labels: LabelSet) -> str:
    """The style of a class raster: each class in its colour and by its name, all else transparent.

    Args:
        labels: Names and colours by the raster's values.

    Returns:
        QML: what lies beside a raster as `.qml`.
    """
    return _document(class_palette(labels))


def outlined_fill(label: LabelClass) -> ET.Element:
    """The renderer of a vector layer, as style and project hold it."""
    renderer = ET.Element(
        "renderer-v2",
        {"type": "singleSymbol", "enableorderby": "0", "forceraster": "0", "symbollevels": "0"},
    )
    symbols = ET.SubElement(renderer, "symbols")
    symbol = ET.SubElement(
        symbols, "symbol", {"type": "fill", "name": "0", "alpha": "1", "clip_to_extent": "1", "force_rhr": "0"}
    )
    layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    properties = ET.SubElement(layer, "Option", {"type": "Map"})
    dark = tuple(round(_DARKER * value) for value in label.rgb)
    for name, value in (
        ("color", _rgba(label.rgb, _FILL_ALPHA)),
        ("joinstyle", "bevel"),
        ("outline_color", _rgba(dark, 255)),
        ("outline_style", "solid"),
        ("outline_width", _OUTLINE_MM),
        ("outline_width_unit", "MM"),
        ("style", "solid"),
    ):
        ET.SubElement(properties, "Option", {"name": name, "type": "QString", "value": value})
    ET.SubElement(renderer, "rotation")
    ET.SubElement(renderer, "sizescale")
    return renderer


def line_style(label: LabelClass) -> str:
    """The style of the lines of a network: in the class's colour, darker, so that it is told from its objects.

    Args:
        label: The class.

    Returns:
        QML, as of `layer_style`.
    """
    return _document(network_line(label))


def node_style(label: LabelClass) -> str:
    """The style of the nodes of a network: junctions are filled, dead ends and points on a ring small and white.

    Args:
        label: The class.

    Returns:
        QML, as of `layer_style`.
    """
    return _document(network_nodes(label))


def network_line(label: LabelClass) -> ET.Element:
    """The renderer of a network's lines, as style and project hold it."""
    renderer = ET.Element(
        "renderer-v2",
        {"type": "singleSymbol", "enableorderby": "0", "forceraster": "0", "symbollevels": "0"},
    )
    _add_symbol(
        ET.SubElement(renderer, "symbols"),
        "0",
        "line",
        "SimpleLine",
        {
            "capstyle": "round",
            "joinstyle": "round",
            "line_color": _rgba(_dark(label), 255),
            "line_style": "solid",
            "line_width": _LINE_MM,
            "line_width_unit": "MM",
        },
    )
    ET.SubElement(renderer, "rotation")
    ET.SubElement(renderer, "sizescale")
    return renderer


def network_nodes(label: LabelClass) -> ET.Element:
    """The renderer of a network's nodes, as style and project hold it."""
    renderer = ET.Element(
        "renderer-v2", {"type": "RuleRenderer", "enableorderby": "0", "forceraster": "0", "symbollevels": "0"}
    )
    rules = ET.SubElement(renderer, "rules", {"key": "nodes"})
    symbols = ET.SubElement(renderer, "symbols")
    dark = _rgba(_dark(label), 255)
    kinds = (
        ("junction", '"degree" > 2', dark, "2.2"),
        ("dead end", '"degree" = 1', "255,255,255,255", "1.4"),
        ("ring", '"degree" = 2', "255,255,255,255", "1.4"),
    )
    for number, (name, condition, color, size) in enumerate(kinds):
        rule = {"key": name.replace(" ", "_"), "symbol": str(number), "label": name, "filter": condition}
        ET.SubElement(rules, "rule", rule)
        properties = {
            "color": color,
            "name": "circle",
            "outline_color": dark,
            "outline_style": "solid",
            "outline_width": _OUTLINE_MM,
            "outline_width_unit": "MM",
            "size": size,
            "size_unit": "MM",
        }
        _add_symbol(symbols, str(number), "marker", "SimpleMarker", properties)
    return renderer


def _add_symbol(parent: ET.Element, name: str, kind: str, layer: str, properties: dict[str, str]) -> None:
    symbol = ET.SubElement(
        parent, "symbol", {"type": kind, "name": name, "alpha": "1", "clip_to_extent": "1", "force_rhr": "0"}
    )
    drawn = ET.SubElement(symbol, "layer", {"class": layer, "enabled": "1", "locked": "0", "pass": "0"})
    options = ET.SubElement(drawn, "Option", {"type": "Map"})
    for key, value in properties.items():
        ET.SubElement(options, "Option", {"name": key, "type": "QString", "value": value})


def _dark(label: LabelClass) -> tuple[int, ...]:
    return tuple(round(_DARKER * value) for value in label.rgb)


def class_palette(labels: LabelSet) -> ET.Element:
    """The pipe of a class raster, as style and project hold it."""
    pipe = ET.Element("pipe")
    # A value that is no entry of the palette is drawn as nothing, and so is what the file calls nodata.
    renderer = ET.SubElement(
        pipe, "rasterrenderer", {"type": "paletted", "band": "1", "alphaBand": "-1", "opacity": "1"}
    )
    ET.SubElement(renderer, "rasterTransparency")
    palette = ET.SubElement(renderer, "colorPalette")
    for value, label in enumerate(labels.classes):
        entry = {"value": str(value), "label": label.name, "color": label.color, "alpha": "255"}
        ET.SubElement(palette, "paletteEntry", entry)
    return pipe


def _document(content: ET.Element) -> str:
    root = ET.Element("qgis", {"version": QGIS_VERSION, "styleCategories": "Symbology"})
    root.append(content)
    return as_text(root)


def as_text(root: ET.Element) -> str:
    """A whole document of QGIS, indented, with its doctype."""
    ET.indent(root, " ")
    return DOCTYPE + ET.tostring(root, encoding="unicode") + "\n"


def _rgba(rgb: tuple[int, ...], alpha: int) -> str:
    return ",".join(map(str, (*rgb, alpha)))
