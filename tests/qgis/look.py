"""What QGIS makes of a project, and of files that are opened alone; run by a Python that has PyQGIS.

python look.py PROJECT FOLDER [FILE ...] prints a JSON object and writes pictures into FOLDER: the project as it
opens, only its layers, only its class rasters and only its scenes, each on white.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsApplication,
    QgsMapLayer,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

SIDE_PX = 800


def told(layer: Any) -> dict[str, Any]:  # noqa: ANN401  # PyQGIS has no types
    """A layer in JSON."""
    renderer = layer.renderer() if layer.isValid() else None
    said = {
        "name": layer.name(),
        "valid": layer.isValid(),
        "source": layer.source(),
        "crs": layer.crs().authid(),
        "renderer": renderer and renderer.type(),
    }
    if renderer and layer.type() == QgsMapLayer.VectorLayer:
        said["features"] = sum(1 for _ in layer.getFeatures())
        if renderer.type() == "singleSymbol":
            fill = renderer.symbol().symbolLayer(0)
            said["fill"], said["outline"] = fill.fillColor().name(), fill.strokeColor().name()
            said["alpha"] = fill.fillColor().alpha()
    elif renderer and renderer.type() == "paletted":
        said["palette"] = [[int(one.value), one.label, one.color.name()] for one in renderer.classes()]
    return said


def draw(path: Path, layers: Sequence[Any], crs: Any, extent: Any) -> list[str]:  # noqa: ANN401
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(crs)
    settings.setOutputSize(QSize(SIDE_PX, SIDE_PX))
    settings.setExtent(QgsRectangle(extent))
    settings.setBackgroundColor(QColor("white"))
    settings.setFlag(QgsMapSettings.Antialiasing, False)
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(str(path))
    return [error.message for error in job.errors()]


def look(project_file: str, folder: Path, files: Sequence[str]) -> dict[str, Any]:
    project = QgsProject.instance()
    read = project.read(project_file)
    root = project.layerTreeRoot()
    ordered = root.layerOrder()
    extent = project.viewSettings().defaultViewExtent()
    vectors = [layer for layer in ordered if layer.type() == QgsMapLayer.VectorLayer]
    classes = [layer for layer in ordered if layer.name().startswith("classes")]
    scenes = [layer for layer in ordered if layer not in vectors and layer not in classes]
    shown = {"map": root.checkedLayers(), "layers": vectors, "classes": classes, "scenes": scenes}
    shown["map"] = [layer for layer in ordered if layer in shown["map"]]
    said = {
        "read": read,
        "error": project.error(),
        "title": project.title(),
        "crs": project.crs().authid(),
        "extent": [extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()],
        "layers": [{**told(node.layer()), "shown": node.isVisible()} for node in root.findLayers()],
        "errors": [
            error
            for name, some in shown.items()
            for error in draw(folder / f"{name}.png", some, project.crs(), extent)
        ],
    }
    alone = {}
    for file in files:
        kind = QgsRasterLayer if file.endswith(".tif") else QgsVectorLayer
        alone[file] = told(kind(file, Path(file).name))
    return {**said, "alone": alone}


if __name__ == "__main__":
    QgsApplication.setPrefixPath("/usr", True)
    application = QgsApplication([], False)
    application.initQgis()
    print(json.dumps(look(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])))
    sys.stdout.flush()
    # What QGIS does at its end, in the order that Python leaves objects in, is not what is looked at.
    os._exit(0)
