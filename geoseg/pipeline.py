"""A run from its plan to its record: what is left of it done, the page written, and the outcome told."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from geoseg.errors import StoppedError
from geoseg.io.place import Place
from geoseg.io.record import RunRecord
from geoseg.io.run_folder import RunFolder
from geoseg.outcome import MosaicState, Outcome, record_of
from geoseg.plan import RunPlan
from geoseg.report.page import report_page
from geoseg.resume import keep_plan, mend
from geoseg.runner import Runner, is_disk_full
from geoseg.stages import Stages
from geoseg.story import WHOLE, Story, sources_hash


def nothing_to_do(plan: RunPlan, run: RunFolder) -> bool:
    """Whether the RUN folder already holds all that the plan asks for."""
    record = run.record()
    if record is None or record.get("status") != "complete" or record.get("plan_hash") != plan.plan_hash:
        return False
    formats = {output["format"] for output in record["outputs"]}
    project = run.ledger("project")
    written = [run.path / output["path"] for output in record["outputs"]]
    return (
        record.get("layers") == plan.layers_content
        and formats.issuperset((*plan.layers.formats, "stac", "html"))
        and all(path.exists() for path in written)
        # Scenes may lie elsewhere by now, and the project names where.
        and WHOLE in project.done()
        and project.record(WHOLE)["depends"]["sources"] == sources_hash(plan, run)
    )


def map_scene(
    plan: RunPlan, run: RunFolder, runner: Runner, argv: Sequence[str], *, mixed_numerics: bool = False
) -> Outcome:
    """Do what is left of a run.

    Args:
        plan: The run, decided.
        run: Its folder, held by this process.
        runner: What does units of work.
        argv: The command line, for the record.
        mixed_numerics: Whether blocks may be computed on other numerics than those that are there.

    Returns:
        The outcome, which run.json holds as well.

    Raises:
        RunFolderError: Blocks would be computed on other numerics than those that are there.
        InputChangedError: The scene is no longer the one that was planned.
        StoppedError: The disk is full, or no worker answers; the same command goes on where this one stopped.
    """
    outcome = Outcome()
    with _full_disk_named(run.path):
        run.sweep()
        mend(run)
        begun = keep_plan(plan, run, mixed_numerics=mixed_numerics)
        run.forget_report()
        _write_record(plan, run, outcome, argv)
        try:
            Story(plan, run, Stages(run, runner, outcome), begun).tell()
            status = "incomplete" if outcome.quarantined else "complete"
            # Like run.json it tells of times, and the ledger vouches for it: no sha256 here, as of run.json.
            outcome.outputs.append(
                {"path": run.report_file.name, "format": "html", "features": None, "sha256": None}
            )
            record = _record(plan, run, replace(outcome, status=status), argv)
            run.write_report(report_page(run, RunRecord.model_validate(record)).text)
            outcome.status = status
        finally:
            if outcome.status == "running":
                outcome.status = "stopped"
            _write_record(plan, run, outcome, argv)
    return outcome


@contextmanager
def _full_disk_named(path: Place) -> Iterator[None]:
    """Say in words that the disk is full, wherever that was noticed: the last record may not fit either."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        # What goes to an object store is made among the temporary files.
        full = path if isinstance(path, Path) else Path(gettempdir())
        raise StoppedError(f"the disk of {full} is full: make room, then run the same command again") from error


def _write_record(plan: RunPlan, run: RunFolder, outcome: Outcome, argv: Sequence[str]) -> None:
    run.write_record(_record(plan, run, outcome, argv))


def _record(plan: RunPlan, run: RunFolder, outcome: Outcome, argv: Sequence[str]) -> dict[str, Any]:
    return record_of(plan, MosaicState.of(run.ledger("mosaic")), outcome, argv)
