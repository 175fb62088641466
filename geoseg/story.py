"""The whole story of a run: mosaic, overviews, COG, objects, outlines, features, layers, pictures, STAC, page.

Every stage leaves markers in the ledger, each with the hash of what it depends on. Running the same plan again does
what has no marker; other options for the layers redo the stages that depend on them, and nothing before.
"""

import math
from typing import Any, get_args

from geoseg.errors import StoppedError
from geoseg.grid import Window
from geoseg.groups import Group, groups_apart
from geoseg.io.layers import Source
from geoseg.io.ledger import canonical_hash
from geoseg.io.qgis_scene import scene_source
from geoseg.io.run_folder import RunFolder
from geoseg.layering import LayerFormat
from geoseg.models.fetched import package_folder
from geoseg.models.package import load_card
from geoseg.outcome import MosaicState
from geoseg.plan import RunPlan
from geoseg.progress import stage_progress
from geoseg.runner import Job, Unit
from geoseg.stac.writing import write_stac
from geoseg.stages import Stages
from geoseg.tiling import Block
from geoseg.work.class_rasters import (
    RASTER_INDEX,
    WHOLE_RASTER,
    WriteGroups,
    group_outputs,
    group_raster,
    keep_rasters,
)
from geoseg.work.features import shapes_hash
from geoseg.work.instances import GatherInstances, InstanceBlocks, PaintInstances
from geoseg.work.network import CutBlocks, JoinBlocks, MaskBlocks, NetworkBlocks, ThinBlocks
from geoseg.work.objects import LabelBlocks, join_seams, told_apart
from geoseg.work.outputs import OutputKind, WriteOutputs
from geoseg.work.overviews import ReduceBlocks, level_key, level_windows
from geoseg.work.page import WritePageParts
from geoseg.work.predict import PredictBlocks
from geoseg.work.shaping import clean_up, shaping
from geoseg.work.whole import Gathering

WHOLE = "all"
"""Key of the marker of a stage that is one unit."""


def sources_hash(plan: RunPlan, run: RunFolder) -> str:
    """Hash of where a project in the RUN folder finds the scenes."""
    parts = (part for scene in plan.region.scenes for part in scene.parts)
    return canonical_hash({"sources": [scene_source(part, run.path) for part in parts]})


class Story:
    """The stages of one run, in order.

    Args:
        plan: The run, decided.
        run: Its folder, held by this process.
        stages: What does the units of a stage and tells of them.
        begun: The numerics of blocks that are there; none for any.
    """

    def __init__(self, plan: RunPlan, run: RunFolder, stages: Stages, begun: tuple[dict[str, Any], ...]) -> None:
        self.plan = plan
        self.run = run
        self.stages = stages
        self.begun = begun
        self.outcome = stages.outcome
        self.grid = plan.region.grid
        self.scenes = tuple((scene.name, scene.date) for scene in plan.region.scenes)
        self.class_ids = tuple(class_id for class_id, _ in plan.labels.layers)

    def tell(self) -> None:
        """Do what is left of every stage.

        Raises:
            InputChangedError: A scene is no longer the one that was planned.
            StoppedError: The disk is full, or no worker answers.
        """
        self.run.create_mosaic(
            lambda mosaic: mosaic.create(
                self.grid,
                self.plan.labels,
                probability=self.plan.probability,
                scenes=self.plan.several,
                instances=self.plan.panoptic is not None,
            )
        )
        self._predict()
        state = MosaicState.of(self.run.ledger("mosaic"))
        blocks = [block for block in self.plan.work if block.key in state.with_data]
        covered = tuple(block.window for block in blocks)
        groups = groups_apart(covered, self.grid.height, self.grid.width)
        self._reduce(state.content_hash, covered)
        self._write_rasters(state.content_hash, covered, groups)
        self._label(state.content_hash, blocks)
        shapes = shapes_hash(state.content_hash, self.plan.shapes_content)
        self._shape(blocks, shapes)
        network = shapes_hash(state.content_hash, self.plan.network_content)
        self._draw_network(blocks, network)
        layers = {
            "mosaic": state.content_hash,
            # Each feature names its scene and date.
            "scenes": canonical_hash({"scenes": self.scenes}),
            **self.plan.layers_content,
        }
        formats = tuple(self._formats(layers))
        for kind in formats:
            self._once(kind, layers, covered, shapes, network)
        self._once("preview", layers, covered, shapes, groups=groups or ())
        project = {**layers, "formats": list(formats), "sources": sources_hash(self.plan, self.run)}
        self._once("project", project, covered, groups=groups or (), formats=formats)
        self._write_page(layers, covered, shapes, network)
        # The last of all, since it names all others.
        with self.stages.timed("stac"):
            failed = len(self.outcome.quarantined)
            self.outcome.outputs += write_stac(self.plan, self.run, state, self.outcome.outputs, failed)

    def _write_page(self, layers: dict[str, Any], covered: tuple[Window, ...], shapes: str, network: str) -> None:
        """Have a worker make what the page shows: pictures and features; the page itself comes last."""
        # A card's words may change without its identity.
        card = load_card(package_folder(self.plan.model_path)).to_json()
        depends = {**layers, "card": canonical_hash({"card": card})}
        job = WritePageParts(
            run=self.run,
            region=self.plan.region,
            labels=self.plan.labels,
            source=self._source(),
            layers=self.plan.layering.classes,
            shapes=shapes,
            network=self.plan.layering.network,
            network_shapes=network,
            covered=covered,
            model_path=self.plan.model_path,
            depends=depends,
        )
        self.stages.once("page", WHOLE, depends, job, WHOLE)

    def _source(self) -> Source:
        """What layers say of the run."""
        return Source(self.plan.plan_hash, self.scenes, len(self.outcome.quarantined))

    def _predict(self) -> None:
        done = self.run.ledger("mosaic").done()
        job = PredictBlocks(
            run=self.run,
            region=self.plan.region,
            model_path=self.plan.model_path,
            model_identity=self.plan.model_identity,
            blocks=self.plan.blocks,
            probability=self.plan.probability,
            numerics=self.plan.numerics,
            things=None if self.plan.panoptic is None else self.plan.panoptic.things,
            aoi=self.plan.aoi,
            begun=self.begun,
        )
        # Down a column of blocks each goes on with what the last one shares with it.
        units = [Unit(block.key, block, block.j) for block in self.plan.work if block.key not in done]
        self.outcome.quarantined |= self.stages.units("mosaic", job, units, _block_px)

    def _reduce(self, mosaic_hash: str, covered: tuple[Window, ...]) -> None:
        done = self.run.ledger("overviews").done_for(mosaic_hash)
        for level, (height, width) in enumerate(self.run.mosaic.level_shapes()[1:], 1):
            windows = level_windows(level, height, width, covered)
            units = [Unit(level_key(level, window), window) for window in windows]
            units = [unit for unit in units if unit.key not in done]
            job = ReduceBlocks(self.run, level, mosaic_hash)
            failed = self.stages.units("overviews", job, units, lambda window: window.height * window.width)
            _all_done(f"overview level {level}", failed)
        self.outcome.outputs.append({"path": "mosaic.zarr", "format": "zarr", "features": None, "sha256": None})

    def _label(self, mosaic_hash: str, blocks: list[Block]) -> None:
        """Label the blocks that hold data, and join what meets at their seams."""
        objects = canonical_hash(self.plan.objects_content)
        done = self.run.ledger("objects").done_for(objects)
        units = [Unit(block.key, block) for block in blocks if block.key not in done]
        thresholds, panoptic = self.plan.layering.thresholds, self.plan.panoptic
        job = LabelBlocks(self.run, self.grid, self.class_ids, thresholds, objects, panoptic)
        _all_done("objects", self.stages.units("objects", job, units, _block_px))
        seams = self.run.ledger("seams")
        joined = canonical_hash({"mosaic": mosaic_hash, "objects": objects})
        if not seams.done_for(joined):
            # Each row of blocks is gone over twice.
            total_px = 2 * sum(map(_block_px, blocks))
            with self.stages.timed("seams"), stage_progress("seams", total_px) as advance:
                files = join_seams(self.run, blocks, advance)
            seams.commit(WHOLE, {"depends": joined, "files": files})
        if panoptic is None:
            return
        self.outcome.instances = told_apart(self.run, objects, panoptic)
        of = InstanceBlocks(self.run, self.grid, self.plan.blocks, panoptic, joined)
        stages: tuple[tuple[str, Job[Block]], ...] = (
            ("instances", GatherInstances(of)),
            ("painted", PaintInstances(of)),
        )
        for stage, of_stage in stages:
            done = of.done(stage)
            units = [Unit(block.key, block) for block in blocks if block.key not in done]
            _all_done(stage, self.stages.units(stage, of_stage, units, _block_px))

    def _shape(self, blocks: list[Block], shapes: str) -> None:
        """Outline the objects that are large enough, block by block, and make features of them."""
        gathering = Gathering(
            run=self.run,
            grid=self.grid,
            block_px=self.plan.blocks.block_px,
            keep=self.class_ids,
            thresholds=self.plan.layering.thresholds,
            cleaning=self.plan.layering.cleaning,
            depends=shapes,
            panoptic=self.plan.panoptic,
            several_scenes=bool(self.plan.several),
        )
        block_px = math.prod(self.plan.blocks.block_px)
        for stage, job, units in shaping(gathering, self.plan.blocks, blocks):
            _all_done(stage, self.stages.units(stage, job, units, lambda _: block_px))
        self.outcome.clean_up = clean_up(self.run, shapes)

    def _draw_network(self, blocks: list[Block], depends: str) -> None:
        """Make a network of roads: each stage needs all blocks of the one before, as far as it reaches."""
        network = self.plan.layering.network
        if network is None:
            return
        of = NetworkBlocks(self.run, self.grid, self.plan.blocks, depends)
        stages: tuple[tuple[str, Job[Block]], ...] = (
            ("roads", self._road_masks(of, network.class_id)),
            ("skeleton", ThinBlocks(of)),
            ("pieces", CutBlocks(of)),
            ("network", JoinBlocks(of, network.class_id)),
        )
        for stage, job in stages:
            done = of.files(stage).remove_others()
            units = [Unit(block.key, block) for block in blocks if block.key not in done]
            _all_done(stage, self.stages.units(stage, job, units, _block_px))

    def _road_masks(self, of: NetworkBlocks, class_id: int) -> MaskBlocks:
        plan = self.plan
        min_area_m2 = plan.layering.cleaning.min_area_m2[class_id]
        return MaskBlocks(of, class_id, self.class_ids, plan.layering.thresholds, min_area_m2, plan.panoptic)

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

    def _write_rasters(
        self, mosaic_hash: str, covered: tuple[Window, ...], groups: tuple[Group, ...] | None
    ) -> None:
        """The classes as one COG, or one for each group of blocks where they lie far apart."""
        depends = {"mosaic": mosaic_hash}
        if groups is None:
            keep_rasters(self.run, {WHOLE_RASTER})
            self._once("cog", depends, covered)
            return
        keep_rasters(self.run, {RASTER_INDEX, *map(group_raster, range(len(groups)))})
        hashed = canonical_hash(depends)
        done = self.run.ledger("cog").done_for(hashed)
        units = [Unit(str(number), (number, group)) for number, group in enumerate(groups)]
        units = [unit for unit in units if unit.key not in done]
        job = WriteGroups(self.run, self.grid, self.plan.labels, self.plan.plan_hash, hashed)
        _all_done("cog", self.stages.units("cog", job, units, lambda numbered: numbered[1].covered_px))
        self.outcome.outputs += group_outputs(self.run, len(groups))
        self._once("index", depends, covered, groups=groups)

    def _once(
        self,
        kind: OutputKind,
        depends: dict[str, Any],
        covered: tuple[Window, ...],
        shapes: str = "",
        network: str = "",
        groups: tuple[Group, ...] = (),
        formats: tuple[LayerFormat, ...] = (),
    ) -> None:
        """Have one output written, unless it is there and depends on the same."""
        layers = kind if kind in get_args(LayerFormat) else None
        job = WriteOutputs(
            run=self.run,
            region=self.plan.region,
            labels=self.plan.labels,
            source=self._source(),
            layers=self.plan.layering.classes,
            shapes=shapes,
            network=None if self.plan.layering.network is None else (self.plan.layering.network, network),
            covered=covered,
            groups=groups,
            formats=formats,
            stage="layers" if layers else kind,
            key=layers or WHOLE,
            depends=depends,
        )
        self.stages.once(job.stage, job.key, depends, job, kind)


def _block_px(block: Block) -> int:
    return block.window.height * block.window.width


def _all_done(what: str, failed: dict[str, str]) -> None:
    """Stop where a unit of work on our own files failed three times: its workers may have died.

    Raises:
        StoppedError: One did; the same again tries it anew.
    """
    if failed:
        key, error = next(iter(failed.items()))
        raise StoppedError(
            f"{what}: {key} of the finished mosaic cannot be done: {error}; mend what is wrong, then run the same "
            "command again"
        )
