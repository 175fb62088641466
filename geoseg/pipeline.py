"""The whole story of a run: mosaic, overviews, COG, objects, layers, picture; each stage resumable.

Every stage leaves markers in the ledger. Running the same plan again does what has no marker, or says that
nothing is left to do.
"""

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
import zarr

import geoseg
from geoseg.errors import GeosegError, RunFolderError, StoppedError
from geoseg.io.cog import write_class_cog
from geoseg.io.layers import Features, write_geojson, write_geopackage
from geoseg.io.ledger import canonical_hash, file_sha256
from geoseg.io.record import RECORD_VERSION, RunRecord
from geoseg.io.run_folder import RunFolder
from geoseg.plan import RunPlan
from geoseg.progress import stage_progress
from geoseg.report.preview import write_preview
from geoseg.runner import Job, Report, Runner, Unit, is_disk_full
from geoseg.tiling import Block
from geoseg.vectorize.features import assemble
from geoseg.vectorize.pieces import BlockPieces, merge
from geoseg.work.objects import TraceBlocks, pieces_file
from geoseg.work.overviews import ReduceBlocks, level_windows
from geoseg.work.predict import PredictBlocks

_WHOLE = "all"
"""Key of the marker of a stage that is one unit."""


@dataclass(slots=True)
class Outcome:
    """What became of a run, as it unfolds.

    Attributes:
        status: "running", "complete", "incomplete" or "stopped".
        quarantined: Error of each block that failed, by key.
        stages: Seconds by stage, of this process.
        outputs: What was written: path, format, features, sha256.
    """

    status: str = "running"
    quarantined: dict[str, str] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    outputs: list[dict[str, Any]] = field(default_factory=list)


def nothing_to_do(plan: RunPlan, run: RunFolder) -> bool:
    """Whether the RUN folder already holds all that the plan asks for."""
    record = run.record()
    if record is None or record.get("status") != "complete" or record.get("plan_hash") != plan.plan_hash:
        return False
    written = [run.path / output["path"] for output in record["outputs"]]
    return record.get("layers") == plan.layers_content and all(path.exists() for path in written)


def map_scene(plan: RunPlan, run: RunFolder, runner: Runner, argv: Sequence[str]) -> Outcome:
    """Do what is left of a run.

    Args:
        plan: The run, decided.
        run: Its folder, held by this process.
        runner: What does units of work.
        argv: The command line, for the record.

    Returns:
        The outcome, which run.json holds as well.

    Raises:
        RunFolderError: Blocks would be computed on other numerics than those that are there.
        StoppedError: The disk is full; the same command goes on where this one stopped.
    """
    outcome = Outcome()
    with _full_disk_named(run.path):
        _keep_plan(plan, run)
        run.write_record(_record(plan, run, outcome, argv))
        try:
            _Story(plan, run, runner, outcome).tell()
            outcome.status = "incomplete" if outcome.quarantined else "complete"
        finally:
            if outcome.status == "running":
                outcome.status = "stopped"
            run.write_record(_record(plan, run, outcome, argv))
    return outcome


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    """Say in words that the disk is full, wherever that was noticed: the last record may not fit either."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise StoppedError(f"the disk of {path} is full: make room, then run the same command again") from error


class _Story:
    """The stages of one run, in order."""

    def __init__(self, plan: RunPlan, run: RunFolder, runner: Runner, outcome: Outcome) -> None:
        self.plan = plan
        self.run = run
        self.runner = runner
        self.outcome = outcome
        self.grid = plan.scene.grid

    def tell(self) -> None:
        if not self.run.mosaic.path.exists():
            self.run.mosaic.create(self.grid, self.plan.labels, probability=self.plan.probability)
        self.run.mosaic.sweep()
        self._predict()
        ledger = self.run.ledger("mosaic")
        mosaic_hash = canonical_hash({key: ledger.record(key) for key in sorted(ledger.done())})
        self._once("overviews", {"mosaic": mosaic_hash}, self._reduce)
        self._once("cog", {"mosaic": mosaic_hash}, self._write_cog)
        self._trace()
        self._once("layers", {"mosaic": mosaic_hash, **self.plan.layers_content}, self._write_layers)
        layers_hash = canonical_hash(self.run.ledger("layers").record(_WHOLE))
        self._once("preview", {"layers": layers_hash}, self._write_preview)

    def _predict(self) -> None:
        done = self.run.ledger("mosaic").done()
        blocks = {block.key: block for block in self.plan.blocks}
        job = PredictBlocks(
            run=self.run,
            scene=self.plan.scene,
            model_path=self.plan.model_path,
            model_identity=self.plan.model_identity,
            blocks=self.plan.blocks,
            probability=self.plan.probability,
            numerics=self.plan.numerics,
        )
        failed = self._blocks("mosaic", job, [block for key, block in blocks.items() if key not in done])
        self.outcome.quarantined |= failed

    def _trace(self) -> None:
        done = self.run.ledger("objects").done()
        mosaic = self.run.ledger("mosaic")
        with_data = [
            block
            for block in self.plan.blocks
            if block.key in mosaic.done() - done and mosaic.record(block.key)["valid_px"]
        ]
        keep = tuple(class_id for class_id, _ in self.plan.labels.layers)
        failed = self._blocks("objects", TraceBlocks(self.run, self.grid.width, keep), with_data)
        if failed:
            key, error = next(iter(failed.items()))
            raise GeosegError(f"block {key} of the finished mosaic cannot be traced: {error}")

    def _blocks(self, stage: str, job: Job[Block], blocks: Sequence[Block]) -> dict[str, str]:
        """Do blocks with a progress bar; returns the error of each that failed for good."""
        sizes = {block.key: block.window.height * block.window.width for block in blocks}
        failed: dict[str, str] = {}
        units = [Unit(block.key, block) for block in blocks]
        with self._timed(stage), stage_progress(stage, sum(sizes.values())) as advance:
            for report in self.runner.run(job, units):
                if report.error is not None:
                    failed[report.key] = report.error
                advance(sizes[report.key], report.result.get("tiles", 0))
        return failed

    def _once(self, stage: str, depends: dict[str, Any], work: Callable[[], list[dict[str, Any]]]) -> None:
        """Do a stage of one unit, unless its outputs are there and depend on the same."""
        ledger = self.run.ledger(stage)
        if _WHOLE in ledger.done():
            marker = ledger.record(_WHOLE)
            there = all((self.run.path / output["path"]).exists() for output in marker["outputs"])
            if marker["depends"] == depends and there:
                self.outcome.outputs += marker["outputs"]
                return
        with self._timed(stage):
            outputs = work()
        ledger.commit(_WHOLE, {"depends": depends, "outputs": outputs})
        self.outcome.outputs += outputs

    def _reduce(self) -> list[dict[str, Any]]:
        shapes = self.run.mosaic.level_shapes()
        with stage_progress("overviews", sum(height * width for height, width in shapes[1:])) as advance:
            for level, (height, width) in enumerate(shapes[1:], 1):
                windows = {
                    f"{level}-{window.row}-{window.col}": window
                    for window in level_windows(height, width, self.plan.blocks.block_px)
                }
                units = [Unit(key, window) for key, window in windows.items()]
                for report in self.runner.run(ReduceBlocks(self.run, level), units):
                    _check(report)
                    advance(windows[report.key].height * windows[report.key].width)
        return [{"path": "mosaic.zarr", "format": "zarr", "features": None, "sha256": None}]

    def _write_cog(self) -> list[dict[str, Any]]:
        path = self.run.path / "classes.tif"
        write_class_cog(path, self.run.mosaic, self.grid, self.plan.labels, self.plan.plan_hash)
        return [self._output(path, "cog", None)]

    def _write_layers(self) -> list[dict[str, Any]]:
        keys = sorted(self.run.ledger("objects").done())
        pieces = [BlockPieces.from_bytes(pieces_file(self.run, key).read_bytes()) for key in keys]
        features = assemble(
            merge(pieces),
            self.grid,
            min_area_m2=self.plan.layers.min_area_m2,
            tolerance_m=self.plan.layers.simplify_m,
        )
        self.run.layers.mkdir(exist_ok=True)
        outputs = []
        layers: dict[str, Features] = {}
        for class_id, layer in self.plan.labels.layers:
            layers[layer] = features.where(features.class_id == np.uint8(class_id))
            path = self.run.layers / f"{layer}.geojson"
            write_geojson(path, layers[layer], self.plan.labels, self.grid.crs)
            outputs.append(self._output(path, "geojson", len(layers[layer])))
        path = self.run.layers / "geoseg.gpkg"
        write_geopackage(path, layers, self.plan.labels, self.grid.crs)
        outputs.append(self._output(path, "gpkg", len(features)))
        return outputs

    def _write_preview(self) -> list[dict[str, Any]]:
        path = self.run.path / "preview.png"
        write_preview(path, self.plan.scene, self.run.mosaic, self.run.layers / "geoseg.gpkg", self.plan.labels)
        return [self._output(path, "png", None)]

    def _output(self, path: Path, kind: str, features: int | None) -> dict[str, Any]:
        name = path.relative_to(self.run.path).as_posix()
        return {"path": name, "format": kind, "features": features, "sha256": file_sha256(path)}

    def _timed(self, stage: str) -> "_Stopwatch":
        return _Stopwatch(self.outcome, stage)


class _Stopwatch:
    """Adds the seconds of a with-block to a stage."""

    def __init__(self, outcome: Outcome, stage: str) -> None:
        self._outcome = outcome
        self._stage = stage

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._outcome.stages[self._stage] = {"seconds": round(time.perf_counter() - self._start, 2)}


def _keep_plan(plan: RunPlan, run: RunFolder) -> None:
    """Write plan.json; numerics stay those of the blocks that are there.

    Raises:
        RunFolderError: Blocks are missing, and those that are there were computed otherwise.
    """
    content = plan.to_json()
    existing = run.existing_plan() if run.plan_file.exists() else None
    done = run.ledger("mosaic").done()
    if existing is not None and done:
        before, now = existing["numerics"], content["numerics"]
        if len(done) < len(plan.blocks) and before != now:
            differs = "; ".join(
                f"{key} was {before.get(key)}, is {now[key]}" for key in now if before.get(key) != now[key]
            )
            raise RunFolderError(
                f"{run.path} was begun on other numerics ({differs}), so its last bits would not match: "
                "go on where it began, with the same --device, --precision and --threads-per-worker, "
                "or start another run with -o"
            )
        content["numerics"] = before
    run.write_plan(content)


def _check(report: Report) -> None:
    if report.error is not None:
        raise GeosegError(f"overview {report.key} cannot be written: {report.error}")


def _record(plan: RunPlan, run: RunFolder, outcome: Outcome, argv: Sequence[str]) -> dict[str, Any]:
    ledger = run.ledger("mosaic")
    done = ledger.done()
    skipped = sum(not ledger.record(key)["valid_px"] for key in done)
    record = RunRecord.model_validate(
        {
            "version": RECORD_VERSION,
            "status": outcome.status,
            "plan_hash": plan.plan_hash,
            "argv": list(argv),
            "inputs": [{"path": plan.scene.path, "fingerprint": plan.scene.fingerprint}],
            "model": {"name": plan.model_name, "path": plan.model_path, "identity": plan.model_identity},
            "grid": plan.scene.grid.to_json(),
            "classes": list(plan.labels.names),
            "layers": plan.layers_content,
            "blocks": {
                "total": len(plan.blocks),
                "done": len(done),
                "skipped": skipped,
                "quarantined": [{"block": key, "error": error} for key, error in outcome.quarantined.items()],
            },
            "stages": outcome.stages,
            "outputs": outcome.outputs,
            "warnings": list(plan.warnings),
            "versions": {
                "geoseg": geoseg.__version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "rasterio": rasterio.__version__,
                "gdal": rasterio.__gdal_version__,
                "zarr": zarr.__version__,
            },
            "machine": {
                "system": platform.platform(),
                "workers": plan.workers,
                "numerics": plan.numerics.fingerprint(),
            },
        }
    )
    return record.to_json()
