"""The Item of a run: what it mapped, where, from which scenes and when, and what it wrote."""

from collections.abc import Mapping, Sequence
from typing import Any

import geoseg
from geoseg.io.addresses import shown
from geoseg.io.region import Scene
from geoseg.outcome import MosaicState
from geoseg.plan import RunPlan
from geoseg.stac import fields
from geoseg.stac.footprint import Footprint
from geoseg.stac.moments import moments

_MOST_NAMED = 3
"""Scenes that are named in words."""

_PUBLIC = ("https://", "s3://", "gs://", "az://")
"""Addresses that mean the same elsewhere; of paths, and of this machine's own servers, only names are told."""


def run_item(
    plan: RunPlan,
    state: MosaicState,
    assets: Mapping[str, Any],
    where: Footprint | None,
    model: Mapping[str, Any],
    *,
    model_href: str,
    failed_blocks: int,
) -> dict[str, Any]:
    """The Item, as JSON.

    Args:
        plan: The run, decided.
        state: Its mosaic.
        assets: Its files, by key.
        where: Where it holds data.
        model: The model's Item.
        model_href: Where that lies, as seen from this one.
        failed_blocks: How many blocks are missing.
    """
    scenes = plan.region.scenes
    undated = sum(scene.date is None for scene in scenes)
    properties = {
        **moments(scene.date for scene in scenes),
        "title": f"Land cover: {_named(scenes)}",
        "description": _description(plan, undated, failed_blocks),
        **fields.placing(plan.region.grid.crs),
        "processing:level": "L4",
        "processing:lineage": _lineage(plan, failed_blocks),
        "processing:software": {"geoseg": geoseg.__version__, **_torch(state)},
        "processing:expression": {"format": "stac-mlm", "expression": model_href},
        "geoseg:run": plan.plan_hash,
        "geoseg:status": "incomplete" if failed_blocks else "complete",
        "geoseg:missing_blocks": failed_blocks,
        "geoseg:scenes": [_scene(scene) for scene in scenes],
        "geoseg:scenes_without_date": undated,
        "geoseg:layers": plan.layers_content,
    }
    return {
        "type": "Feature",
        "stac_version": fields.STAC_VERSION,
        "stac_extensions": [
            fields.CLASSIFICATION,
            fields.FILE,
            fields.PROCESSING,
            fields.PROJECTION,
            fields.RASTER,
        ],
        "id": f"geoseg-{plan.plan_hash}",
        "geometry": None if where is None else where.geometry,
        # An Item without a geometry must have none.
        **({} if where is None else {"bbox": list(where.bbox)}),
        "properties": properties,
        "links": [_model_link(model, model_href), *(link for scene in scenes for link in _scene_links(scene))],
        "assets": dict(assets),
    }


def _named(scenes: Sequence[Scene]) -> str:
    names = ", ".join(scene.name for scene in scenes[:_MOST_NAMED])
    return names if len(scenes) <= _MOST_NAMED else f"{names} and {len(scenes) - _MOST_NAMED} more"


def _missing(plan: RunPlan, failed_blocks: int) -> str:
    if not failed_blocks:
        return ""
    return f"INCOMPLETE: {failed_blocks} of {len(plan.work)} blocks failed and are nodata. "


def _description(plan: RunPlan, undated: int, failed_blocks: int) -> str:
    scenes = plan.region.scenes
    words = f"{_missing(plan, failed_blocks)}{', '.join(plan.labels.names)}, mapped by the model {plan.model_name}."
    if undated == len(scenes):
        words += " The date of the imagery is unknown: the span stands for any time."
    elif undated:
        words += f" The span is that of the scenes with a date; {undated} of {len(scenes)} have none."
    return words


def _lineage(plan: RunPlan, failed_blocks: int) -> str:
    grid, lattice, scenes = plan.region.grid, plan.blocks.lattice, plan.region.scenes
    options = plan.layers
    several = f", merged by the rule {plan.region.merge}" if len(scenes) > 1 else ""
    area = "" if plan.aoi is None else f", within the polygons of {plan.aoi.name}"
    sure = "".join(f", {name} from a probability of {share:g}" for name, share in options.thresholds)
    # As the briefing says it.
    outlines = ", ".join(plan.layering.in_words)
    return (
        f"{_missing(plan, failed_blocks)}{len(scenes)} scene(s) ({_named(scenes)}){several} on a grid of "
        f"{grid.height} x {grid.width} pixels{area}; classes and confidence by the model {plan.model_name} "
        f"(identity sha256 {plan.model_identity}) in tiles of {lattice.tile_px} pixels that overlap by "
        f"{lattice.overlap_px} and are blended; objects joined across blocks{sure}, {outlines}."
    )


def _torch(state: MosaicState) -> dict[str, str]:
    """The torch that blocks were computed with; where there were several, all of them."""
    versions = sorted({str(numerics["torch"]) for numerics, _ in state.numerics})
    return {"torch": ", ".join(versions)} if versions else {}


def _scene(scene: Scene) -> dict[str, Any]:
    return {
        "name": scene.name,
        "date": scene.date,
        "fingerprints": [part.fingerprint for part in scene.parts],
    }


def _model_link(model: Mapping[str, Any], href: str) -> dict[str, Any]:
    name = model["properties"]["mlm:name"]
    return {
        "rel": "derived_from",
        "href": href,
        "type": fields.ITEM_TYPE,
        "title": f"Model {name}",
        "mlm:name": name,
    }


def _scene_links(scene: Scene) -> list[dict[str, Any]]:
    """Where a scene's files are for everyone, without signatures."""
    addresses = [shown(part.path) for part in scene.parts]
    return [
        {"rel": "derived_from", "href": address, "title": scene.name}
        for address in addresses
        if address.startswith(_PUBLIC)
    ]
