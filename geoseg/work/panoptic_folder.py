"""The folder of a panoptic export: made of a run that is what its markers say, and there whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geoseg.errors import GeosegError
from geoseg.io.coco_panoptic import DOCUMENT, PNGS
from geoseg.io.run_folder import RunFolder
from geoseg.io.whole_folder import whole_folder
from geoseg.labels import LabelSet
from geoseg.progress import stage_progress
from geoseg.run import Run
from geoseg.work.checked_objects import checked_objects
from geoseg.work.panoptic import PanopticFiles, PanopticPictures


def write_panoptic_folder(
    run: Run, labels: LabelSet, shapes: Mapping[str, Any], output: Path, tile_px: int, *, force: bool
) -> PanopticFiles:
    """Write panoptic.json and the PNGs in panoptic/.

    Args:
        run: The run.
        labels: Its classes.
        shapes: What its objects depend on besides the mosaic, as plan.json has it.
        output: A folder that is not there, or empty.
        tile_px: Side of the PNGs.
        force: Whether an earlier export at its place is replaced; nothing else ever is.

    Raises:
        GeosegError: Something is there already, the side is not one, or a PNG has more objects than numbers.
        RunFolderError: What the run left is missing or damaged.
        StoppedError: The disk is full.
    """
    if output.exists() and not output.is_dir():
        raise GeosegError(f"expected a folder to write, got a file: {output}")
    if output.exists() and any(output.iterdir()) and not force:
        raise GeosegError(f"{output} holds something already: name another folder, or replace it with --force")
    folder = RunFolder(run.path)
    blocks, instances = checked_objects(folder, run.grid, labels, shapes)
    pictures = PanopticPictures(folder.mosaic, run.grid, labels, blocks, instances, tile_px)
    info = {
        "run": run.record.plan_hash,
        "status": run.status,
        "failed_blocks": len(run.failed_blocks),
        "grid": run.grid.to_json(),
    }
    total_px = 2 * sum(block.window.height * block.window.width for block in blocks)
    with stage_progress("panoptic", total_px) as advance:
        return whole_folder(
            output, lambda part: pictures.write(part, info, advance), (DOCUMENT, PNGS) if force else ()
        )
