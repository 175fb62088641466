"""The whole story of a run: mosaic, overviews, COG, objects, layers, picture; each stage resumable.

Every stage leaves markers in the ledger, each with the hash of what it depends on. Running the same plan again does
what has no marker; other options for the layers redo the stages that depend on them, and nothing before.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from geoseg.errors import GeosegError, RunFolderError, StoppedError
from geoseg.io.cog import write_class_cog
from geoseg.io.layers import Features, Source, write_geojson, write_geopackage
from geoseg.io.ledger import file_sha256
from geoseg.io.run_folder import RunFolder
from geoseg.outcome import MosaicState, Outcome, record_of
from geoseg.plan import LayerFormat, RunPlan
from geoseg.progress import stage_progress
from geoseg.report.preview import write_preview
from geoseg.runner import ItemT, Job, Runner, Unit, is_disk_full
from geoseg.tiling import Block
from geoseg.vectorize.features import assemble
from geoseg.vectorize.pieces import BlockPieces, merge
from geoseg.work.objects import TraceBlocks, pieces_file
from geoseg.work.overviews import ReduceBlocks, level_key, level_windows
from geoseg.work.predict import PredictBlocks

_WHOLE = "all"
"""Key of the marker of a stage that is one unit."""


def nothing_to_do(plan: RunPlan, run: RunFolder) -> bool:
    """Whether the RUN folder already holds all that the plan asks for."""
    record = run.record()
    if record is None or record.get("status") != "complete" or record.get("plan_hash") != plan.plan_hash:
        return False
    formats = {output["format"] for output in record["outputs"]}
    written = [run.path / output["path"] for output in record["outputs"]]
    return (
        record.get("layers") == plan.layers_content
        and formats.issuperset(plan.layers.formats)
        and all(path.exists() for path in written)
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
        _keep_plan(plan, run, mixed_numerics=mixed_numerics)
        _write_record(plan, run, outcome, argv)
        try:
            _Story(plan, run, runner, outcome).tell()
            outcome.status = "incomplete" if outcome.quarantined else "complete"
        finally:
            if outcome.status == "running":
                outcome.status = "stopped"
            _write_record(plan, run, outcome, argv)
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


def _write_record(plan: RunPlan, run: RunFolder, outcome: Outcome, argv: Sequence[str]) -> None:
    run.write_record(record_of(plan, MosaicState.of(run.ledger("mosaic")), outcome, argv))


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
        self._predict()
        state = MosaicState.of(self.run.ledger("mosaic"))
        self._reduce(state.content_hash)
        self._once("cog", _WHOLE, {"mosaic": state.content_hash}, self._write_cog)
        self._trace(state)
        layers = {"mosaic": state.content_hash, **self.plan.layers_content}
        for kind in self._formats(layers):
            self._once("layers", kind, layers, partial(self._write_layers, kind))
        self._once("preview", _WHOLE, layers, self._write_preview)

    def _predict(self) -> None:
        done = self.run.ledger("mosaic").done()
        job = PredictBlocks(
            run=self.run,
            scene=self.plan.scene,
            model_path=self.plan.model_path,
            model_identity=self.plan.model_identity,
            blocks=self.plan.blocks,
            probability=self.plan.probability,
            numerics=self.plan.numerics,
        )
        units = [Unit(block.key, block) for block in self.plan.blocks if block.key not in done]
        self.outcome.quarantined |= self._units("mosaic", job, units, _block_px)

    def _reduce(self, mosaic_hash: str) -> None:
        done = self.run.ledger("overviews").done_for(mosaic_hash)
        for level, (height, width) in enumerate(self.run.mosaic.level_shapes()[1:], 1):
            windows = level_windows(height, width, self.plan.blocks.block_px)
            units = [Unit(level_key(level, window), window) for window in windows]
            units = [unit for unit in units if unit.key not in done]
            job = ReduceBlocks(self.run, level, mosaic_hash)
            failed = self._units("overviews", job, units, lambda window: window.height * window.width)
            _all_done(f"overview level {level}", failed)
        self.outcome.outputs.append({"path": "mosaic.zarr", "format": "zarr", "features": None, "sha256": None})

    def _trace(self, state: MosaicState) -> None:
        done = self.run.ledger("objects").done()
        blocks = [block for block in self.plan.blocks if block.key in state.with_data - done]
        keep = tuple(class_id for class_id, _ in self.plan.labels.layers)
        units = [Unit(block.key, block) for block in blocks]
        failed = self._units("objects", TraceBlocks(self.run, self.grid.width, keep), units, _block_px)
        _all_done("objects", failed)

    def _units(
        self, stage: str, job: Job[ItemT], units: Sequence[Unit[ItemT]], pixels: Callable[[ItemT], int]
    ) -> dict[str, str]:
        """Do units of a stage with a progress bar; returns the error of each that failed for good."""
        if not units:
            return {}
        sizes = {unit.key: pixels(unit.item) for unit in units}
        failed: dict[str, str] = {}
        sums = self.outcome.stages.setdefault(stage, {})
        start = time.perf_counter()
        with self._timed(stage), stage_progress(stage, sum(sizes.values())) as advance:
            for report in self.runner.run(job, units):
                if report.error is not None:
                    failed[report.key] = report.error
                if "start_s" not in sums and "seconds" in report.result:
                    # Until the first unit began, workers started: their libraries take seconds to load.
                    sums["start_s"] = max(0.0, time.perf_counter() - start - report.result["seconds"])
                sums["units"] = sums.get("units", 0) + 1
                for name, value in report.result.items():
                    # A stage's own seconds are those of the clock on the wall.
                    counted = "worker_s" if name == "seconds" else name
                    sums[counted] = sums.get(counted, 0) + value
                sums["retries"] = sums.get("retries", 0) + len(report.earlier)
                advance(
                    sizes.pop(report.key),
                    report.result.get("tiles", 0),
                    retries=len(report.earlier),
                    quarantined=int(report.error is not None),
                )
        return failed

    def _formats(self, depends: dict[str, Any]) -> list[LayerFormat]:
        """The formats asked for, and those of an earlier command that are still true; others are removed."""
        ledger = self.run.ledger("layers")
        kept: set[str] = set(self.plan.layers.formats)
        for kind, marker in ledger.records():
            if marker["depends"] == depends:
                kept.add(kind)
                continue
            for output in marker["outputs"]:
                (self.run.path / output["path"]).unlink(missing_ok=True)
            ledger.forget(kind)
        return [kind for kind in get_args(LayerFormat) if kind in kept]

    def _once(
        self, stage: str, key: str, depends: dict[str, Any], work: Callable[[], list[dict[str, Any]]]
    ) -> None:
        """Do one unit of a stage in this process, unless its outputs are there and depend on the same."""
        ledger = self.run.ledger(stage)
        if key in ledger.done():
            marker = ledger.record(key)
            there = all((self.run.path / output["path"]).exists() for output in marker["outputs"])
            if marker["depends"] == depends and there:
                self.outcome.outputs += marker["outputs"]
                return
        with self._timed(stage):
            outputs = work()
        ledger.commit(key, {"depends": depends, "outputs": outputs})
        self.outcome.outputs += outputs

    def _write_cog(self) -> list[dict[str, Any]]:
        path = self.run.path / "classes.tif"
        write_class_cog(path, self.run.mosaic, self.grid, self.plan.labels, self.plan.plan_hash)
        return [self._output(path, "cog", None)]

    def _write_layers(self, kind: LayerFormat) -> list[dict[str, Any]]:
        keys = sorted(self.run.ledger("objects").done())
        pieces = [BlockPieces.from_bytes(pieces_file(self.run, key).read_bytes()) for key in keys]
        features = assemble(
            merge(pieces),
            self.grid,
            min_area_m2=self.plan.layers.min_area_m2,
            tolerance_m=self.plan.layers.simplify_m,
        )
        self.run.layers.mkdir(exist_ok=True)
        source = Source(self.plan.plan_hash, len(self.outcome.quarantined))
        outputs = []
        layers: dict[str, Features] = {}
        for class_id, layer in self.plan.layer_classes:
            layers[layer] = features.where(features.class_id == np.uint8(class_id))
            if kind == "geojson":
                path = self.run.layers / f"{layer}.geojson"
                write_geojson(path, layers[layer], self.plan.labels, self.grid.crs, source)
                outputs.append(self._output(path, "geojson", len(layers[layer])))
        if kind == "gpkg":
            path = self.run.layers / "geoseg.gpkg"
            write_geopackage(path, layers, self.plan.labels, self.grid.crs, source)
            outputs.append(self._output(path, "gpkg", len(features)))
        return outputs

    def _write_preview(self) -> list[dict[str, Any]]:
        path = self.run.path / "preview.png"
        files = {layer: self._layer_file(layer) for _, layer in self.plan.layer_classes}
        write_preview(path, self.plan.scene, self.run.mosaic, files, self.plan.labels)
        return [self._output(path, "png", None)]

    def _layer_file(self, layer: str) -> Path:
        """A file that holds a layer, in whichever format there is one."""
        geopackage = self.run.layers / "geoseg.gpkg"
        return geopackage if geopackage.exists() else self.run.layers / f"{layer}.geojson"

    def _output(self, path: Path, kind: str, features: int | None) -> dict[str, Any]:
        name = path.relative_to(self.run.path).as_posix()
        return {"path": name, "format": kind, "features": features, "sha256": file_sha256(path)}

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of a with-block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            sums = self.outcome.stages.setdefault(stage, {})
            sums["seconds"] = round(sums.get("seconds", 0) + time.perf_counter() - start, 2)


def _block_px(block: Block) -> int:
    return block.window.height * block.window.width


def _keep_plan(plan: RunPlan, run: RunFolder, *, mixed_numerics: bool) -> None:
    """Write plan.json, unless blocks would be computed otherwise than those that are there.

    Raises:
        RunFolderError: They would, and that was not asked for.
    """
    state = MosaicState.of(run.ledger("mosaic"))
    now = plan.numerics.fingerprint()
    if len(state.done) < len(plan.blocks) and not mixed_numerics:
        for before, _ in state.numerics:
            differs = [f"{key} was {before.get(key)}, is {now[key]}" for key in now if before.get(key) != now[key]]
            if differs:
                raise RunFolderError(
                    f"{run.path} has blocks of other numerics ({'; '.join(differs)}), so the last bits of the rest "
                    "would not match: go on where it began, with the same --device, --precision and "
                    "--threads-per-worker, or accept it with --mixed-numerics"
                )
    run.write_plan(plan.to_json())


def _all_done(what: str, failed: dict[str, str]) -> None:
    """Refuse to go on where a unit of work on our own files failed for good.

    Raises:
        GeosegError: One did.
    """
    if failed:
        key, error = next(iter(failed.items()))
        raise GeosegError(f"{what}: {key} of the finished mosaic cannot be done: {error}")
