"""From labelled blocks to features: the stages, in order, and what is left to do of each."""

from collections.abc import Iterator, Sequence
from typing import Any

from geoseg.io.run_folder import RunFolder
from geoseg.runner import Job, Unit
from geoseg.tiling import Block, BlockPlan
from geoseg.work.features import PlaceFeatures, owner_keys
from geoseg.work.fitting import FindSplits, KeepApart, RegularizeObjects, write_boxes
from geoseg.work.outlines import TraceBlocks
from geoseg.work.stage_files import StageFiles
from geoseg.work.whole import Gathering

SHAPING = ("outlines", "whole", "overlaps", "splits", "features")
"""The stages; those between the first and the last are for regularized outlines."""


def shaping(
    gathering: Gathering, plan: BlockPlan, blocks: Sequence[Block]
) -> Iterator[tuple[str, Job[Any], list[Unit[Any]]]]:
    """The stages that are left to do, each when those before are done.

    Args:
        gathering: How objects are outlined and brought together.
        plan: Lattice and blocks.
        blocks: Those that hold data.

    Yields:
        Name of a stage, the kind of work, and its units.
    """
    run, depends = gathering.run, gathering.depends
    done = {stage: StageFiles(run, stage, depends).remove_others() for stage in (*SHAPING, "boxes")}

    def left(stage: str, job: Job[Any], keys: Sequence[str]) -> tuple[str, Job[Any], list[Unit[Any]]]:
        return stage, job, [Unit(key, key) for key in keys if key not in done[stage]]

    tracing = TraceBlocks(gathering, plan)
    yield "outlines", tracing, [Unit(block.key, block) for block in blocks if block.key not in done["outlines"]]
    owners = owner_keys(run, depends)
    if gathering.cleaning.regularize:
        yield left("whole", RegularizeObjects(gathering), owners)
        with_walls, with_others = write_boxes(run, depends)
        yield left("overlaps", KeepApart(run, depends), with_walls)
        yield left("splits", FindSplits(gathering), with_others)
    yield left("features", PlaceFeatures(gathering), owners)


def clean_up(run: RunFolder, depends: str) -> dict[str, Any]:
    """What cleaning changed, as the markers of the stages say.

    Args:
        run: The RUN folder.
        depends: Hash of all that outlines and what follows depend on.

    Returns:
        Counts and ground areas, as run.json has them.
    """
    sums: dict[str, float] = {}
    outcomes: dict[str, int] = {}
    for stage in SHAPING:
        for _, record in run.ledger(stage).records():
            if record["depends"] != depends:
                continue
            for name, count in record.get("outcomes", {}).items():
                outcomes[name] = outcomes.get(name, 0) + count
            for name in _FIGURES:
                if name in record:
                    figure = f"{stage}.{name}" if name == "vertices" else name
                    sums[figure] = sums.get(figure, 0) + record[name]
    return {
        "objects_removed": int(sums.get("removed", 0)),
        "objects_removed_m2": sums.get("removed_m2", 0.0),
        "holes_filled": int(sums.get("holes", 0)),
        "holes_filled_m2": sums.get("holes_m2", 0.0),
        "vertices_of_pixels": int(sums.get("outlines.vertices", 0)),
        "vertices": int(sums.get("features.vertices", 0)),
        "outlines": outcomes,
        "cut_back_m2": sums.get("cut_back_m2", 0.0),
        "parts_removed": int(sums.get("parts", 0)),
        "parts_removed_m2": sums.get("parts_m2", 0.0),
        "gaps_m2": sums.get("gaps_m2", 0.0),
    }


_FIGURES = (
    "removed",
    "removed_m2",
    "holes",
    "holes_m2",
    "vertices",
    "cut_back_m2",
    "parts",
    "parts_m2",
    "gaps_m2",
)
