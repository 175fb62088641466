"""The plan of a run: everything that is decided before the first pixel is predicted."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geoseg.errors import RunFolderError
from geoseg.imagery import Imagery
from geoseg.io.aoi import Aoi
from geoseg.io.candidate import Row
from geoseg.io.coverage import Coverage
from geoseg.io.gdal_environment import GDAL_CACHE_MIB
from geoseg.io.ledger import canonical_hash
from geoseg.io.place import Place
from geoseg.io.reads import Reads
from geoseg.io.region import Region
from geoseg.labels import LabelSet
from geoseg.layering import Layering, LayerOptions
from geoseg.objects.grouping import Grouping, Panoptic
from geoseg.predict import Numerics
from geoseg.tiling import Block, BlockPlan

PLAN_VERSION = 4


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run, decided.

    Attributes:
        region: The scenes on their grid, and how they are read.
        model_path: The model package.
        model_name: Its name.
        model_identity: sha256 of what it is.
        labels: Its classes.
        imagery: The pixels it expects.
        blocks: Lattice and blocks.
        probability: Whether probabilities of all classes are kept.
        layers: How objects become features.
        numerics: Device, precision, threads and batch.
        workers: Worker processes.
        worker_bytes: Upper bound of a worker's memory.
        warnings: What the user should know before starting.
        aoi: What of the grid is mapped; None for all of it.
        rows: The scenes as they were handed in, for the plan's table.
        grid_rule: In words, how the grid was chosen.
        reads: What is decoded of the scenes' files.
        cache_mib: What GDAL keeps of that in each worker.
        grouping: How a panoptic model's objects are told apart; None of a model that does not.
    """

    region: Region
    model_path: str
    model_name: str
    model_identity: str
    labels: LabelSet
    imagery: Imagery
    blocks: BlockPlan
    probability: bool
    layers: LayerOptions
    numerics: Numerics
    workers: int
    worker_bytes: int
    warnings: tuple[str, ...]
    aoi: Aoi | None = None
    rows: tuple[Row, ...] = ()
    grid_rule: str = ""
    reads: Reads = field(default_factory=lambda: Reads(0, ()))
    cache_mib: int = GDAL_CACHE_MIB
    grouping: Grouping | None = None

    @property
    def panoptic(self) -> Panoptic | None:
        """How objects are told apart that touch; None where what touches is one."""
        if self.grouping is None:
            return None
        kinds = self.labels.classes
        return Panoptic(tuple(i for i, _ in self.labels.layers if kinds[i].kind == "thing"), self.grouping)

    @property
    def work(self) -> tuple[Block, ...]:
        """The blocks that are to be done: where scenes lie, and the area of interest touches."""
        blocks = tuple(self.blocks)
        if self.aoi is None:
            return blocks
        touched = self.aoi.touched([block.window for block in blocks])
        return tuple(block for block, is_touched in zip(blocks, touched, strict=True) if is_touched)

    @property
    def mosaic_content(self) -> dict[str, Any]:
        """All that the mosaic depends on, as JSON; not the machine, the workers or the RUN folder's place."""
        return {
            **self._scenes_content,
            "model": {"name": self.model_name, "identity": self.model_identity},
            "tile_px": self.blocks.lattice.tile_px,
            "overlap_px": self.blocks.lattice.overlap_px,
            "chunk_px": self.blocks.chunk_px,
            "block_px": list(self.blocks.block_px),
            "probability": self.probability,
            "aoi": None if self.aoi is None else {"name": self.aoi.name, "sha256": self.aoi.identity},
        }

    @property
    def _scenes_content(self) -> dict[str, Any]:
        scenes = self.region.scenes
        if len(scenes) == 1 and len(scenes[0].parts) == 1 and scenes[0].window == self.region.grid.window:
            return {"scene": scenes[0].to_json()["parts"][0]}
        return {
            "grid": self.region.grid.to_json(),
            "merge": self.region.merge,
            # One line each, for the sake of what is told when another scene is given.
            "scenes": {
                scene.name: canonical_hash(
                    {"rank": rank if self.region.merge != "nearest-centre" else 0, **scene.to_json()}
                )
                for rank, scene in enumerate(self.region.scenes)
            },
        }

    @property
    def files(self) -> list[dict[str, Any]]:
        """The scene's files as they were when this was decided; the same content may be written again."""
        return [
            {"name": Path(stamp.path).name, "size": stamp.size, "changed_ns": stamp.changed_ns}
            for stamp in self.region.stamps
        ]

    @property
    def plan_hash(self) -> str:
        """The run's id: sha256 of `mosaic_content`, but for the block size, which changes no pixel."""
        content = {key: value for key, value in self.mosaic_content.items() if key != "block_px"}
        return canonical_hash({"version": PLAN_VERSION, **content})

    @property
    def layering(self) -> Layering:
        """How objects become features, by the model's classes."""
        return Layering(self.labels, self.layers)

    @property
    def objects_content(self) -> dict[str, Any]:
        """All that objects depend on besides the mosaic, as JSON."""
        return {
            "layers": [class_id for class_id, _ in self.labels.layers],
            "thresholds": [list(one) for one in self.layering.thresholds.least],
            "grouping": None if self.grouping is None else asdict(self.grouping),
        }

    @property
    def shapes_content(self) -> dict[str, Any]:
        """All that outlines and features depend on besides the mosaic, as JSON; those of a class on no other's."""
        return {
            "cleaning": self.layering.cleaning.to_json(),
            "block_px": list(self.blocks.block_px),
            **self.objects_content,
        }

    @property
    def network_content(self) -> dict[str, Any]:
        """All that the network depends on besides the mosaic, as JSON."""
        content = {key: value for key, value in self.shapes_content.items() if key != "cleaning"}
        return {**content, "min_area_m2": [float(area) for area in self.layering.cleaning.min_area_m2]}

    @property
    def layers_content(self) -> dict[str, Any]:
        """All that the layers depend on besides the mosaic, as JSON; each format is written from the same."""
        layering, names = self.layering, self.labels.names
        cleaning = layering.cleaning
        with_layer = [class_id for class_id, _ in self.labels.layers]
        return {
            "min_area_m2": {names[class_id]: float(cleaning.min_area_m2[class_id]) for class_id in with_layer},
            "min_hole_m2": {names[class_id]: float(cleaning.min_hole_m2[class_id]) for class_id in with_layer},
            "simplify_m": float(cleaning.simplify_m),
            "smooth": cleaning.smooth,
            "regularize": [names[class_id] for class_id in cleaning.regularize],
            "thresholds": {names[class_id]: share for class_id, share in layering.thresholds.least},
            "classes": [names[class_id] for class_id, _ in layering.classes],
            "network": layering.network is not None,
        }

    @property
    def several(self) -> tuple[str, ...]:
        """Names of the scenes, by index, where there are more than one."""
        scenes = self.region.scenes
        return tuple(scene.name for scene in scenes) if len(scenes) > 1 else ()

    @property
    def coverage(self) -> Coverage:
        """How the scenes cover the grid and the area of interest."""
        footprints = [scene.footprint for scene in self.region.scenes]
        return Coverage.of(self.region.grid, footprints, None if self.aoi is None else self.aoi.pixels)

    @property
    def mosaic_bytes(self) -> int:
        """Bytes of the mosaic's full-resolution arrays before compression."""
        # The index of a pixel's scene takes two bytes.
        arrays = 2 + (2 if len(self.region.scenes) > 1 else 0) + (len(self.labels) if self.probability else 0)
        # Heat takes one, an offset four and an id eight.
        arrays += 0 if self.grouping is None else 13
        return sum(block.window.height * block.window.width for block in self.blocks) * arrays

    def to_json(self) -> dict[str, Any]:
        """What plan.json holds."""
        return {
            "version": PLAN_VERSION,
            "plan_hash": self.plan_hash,
            "mosaic": self.mosaic_content,
            "layers": self.layers_content,
            # What `geoseg export` must know without the model.
            "labels": [asdict(label) for label in self.labels.classes],
            "scenes": [{"name": scene.name, "date": scene.date} for scene in self.region.scenes],
            "shapes": self.shapes_content,
            "network": self.network_content,
            "scene_paths": [scene.uri for scene in self.region.scenes],
            "files": self.files,
            "model_path": self.model_path,
            "numerics": self.numerics.fingerprint(),
            "workers": self.workers,
            "worker_bytes": self.worker_bytes,
            "cache_mib": self.cache_mib,
            "blocks": len(self.work),
            "tiles_needed": self.blocks.tiles_needed,
            "tiles_evaluated": self.blocks.tiles_evaluated,
            "warnings": list(self.warnings),
        }


def check_same_run(existing: dict[str, Any], plan: RunPlan, run: Place) -> None:
    """Refuse to go on with a run that was planned otherwise, naming what differs.

    Raises:
        RunFolderError: The folder's mosaic depends on something else than this plan's, or lies in other blocks.
    """
    before, now = _flat(existing.get("mosaic", {})), _flat(plan.mosaic_content)
    if existing.get("plan_hash") == plan.plan_hash and before == now:
        return
    differences = [
        f"{key} was {_short(before.get(key))}, is {_short(now.get(key))}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    raise RunFolderError(
        f"{run} holds another run ({'; '.join(differences) or 'its plan.json is damaged, or of another geoseg'}): "
        "repeat that run's command, name another folder with -o, or start this one over with --fresh"
    )


def _short(value: object) -> object:
    """A value as it is told to people: of a sha256 the beginning tells two apart."""
    return f"{value[:12]}..." if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) else value


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            # plan.json has lists where the plan has tuples.
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat
