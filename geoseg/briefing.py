"""A plan in words: what `geoseg map` prints before it begins."""

from collections.abc import Sequence

from geoseg.grid import parse_crs
from geoseg.groups import WHOLE_PX
from geoseg.io.candidate import Row
from geoseg.io.place import Place
from geoseg.io.scene_ref import SceneRef
from geoseg.layout import BLOCKS_PER_WORKER, MOST_EXCESS, excess
from geoseg.plan import RunPlan

_MOST_ROWS = 40
"""Scenes of the table; of more, those with problems come first and the rest are counted."""

_NAME_CHARS = 44


def briefing(plan: RunPlan, run: Place) -> list[str]:
    """The plan for people, a line each.

    Args:
        plan: The run, decided.
        run: Its folder.
    """
    blocks, numerics, region = plan.blocks, plan.numerics, plan.region
    evaluated, needed = blocks.tiles_evaluated, blocks.tiles_needed
    whole = "" if plan.aoi is None else "of the whole grid: "
    block_px = " x ".join(str(side) for side in blocks.block_px)
    outputs = [f"{run}/{name}" for name in ("mosaic.zarr", "classes.tif")]
    if blocks.height * blocks.width > WHOLE_PX:
        outputs[-1] += f" (or {run}/classes/*.tif, where data lies far apart)"
    for kind in plan.layers.formats:
        match kind:
            case "geojson":
                names = [layer for _, layer in plan.layering.classes]
                names += () if plan.layering.network is None else plan.layering.network.layers
                outputs += [f"{run}/layers/{layer}.geojson" for layer in names]
            case "gpkg":
                outputs.append(f"{run}/layers/geoseg.gpkg")
    outputs += [f"{run}/{name}" for name in ("preview.png", "map.qgs", "stac/item.json", "run.json", "report.html")]
    return [
        *(_scene_lines(plan) if len(plan.rows) < 2 else _table(plan.rows)),
        f"model    {plan.model_name} ({plan.model_path})",
        f"ground   {_ground(plan)}",
        f"grid     {blocks.height} x {blocks.width} px in {parse_crs(region.grid.crs).name}"
        + (f" ({plan.grid_rule})" if len(plan.rows) > 1 else ""),
        *(() if len(region.scenes) < 2 else (f"merge    {region.merge}", *_coverage(plan))),
        *(() if plan.aoi is None else (f"aoi      {plan.aoi.name}, {plan.aoi.share:.1%} of the grid",)),
        f"blocks   {len(plan.work)} of {block_px} px, in chunks of {blocks.chunk_px} px{_gave_way(plan)}",
        (
            f"tiles    {whole}{needed} of {blocks.lattice.tile_px} px, overlapping by "
            f"{blocks.lattice.overlap_px} px; {evaluated} evaluated, "
            f"{evaluated / needed:.2f} times what is needed"
        ),
        (
            f"reads    {plan.reads.amplification(plan.cache_mib):.2f} times what is needed of the files, "
            f"of which {plan.cache_mib} MiB are kept by each worker"
        ),
        (
            f"runs on  {plan.workers} worker(s) on {numerics.device} in {numerics.precision}, "
            f"{numerics.threads} thread(s) each, {plan.worker_bytes / 2**20:.0f} MiB each at most"
        ),
        f"layers   {', '.join(plan.layering.in_words)}"
        + "".join(f", {name} from a probability of {share:g}" for name, share in plan.layers.thresholds),
        *_things(plan),
        f"writes   {', '.join(outputs)} (mosaic {plan.mosaic_bytes / 2**20:.0f} MiB before compression)",
    ]


def _things(plan: RunPlan) -> list[str]:
    """How objects are told apart that touch."""
    panoptic = plan.panoptic
    if panoptic is None:
        return []
    names, grouping = " and ".join(plan.labels.names[thing] for thing in panoptic.things), panoptic.grouping
    reach, capture = f"offsets reach {grouping.reach_px} px (R)", f"within {grouping.capture_px} px (r)"
    return [f"things   {names} apart by their centres: {reach}, and lead to the nearest centre {capture}"]


def _scene_lines(plan: RunPlan) -> list[str]:
    """A single scene: its files and bands."""
    parts = plan.region.scenes[0].parts
    lines = [f"scene    {ref.path}, {ref.source_height} x {ref.source_width} px of {ref.dtype}" for ref in parts]
    names = iter(plan.imagery.bands)
    bands = ", ".join(f"{number} as {next(names)}" for ref in parts for number in ref.bands)
    rule = parts[0].band_rule if len(parts) == 1 else "a file each"
    stretch = "" if parts[0].stretch is None else f", stretched from {_stretch(parts)}"
    return [*lines, f"bands    {bands} ({rule}){stretch}"]


def _table(rows: Sequence[Row]) -> list[str]:
    """The scenes, a line each; those with problems first where there are too many to show all."""
    used = sum(row.used for row in rows)
    shown = list(rows)
    if len(rows) > _MOST_ROWS:
        shown = sorted(rows, key=lambda row: (row.used, not row.problem))[:_MOST_ROWS]
    width = max(len(_shortened(row.name)) for row in shown)
    lines = [f"scenes   {used} of {len(rows)} are mapped"]
    for row in shown:
        facts = f"{row.crs:<12}{row.gsd_m:>8.3g} m  {row.dtype:<8}bands {row.bands:<8}{(row.date or '-')[:10]:<12}"
        facts += f"{row.nodata_share:>4.0%} nodata  " if row.nodata_share == row.nodata_share else " " * 13
        facts = facts if row.crs else "cannot be mapped  "
        lines.append(f"         {_shortened(row.name):<{width}}  {facts}{row.problem}".rstrip())
    if len(rows) > len(shown):
        lines.append(f"         and {len(rows) - len(shown)} more")
    return lines


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_CHARS else f"...{name[3 - _NAME_CHARS :]}"


def _ground(plan: RunPlan) -> str:
    model, grid = f"{plan.imagery.ground_resolution_m:g}", _metres(plan.region.grid.ground_resolution_m())
    natives = [part.native_resolution_m for scene in plan.region.scenes for part in scene.parts]
    if len(natives) == 1:
        return f"scene {_metres(natives[0])} m, model {model} m, grid {grid} m a pixel"
    sides = [side for native in natives for side in native]
    return f"scenes {min(sides):.3g} to {max(sides):.3g} m, model {model} m, grid {grid} m a pixel"


def _coverage(plan: RunPlan) -> list[str]:
    """How much of the grid the scenes cover, how much lies in several of them, and what they leave of the area."""
    found = plan.coverage
    share = found.covered_px / (plan.blocks.height * plan.blocks.width)
    line = (
        f"covers   {found.covered_px / 1e6:.4g} Mpx, {share:.2%} of the grid; "
        f"{found.overlap_px / 1e6:.4g} Mpx lie in several scenes"
    )
    if plan.aoi is not None:
        line += f"; {found.gap_px / 1e6:.4g} Mpx of the area of interest in none"
    legend = "(. less than half a cell, : more, # several scenes)"
    return [line, *(f"         {row}" for row in found.picture), f"         {legend}"]


def _gave_way(plan: RunPlan) -> str:
    """What could not be had of blocks enough for the workers and tiles evaluated once, in words."""
    few = len(plan.blocks) < BLOCKS_PER_WORKER * plan.workers
    dear = excess(plan.blocks) > MOST_EXCESS
    match few, dear:
        case True, True:
            return f"; fewer than {BLOCKS_PER_WORKER} a worker, and more than {MOST_EXCESS:g} times the tiles"
        case True, False:
            return f"; fewer than {BLOCKS_PER_WORKER} a worker, for the sake of fewer tiles"
        case False, True:
            return f"; more than {MOST_EXCESS:g} times the tiles, for the sake of memory and workers"
    return ""


def _metres(resolution_yx: tuple[float, float]) -> str:
    y, x = resolution_yx
    return f"{y:.3g}" if abs(y - x) < 0.005 * x else f"{y:.3g} x {x:.3g}"


def _stretch(parts: Sequence[SceneRef]) -> str:
    pairs = dict.fromkeys(pair for ref in parts for pair in ref.stretch or ())
    return ", ".join(f"{low:g} to {high:g}" for low, high in pairs)
