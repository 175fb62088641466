"""Whether a run on disk is still what its markers say, byte by byte."""

from dataclasses import dataclass
from typing import Any

from geoseg.errors import RunFolderError
from geoseg.io.audit import Difference, audit, forget
from geoseg.io.ledger import canonical_hash
from geoseg.io.place import Place
from geoseg.io.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found.

    Attributes:
        files: How many files are as their markers say.
        differences: Those that are not.
        missing_blocks: How many blocks of the plan have no marker.
        numerics: Each kind of numerics, with the keys of the blocks that were computed on it.
    """

    files: int
    differences: tuple[Difference, ...]
    missing_blocks: int
    numerics: tuple[tuple[dict[str, Any], tuple[str, ...]], ...]


def verify_run(path: Place) -> Verification:
    """Hash all files of a run again and compare them with its markers.

    Args:
        path: The RUN folder.

    Raises:
        RunFolderError: There is no run.
    """
    run = RunFolder(path)
    planned = _planned_blocks(run)
    found = audit(run)
    damaged = {one.unit for one in found.differences if one.damage is not None}
    done = [key for key in run.ledger("mosaic").done() if ("mosaic", key) not in damaged]
    return Verification(found.files, found.differences, max(0, planned - len(done)), _numerics(run, done))


def mend_run(path: Place) -> int:
    """Forget what `verify_run` finds to differ, so that the same run again does it again.

    Args:
        path: The RUN folder.

    Returns:
        How many units of work are to be done again.

    Raises:
        RunFolderError: There is no run, or another process is working on it.
    """
    run = RunFolder(path)
    _planned_blocks(run)
    with run.owned() as owned:
        differences = audit(owned).differences
        if differences:
            # With it the folder would count as complete.
            owned.forget_record()
        return forget(owned, differences)


def _planned_blocks(run: RunFolder) -> int:
    """How many blocks the plan has; 0 where plan.json is damaged, which the audit names.

    Raises:
        RunFolderError: There is no run.
    """
    try:
        plan = run.existing_plan()
    except RunFolderError:
        if not run.mosaic.path.exists() or not run.plan_file.is_file():
            raise
        return 0
    if plan is None:
        raise RunFolderError(f"expected a RUN folder that geoseg map wrote, got {run.path}")
    blocks = plan.get("blocks")
    return blocks if isinstance(blocks, int) else 0


def _numerics(run: RunFolder, keys: list[str]) -> tuple[tuple[dict[str, Any], tuple[str, ...]], ...]:
    kinds: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for key in sorted(keys):
        record = run.ledger("mosaic").record(key)
        if record["valid_px"]:
            kinds.setdefault(canonical_hash(record["numerics"]), (record["numerics"], []))[1].append(key)
    return tuple((numerics, tuple(names)) for numerics, names in kinds.values())
