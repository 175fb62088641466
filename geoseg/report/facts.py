"""What a page says of a run in words and figures."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geoseg.io.record import LayersRecord, RunRecord
from geoseg.report.page_parts import PageParts
from geoseg.report.units import area, count, length

_NAMED = 12
"""Scenes, blocks and files of a kind that are named one by one."""

_STAGE_WORDS = {
    "mosaic": "prediction",
    "cog": "class raster",
    "index": "index of class rasters",
    "objects": "objects of each block",
    "seams": "objects across borders",
    "whole": "whole objects, straight walls",
    "overlaps": "overlaps of walls",
    "splits": "cuts through other objects",
    "roads": "road pixels",
    "skeleton": "centre-lines",
    "pieces": "lines of each block",
    "network": "lines across borders",
    "page": "pictures of this page",
    "project": "QGIS project",
    "stac": "STAC Item",
}
"""What readers call a stage."""

_FORMAT_WORDS = {
    "zarr": "Classes and confidence (Zarr)",
    "cog": "Class of every pixel (Cloud Optimized GeoTIFF)",
    "gpkg": "Layers (GeoPackage)",
    "gpkg-index": "Where the class rasters lie (GeoPackage)",
    "geojson": "Layer (GeoJSON)",
    "geojsonseq": "Layer (GeoJSON, a feature a line)",
    "fgb": "Layer (FlatGeobuf)",
    "parquet": "Layer (GeoParquet)",
    "pmtiles": "Layers (PMTiles)",
    "qgs": "Project for QGIS",
    "png": "Picture",
    "stac": "STAC Item",
}
"""What a file is, by its format; other files are not named."""


@dataclass(frozen=True, slots=True)
class LayerFact:
    """A row of the table of layers.

    Attributes:
        name: The layer.
        class_name: Its class.
        color: "#rrggbb".
        count: Objects, or lines.
        extent: Their areas together, or their lengths, in words.
        is_lines: Whether they are lines.
        listed: How many of them the page holds.
    """

    name: str
    class_name: str
    color: str
    count: int
    extent: str
    is_lines: bool
    listed: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a page says in text.

    Attributes:
        title: Of the page: the scene's name, or how many there are.
        status: "complete" or "incomplete".
        summary: A line below the title.
        layers: Figures of each layer.
        shares: Of the pixels with data, the share of each class; name, colour, share.
        plan: What was asked for and how it was done: label and words.
        stages: Name and seconds of each stage of the last command.
        total_s: All of them.
        scenes: Name and date, or None, of the first scenes.
        more_scenes: How many there are besides.
        warnings: What is doubtful.
        failed: Blocks that could not be done, and why.
        left_out: Scenes that are no part of the map, and why.
        files: Path within the RUN folder, what it is, and whether a browser can open or save it: it is no folder.
        model: What the card says: label and words.
        metrics: By split: name, mean IoU, pixel accuracy, regions, and the classes' IoU.
        attribution: Whose data and weights the model stands on.
        licence: Of the model.
        versions: Of the programs.
    """

    title: str
    status: str
    summary: str
    layers: tuple[LayerFact, ...]
    shares: tuple[tuple[str, str, float], ...]
    plan: tuple[tuple[str, str], ...]
    stages: tuple[tuple[str, float], ...]
    total_s: float
    scenes: tuple[tuple[str, str | None], ...]
    more_scenes: int
    warnings: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str, bool], ...]
    model: tuple[tuple[str, str], ...]
    metrics: tuple[dict[str, Any], ...]
    attribution: tuple[str, ...]
    licence: str
    versions: str

    @property
    def truncated(self) -> tuple[LayerFact, ...]:
        """Layers that have more objects than the page holds."""
        return tuple(layer for layer in self.layers if layer.listed < layer.count)

    @classmethod
    def of(cls, record: RunRecord, plan: Mapping[str, Any], parts: PageParts) -> "Facts":
        """What there is to say.

        Args:
            record: The content of run.json.
            plan: The content of plan.json.
            parts: What the page is made of besides.
        """
        card = parts.card
        scenes = tuple((str(scene["name"]), scene["date"]) for scene in plan.get("scenes", ()))
        layers = tuple(
            LayerFact(
                name=one["name"],
                class_name=one["class"],
                color=one["color"],
                count=one["count"],
                extent=length(one["length_m"]) if "length_m" in one else area(one["area_m2"]),
                is_lines="length_m" in one,
                listed=one["listed"],
            )
            for one in parts.map["layers"]
        )
        colors = {label.name: label.color for label in card.classes}
        of_objects = [layer for layer in layers if not layer.is_lines]
        in_layers = f"{count(sum(layer.count for layer in of_objects))} objects in {len(of_objects)} layers"
        in_layers += "".join(f" · {layer.extent} of {layer.name}" for layer in layers if layer.is_lines)
        stages = tuple(
            (_STAGE_WORDS.get(name, name), stage.seconds) for name, stage in record.stages.items() if stage.seconds
        )
        title = scenes[0][0] if len(scenes) == 1 else f"{count(len(scenes))} scenes"
        dates = sorted({date[:10] for _, date in scenes if date})
        when = "" if not dates else f" · {dates[0]}" if len(dates) == 1 else f" · {dates[0]} to {dates[-1]}"
        return cls(
            title=title,
            status=record.status,
            summary=f"{in_layers}{when} · model {record.model.name}",
            layers=layers,
            shares=tuple((name, colors[name], share) for name, share in parts.map["shares"].items()),
            plan=_plan_rows(record, parts),
            stages=stages,
            total_s=sum(duration for _, duration in stages),
            scenes=scenes[:_NAMED],
            more_scenes=max(0, len(scenes) - _NAMED),
            warnings=record.warnings,
            failed=tuple((one.block, one.error) for one in record.blocks.quarantined),
            left_out=tuple((one.name, one.reason) for one in record.scenes_left_out),
            files=_files(record),
            model=_model_rows(record, parts),
            metrics=tuple({"split": split, **metrics.model_dump()} for split, metrics in card.metrics.items()),
            attribution=card.attribution,
            licence=card.licence,
            versions=", ".join(f"{name} {version}" for name, version in record.versions.items()),
        )


def _by_class(areas_m2: dict[str, float]) -> str:
    """Areas in words, one for all classes where they are the same; nothing where they are 0."""
    if len(set(areas_m2.values())) <= 1:
        return next((area(one) for one in areas_m2.values() if one), "")
    return ", ".join(f"{name} {area(one)}" for name, one in areas_m2.items())


def _outlines(layers: LayersRecord) -> list[str]:
    simplified = f"simplified by {layers.simplify_m:g} m" if layers.simplify_m else "exactly those of pixels"
    straight = f"straight walls: {', '.join(layers.regularize)}" if layers.regularize else ""
    return [words for words in ("smoothed" if layers.smooth else "", simplified, straight) if words]


def _plan_rows(record: RunRecord, parts: PageParts) -> tuple[tuple[str, str], ...]:
    grid, layers, blocks = record.grid, record.layers, record.blocks
    height_m, width_m = parts.map["ground_m"]
    thresholds = ", ".join(f"{name} from {least:g}" for name, least in layers.thresholds.items())
    crs = grid.crs if len(grid.crs) < 40 else f"{grid.crs[:40]}…"
    kinds = sorted({f"{one.device}, {one.precision}" for one in record.machine.numerics})
    rows = (
        ("Grid", f"{count(grid.width)} x {count(grid.height)} pixels of {max(height_m, width_m):.3g} m, {crs}"),
        ("Smallest object", _by_class(layers.min_area_m2) or "none is too small"),
        ("Smallest hole", _by_class(layers.min_hole_m2) or "all stay"),
        ("Outlines", ", ".join(_outlines(layers))),
        ("Thresholds", thresholds),
        ("Classes with layers", ", ".join(layers.classes)),
        (
            "Blocks",
            f"{count(blocks.done)} of {count(blocks.total)} done, {count(blocks.skipped)} of them without data",
        ),
        ("Workers", f"{record.machine.workers} ({'; '.join(kinds)})" if kinds else str(record.machine.workers)),
        ("Run", record.plan_hash[:12]),
    )
    return tuple((label, words) for label, words in rows if words)


def _model_rows(record: RunRecord, parts: PageParts) -> tuple[tuple[str, str], ...]:
    card = parts.card
    imagery = card.imagery
    ground_m = imagery.ground_resolution_m
    regions = sum(len(metrics.regions) for metrics in card.metrics.values())
    limits = (
        f"It was measured on {regions} region(s), named below; elsewhere its quality is not known."
        if regions
        else "Nobody has measured its quality."
    )
    return (
        ("Name", card.name),
        ("What it is for", card.description),
        ("Tells apart", ", ".join(label.name for label in card.classes)),
        ("Expects", f"{', '.join(imagery.bands)} ({imagery.dtype}) at {ground_m:g} m a pixel"),
        ("Limits", limits),
        ("Network", f"{card.architecture.name}, weights sha256 {card.weights.sha256[:12]}"),
        ("Identity", record.model.identity[:12]),
    )


def _files(record: RunRecord) -> tuple[tuple[str, str, bool], ...]:
    """What lies beside the page; of many class rasters the first."""
    named: list[tuple[str, str, bool]] = []
    of_kind: Counter[str] = Counter()
    for output in record.outputs:
        of_kind[output.format] += 1
        words = _FORMAT_WORDS.get(output.format)
        if words is not None and of_kind[output.format] <= _NAMED:
            objects = "" if output.features is None else f", {count(output.features)} objects"
            named.append((output.path, words + objects, output.format != "zarr"))
    return tuple(named)
