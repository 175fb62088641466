"""The objects of a finished run, once its mosaic and what else they are made of is what the run's markers say."""

from collections.abc import Iterable, Mapping
from typing import Any

from geoseg.errors import RunFolderError
from geoseg.grid import Grid
from geoseg.io.place import file_sha256
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelSet
from geoseg.tiling import Block
from geoseg.work.run_objects import ComponentObjects, RunObjects, data_blocks, objects_of


def checked_objects(
    run: RunFolder, grid: Grid, labels: LabelSet, shapes: Mapping[str, Any]
) -> tuple[tuple[Block, ...], RunObjects]:
    """The blocks that hold data, in row-major order, and the objects.

    Args:
        run: The RUN folder.
        grid: Of its mosaic.
        labels: Its classes.
        shapes: What its objects depend on besides the mosaic, as plan.json has it.

    Raises:
        RunFolderError: What the run left is missing or damaged.
    """
    blocks = data_blocks(run, grid, shapes)
    objects = objects_of(run, grid, labels, blocks, shapes)
    arrays = ("classes", "instances", *(("confidence",) if shapes["thresholds"] else ()))
    _check(run, [block.key for block in blocks], arrays, objects=isinstance(objects, ComponentObjects))
    return blocks, objects


def _check(run: RunFolder, keys: Iterable[str], arrays: tuple[str, ...], *, objects: bool) -> None:
    """Refuse a mosaic, or objects, that are not what their markers say: a chunk that is missing reads as nodata.

    Raises:
        RunFolderError: They are not.
    """
    prefixes = tuple(f"0/{array}/" for array in arrays)
    stage = "objects" if objects else "painted"
    done = run.ledger(stage).done()
    for key in keys:
        if key not in done:
            raise RunFolderError(f"the objects of block {key} of {run.path} are missing: {run.mending}")
        chunks = {**run.ledger("mosaic").record(key)["chunks"], **run.ledger(stage).record(key).get("chunks", {})}
        files = {f"{run.mosaic.path.name}/{name}": sha for name, sha in chunks.items() if name.startswith(prefixes)}
        _check_files(run, files)
        if objects:
            _check_files(run, run.ledger("objects").record(key)["files"])
    if objects:
        if not run.ledger("seams").done():
            raise RunFolderError(f"the seams of {run.path} are missing: {run.mending}")
        for _, marker in run.ledger("seams").records():
            _check_files(run, marker["files"])


def _check_files(run: RunFolder, files: Mapping[str, str | None]) -> None:
    for name, sha256 in files.items():
        file = run.path / name
        if (file_sha256(file) if file.is_file() else None) != sha256:
            raise RunFolderError(f"{file} is missing or damaged: {run.mending}")
