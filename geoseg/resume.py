"""What a run that was begun before must be before it goes on: whole, of the same scene, on the same numerics."""

import shlex
from datetime import UTC, datetime
from typing import Any

from geoseg.errors import RunFolderError
from geoseg.io.audit import audit, forget
from geoseg.io.run_folder import RunFolder
from geoseg.outcome import MosaicState
from geoseg.plan import RunPlan
from geoseg.predict import differences
from geoseg.progress import warn

_MOST_NAMED = 10
"""Files that are named one by one, of those that are not as they were written."""


def mend(run: RunFolder) -> None:
    """Have work done again whose files are not what it left: lost in a power cut, say, or damaged since."""
    if not run.mosaic.path.exists():
        return
    # A chunk that no marker knows belongs to a block that was not finished, and is written again with it.
    differences = [one for one in audit(run).differences if one.unit is not None]
    for one in differences[:_MOST_NAMED]:
        warn(f"{one.line()}; what it belongs to is done again")
    if len(differences) > _MOST_NAMED:
        warn(f"{len(differences) - _MOST_NAMED} more files are not as they were written and are done again")
    forget(run, differences)


def _refuse_other_files(plan: RunPlan, run: RunFolder) -> None:
    """Refuse to add blocks to those of a scene that was written again since.

    Its fingerprint may be the same: of a large file not all is hashed.

    Raises:
        RunFolderError: It was.
    """
    begun = {before["name"]: before for before in (run.existing_plan() or {}).get("files", ())}
    for stamp, now in zip(plan.region.stamps, plan.files, strict=True):
        before = begun.get(now["name"], now)
        if before != now:
            when = datetime.fromtimestamp(before["changed_ns"] // 10**9, UTC)
            stamped = f"{when:%Y-%m-%d %H:%M:%S}.{before['changed_ns'] % 10**9:09d} UTC"
            raise RunFolderError(
                f"{stamp.path} was written again since {run.path} was begun, and new blocks might not fit those "
                f"that are there. If its content is still the same, say so with: touch -d '{stamped}' "
                f"{shlex.quote(stamp.path)}; else start over with --fresh"
            )


def keep_plan(plan: RunPlan, run: RunFolder, *, mixed_numerics: bool) -> tuple[dict[str, Any], ...]:
    """Write plan.json, unless blocks would be computed otherwise than those that are there.

    Returns:
        The numerics of which any must be those of the rest; none where they may be whatever.

    Raises:
        RunFolderError: They would, and that was not asked for.
    """
    state = MosaicState.of(run.ledger("mosaic"))
    now = plan.numerics.fingerprint()
    if len(state.done) < len(plan.work) and not mixed_numerics:
        for before, _ in state.numerics:
            known = {key: value for key, value in now.items() if value is not None}
            differs = differences(before, known)
            if differs:
                raise RunFolderError(f"{run.path} has blocks of {differs}")
    if state.done and len(state.done) < len(plan.work):
        _refuse_other_files(plan, run)
    run.write_plan(plan.to_json())
    return () if mixed_numerics else tuple(before for before, _ in state.numerics)
