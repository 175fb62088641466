"""The plan of a run: everything that is decided before the first pixel is predicted."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from geoseg.errors import GeosegError, RunFolderError
from geoseg.imagery import Imagery
from geoseg.io.aoi import Aoi
from geoseg.io.coverage import Coverage
from geoseg.io.gdal_environment import GDAL_CACHE_MIB
from geoseg.io.ledger import canonical_hash
from geoseg.io.reads import Reads
from geoseg.io.region import Region
from geoseg.io.survey import Row
from geoseg.labels import LabelSet, Network
from geoseg.objects.grouping import Grouping, Panoptic
from geoseg.objects.thresholds import Thresholds
from geoseg.predict import Numerics
from geoseg.tiling import Block, BlockPlan
from geoseg.vectorize.cleaning import Cleaning

PLAN_VERSION = 4

LayerFormat = Literal["geojson", "geojsonseq", "gpkg", "fgb", "parquet", "pmtiles"]
"""A vector format."""


@dataclass(frozen=True, slots=True)
class LayerOptions:
    """How objects become features, and features files.

    Attributes:
        min_area_m2: Smaller objects are left out; 0 keeps all.
        simplify_m: Tolerance of the simplification on the ground; 0 leaves outlines untouched.
        classes: Names of the classes whose layers are written; None for all that have one.
        formats: What the layers are written as.
        thresholds: Name of a class and its least probability, 0 to 1: pixels below are of no object.
        min_area_of: Name of a class and its own minimum area.
        min_hole_m2: Smaller holes are filled where no layer has anything in them; None to go by the minimum area.
        min_hole_of: Name of a class and its own minimum area of holes.
        smooth: Whether the staircase of pixels is smoothed; None if outlines are simplified.
        regularize: Whether countable objects get straight walls; None if outlines are simplified.
        network: Whether roads become a network of lines and nodes, too; None for where there are roads.
    """

    min_area_m2: float
    simplify_m: float
    classes: tuple[str, ...] | None = None
    formats: tuple[LayerFormat, ...] = ("geojson", "gpkg")
    thresholds: tuple[tuple[str, float], ...] = ()
    min_area_of: tuple[tuple[str, float], ...] = ()
    min_hole_m2: float | None = None
    min_hole_of: tuple[tuple[str, float], ...] = ()
    smooth: bool | None = None
    regularize: bool | None = None
    network: bool | None = None


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
    def layer_classes(self) -> tuple[tuple[int, str], ...]:
        """Class id and name of each layer that is written.

        Raises:
            GeosegError: A class was asked for that the model does not have, or that has no layer.
        """
        asked = self.layers.classes
        if asked is None:
            return self.labels.layers
        with_layer = {self.labels.names[class_id]: (class_id, layer) for class_id, layer in self.labels.layers}
        unknown = [name for name in asked if name not in with_layer]
        if unknown or not asked:
            raise GeosegError(
                f"--classes expects some of {', '.join(with_layer)}, got {', '.join(unknown) or 'nothing'}"
            )
        return tuple(layer for name, layer in with_layer.items() if name in asked)

    @property
    def network(self) -> Network | None:
        """The layers of the network of roads, where they are written.

        Raises:
            GeosegError: A network was asked for, and the model has no class for one.
        """
        found = self.labels.network
        if self.layers.network and found is None:
            raise GeosegError(
                f"--network expects a model with a class road or roads that has a layer, this one has "
                f"{', '.join(self.labels.names)}: leave it out"
            )
        if found is None or self.layers.network is False:
            return None
        return found if found.class_id in dict(self.layer_classes) else None

    @property
    def thresholds(self) -> Thresholds:
        """How probable classes must be.

        Raises:
            GeosegError: A threshold is set for a class that has no layer, or is no probability.
        """
        ids = {self.labels.names[class_id]: class_id for class_id, _ in self.labels.layers}
        for name, share in self.layers.thresholds:
            if name not in ids or not 0 <= share <= 1:
                raise GeosegError(
                    f"--threshold expects CLASS=P with one of {', '.join(ids)} and P from 0 to 1, "
                    f"got {name}={share:g}"
                )
        return Thresholds.of({ids[name]: share for name, share in self.layers.thresholds})

    @property
    def cleaning(self) -> Cleaning:
        """What is made of outlines, by class.

        Raises:
            GeosegError: An area is set for a class that has no layer, or is none.
        """
        options, names = self.layers, self.labels.names
        min_area_m2 = self._areas("--min-area", options.min_area_m2, options.min_area_of)
        holes = [options.min_hole_m2] * len(names) if options.min_hole_m2 is not None else min_area_m2
        min_hole_m2 = self._areas("--min-hole", holes, options.min_hole_of)
        simplified = options.simplify_m > 0
        things = [class_id for class_id, _ in self.labels.layers if self.labels.classes[class_id].kind == "thing"]
        regularize = simplified if options.regularize is None else options.regularize
        return Cleaning(
            min_area_m2=tuple(min_area_m2),
            min_hole_m2=tuple(min_hole_m2),
            simplify_m=options.simplify_m,
            smooth=simplified if options.smooth is None else options.smooth,
            regularize=tuple(things) if regularize else (),
        )

    @property
    def cleaning_in_words(self) -> tuple[str, ...]:
        """What is made of outlines, for people."""
        cleaning, names = self.cleaning, self.labels.names

        def areas(usual_m2: float, by_class: tuple[float, ...]) -> str:
            others = [
                f", {names[class_id]} {by_class[class_id]:g} m2"
                for class_id, _ in self.labels.layers
                if by_class[class_id] != usual_m2
            ]
            return f"{usual_m2:g} m2{''.join(others)}"

        words = [f"objects from {areas(self.layers.min_area_m2, cleaning.min_area_m2)}"]
        if any(cleaning.min_hole_m2):
            usual_m2 = self.layers.min_area_m2 if self.layers.min_hole_m2 is None else self.layers.min_hole_m2
            words.append(f"holes below {areas(usual_m2, cleaning.min_hole_m2)} filled")
        if cleaning.smooth:
            words.append("smoothed")
        simplify_m = cleaning.simplify_m
        words.append(f"simplified by {simplify_m:g} m" if simplify_m else "not simplified")
        if cleaning.regularize:
            words.append(f"{' and '.join(names[class_id] for class_id in cleaning.regularize)} with straight walls")
        return tuple(words)

    def _areas(
        self, option: str, usual_m2: float | Sequence[float], of: tuple[tuple[str, float], ...]
    ) -> list[float]:
        """Areas by class id: the usual ones, but for those of some classes."""
        ids = {self.labels.names[class_id]: class_id for class_id, _ in self.labels.layers}
        areas = [usual_m2] * len(self.labels) if isinstance(usual_m2, int | float) else [*usual_m2]
        for name, area_m2 in of:
            if name not in ids or not 0 <= area_m2 < math.inf:
                raise GeosegError(
                    f"{option} expects CLASS=M2 with one of {', '.join(ids)} and an area from 0, "
                    f"got {name}={area_m2:g}"
                )
            areas[ids[name]] = area_m2
        return areas

    @property
    def objects_content(self) -> dict[str, Any]:
        """All that objects depend on besides the mosaic, as JSON."""
        return {
            "layers": [class_id for class_id, _ in self.labels.layers],
            "thresholds": [list(one) for one in self.thresholds.least],
            "grouping": None if self.grouping is None else asdict(self.grouping),
        }

    @property
    def shapes_content(self) -> dict[str, Any]:
        """All that outlines and features depend on besides the mosaic, as JSON; those of a class on no other's."""
        return {
            "cleaning": self.cleaning.to_json(),
            "block_px": list(self.blocks.block_px),
            **self.objects_content,
        }

    @property
    def network_content(self) -> dict[str, Any]:
        """All that the network depends on besides the mosaic, as JSON."""
        content = {key: value for key, value in self.shapes_content.items() if key != "cleaning"}
        return {**content, "min_area_m2": [float(area) for area in self.cleaning.min_area_m2]}

    @property
    def layers_content(self) -> dict[str, Any]:
        """All that the layers depend on besides the mosaic, as JSON; each format is written from the same."""
        cleaning, names = self.cleaning, self.labels.names
        with_layer = [class_id for class_id, _ in self.labels.layers]
        return {
            "min_area_m2": {names[class_id]: float(cleaning.min_area_m2[class_id]) for class_id in with_layer},
            "min_hole_m2": {names[class_id]: float(cleaning.min_hole_m2[class_id]) for class_id in with_layer},
            "simplify_m": float(cleaning.simplify_m),
            "smooth": cleaning.smooth,
            "regularize": [names[class_id] for class_id in cleaning.regularize],
            "thresholds": {self.labels.names[class_id]: share for class_id, share in self.thresholds.least},
            "classes": [self.labels.names[class_id] for class_id, _ in self.layer_classes],
            "network": self.network is not None,
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


def check_same_run(existing: dict[str, Any], plan: RunPlan, run: Path) -> None:
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
