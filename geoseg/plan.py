"""The plan of a run: everything that is decided before the first pixel is predicted."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from geoseg.errors import GeosegError, RunFolderError
from geoseg.grid import parse_crs
from geoseg.imagery import Imagery
from geoseg.io.gdal_environment import GDAL_CACHE_MIB
from geoseg.io.ledger import canonical_hash
from geoseg.io.mosaic import CHUNK_PX
from geoseg.io.raster import SceneRef
from geoseg.labels import LabelSet
from geoseg.models.footprint import forward_bytes
from geoseg.models.package import LoadedModel
from geoseg.predict import Numerics
from geoseg.tiling import BlockPlan, Lattice

PLAN_VERSION = 2

_PROCESS_BYTES = 450 * 2**20
"""A worker with Python, torch, rasterio and zarr loaded, before it holds any data (measured: 380 to 430 MiB)."""

_RESERVED_SHARE = 0.3
"""Share of the machine's memory that is left to the driver, Ray and everything else."""


@dataclass(frozen=True, slots=True)
class TileOptions:
    """What the user may say about tiles and blocks; None takes the model's or the plan's own choice."""

    tile_px: int | None = None
    overlap_px: int | None = None
    block_px: int | None = None


LayerFormat = Literal["geojson", "gpkg"]
"""A vector format."""


@dataclass(frozen=True, slots=True)
class LayerOptions:
    """How objects become features, and features files.

    Attributes:
        min_area_m2: Smaller objects are left out; 0 keeps all.
        simplify_m: Tolerance of the simplification on the ground; 0 leaves outlines untouched.
        classes: Names of the classes whose layers are written; None for all that have one.
        formats: What the layers are written as.
    """

    min_area_m2: float
    simplify_m: float
    classes: tuple[str, ...] | None = None
    formats: tuple[LayerFormat, ...] = ("geojson", "gpkg")


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run, decided.

    Attributes:
        scene: The scene and how it is read.
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
    """

    scene: SceneRef
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

    @property
    def mosaic_content(self) -> dict[str, Any]:
        """All that the mosaic depends on, as JSON; not the machine, the workers or the RUN folder's place."""
        scene = self.scene.to_json()
        scene["path"] = Path(self.scene.path).name
        return {
            "scene": scene,
            "model": {"name": self.model_name, "identity": self.model_identity},
            "tile_px": self.blocks.lattice.tile_px,
            "overlap_px": self.blocks.lattice.overlap_px,
            "chunk_px": self.blocks.chunk_px,
            "block_px": self.blocks.block_px,
            "probability": self.probability,
        }

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
    def shapes_content(self) -> dict[str, Any]:
        """All that outlines and features depend on besides the mosaic, as JSON; those of a class on no other's."""
        return {
            "min_area_m2": self.layers.min_area_m2,
            "simplify_m": self.layers.simplify_m,
            "layers": [class_id for class_id, _ in self.labels.layers],
            "block_px": self.blocks.block_px,
        }

    @property
    def layers_content(self) -> dict[str, Any]:
        """All that the layers depend on besides the mosaic, as JSON; each format is written from the same."""
        return {
            "min_area_m2": self.layers.min_area_m2,
            "simplify_m": self.layers.simplify_m,
            "classes": [self.labels.names[class_id] for class_id, _ in self.layer_classes],
        }

    @property
    def mosaic_bytes(self) -> int:
        """Bytes of the mosaic's full-resolution arrays before compression."""
        arrays = 2 + (len(self.labels) if self.probability else 0)
        return self.blocks.height * self.blocks.width * arrays

    def to_json(self) -> dict[str, Any]:
        """What plan.json holds."""
        return {
            "version": PLAN_VERSION,
            "plan_hash": self.plan_hash,
            "mosaic": self.mosaic_content,
            "layers": self.layers_content,
            "scene_path": self.scene.path,
            "model_path": self.model_path,
            "numerics": self.numerics.fingerprint(),
            "workers": self.workers,
            "worker_bytes": self.worker_bytes,
            "blocks": len(self.blocks),
            "tiles_needed": self.blocks.tiles_needed,
            "tiles_evaluated": self.blocks.tiles_evaluated,
            "warnings": list(self.warnings),
        }

    def lines(self, run: Path) -> list[str]:
        """The plan for people, a line each."""
        scene, blocks, numerics = self.scene, self.blocks, self.numerics
        native = _metres(scene.native_resolution_m)
        grid = _metres(scene.grid.ground_resolution_m())
        bands = ", ".join(
            f"{number} as {name}" for number, name in zip(scene.bands, self.imagery.bands, strict=True)
        )
        evaluated, needed = blocks.tiles_evaluated, blocks.tiles_needed
        outputs = [f"{run}/{name}" for name in ("mosaic.zarr", "classes.tif")]
        for kind in self.layers.formats:
            match kind:
                case "geojson":
                    outputs += [f"{run}/layers/{layer}.geojson" for _, layer in self.layer_classes]
                case "gpkg":
                    outputs.append(f"{run}/layers/geoseg.gpkg")
        outputs += [f"{run}/{name}" for name in ("preview.png", "run.json")]
        return [
            f"scene    {scene.path}, {scene.source_height} x {scene.source_width} px of {scene.dtype}",
            f"bands    {bands} ({scene.band_rule})"
            + ("" if scene.stretch is None else f", stretched from {_stretch(scene)}"),
            f"model    {self.model_name} ({self.model_path})",
            f"ground   scene {native} m, model {self.imagery.ground_resolution_m:g} m, grid {grid} m a pixel",
            f"grid     {blocks.height} x {blocks.width} px in {parse_crs(scene.grid.crs).name}",
            f"blocks   {len(blocks)} of {blocks.block_px} px, in chunks of {blocks.chunk_px} px",
            (
                f"tiles    {needed} of {blocks.lattice.tile_px} px, overlapping by {blocks.lattice.overlap_px} px; "
                f"{evaluated} evaluated, {evaluated / needed:.2f} times what is needed"
            ),
            (
                f"runs on  {self.workers} worker(s) on {numerics.device} in {numerics.precision}, "
                f"{numerics.threads} thread(s) each, {self.worker_bytes / 2**20:.0f} MiB each at most"
            ),
            f"layers   objects from {self.layers.min_area_m2:g} m2, simplified by {self.layers.simplify_m:g} m",
            f"writes   {', '.join(outputs)} (mosaic {self.mosaic_bytes / 2**20:.0f} MiB before compression)",
        ]


def lay_blocks(height: int, width: int, model: LoadedModel, options: TileOptions) -> BlockPlan:
    """Lattice and blocks of a grid: the model's own tiles, and blocks large enough to share few of them.

    The block size depends on the grid alone, so that the same scene has the same plan on every machine.
    """
    lattice = Lattice(
        options.tile_px or model.card.tile.size_px,
        model.card.tile.overlap_px if options.overlap_px is None else options.overlap_px,
    )
    block_px = options.block_px
    if block_px is None:
        # Four blocks give two workers something to share; larger blocks evaluate fewer tiles twice.
        block_px = 2 * CHUNK_PX if height * width <= (8 * CHUNK_PX) ** 2 else 4 * CHUNK_PX
    return BlockPlan(height, width, lattice, CHUNK_PX, block_px)


def worker_bytes(model: LoadedModel, blocks: BlockPlan, batch: int) -> int:
    """Upper bound of what one worker holds at once."""
    bands, classes = len(model.imagery.bands), len(model.labels)
    block = min(blocks.block_px, blocks.height) * min(blocks.block_px, blocks.width)
    reach = 2 * blocks.lattice.tile_px
    hull = min(blocks.block_px + reach, blocks.height) * min(blocks.block_px + reach, blocks.width)
    # Per pixel read: the file's numbers, float32 values, the normalized copy and the mask.
    read = hull * (bands * (4 + 4 + 4) + 2)
    # Per pixel of the block: sums and weights, their copies while they are quantised, and the result.
    blended = block * ((classes + 1) * 4 + classes * (4 + 4 + 1) + 8)
    forward = forward_bytes(model.build(), bands, blocks.lattice.tile_px, batch)
    return _PROCESS_BYTES + GDAL_CACHE_MIB * 2**20 + read + blended + forward


def choose_workers(asked: int | None, numerics: Numerics, bytes_each: int, memory: int | None) -> int:
    """How many workers: as asked, else what cores (or CUDA devices) and memory allow.

    Args:
        asked: --workers.
        numerics: Device and threads of each worker.
        bytes_each: Upper bound of a worker's memory.
        memory: --memory in bytes, or None for what the machine has.

    Raises:
        GeosegError: Not even one worker, or not as many as asked for, fit into --memory.
    """
    budget = memory
    if budget is None:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        budget = int(total * (1 - _RESERVED_SHARE))
    fitting = budget // bytes_each
    wanted = 1 if asked is None else asked
    if memory is not None and fitting < wanted:
        raise GeosegError(
            f"--memory {memory} holds {fitting} worker(s) of {bytes_each} bytes, wanted {wanted}: "
            "give more memory, fewer --workers, or a smaller --block-size or --tile-size"
        )
    if asked is not None:
        return asked
    match numerics.device:
        case "cpu":
            places = max(1, len(os.sched_getaffinity(0)) // numerics.threads)
        case "cuda":
            places = torch.cuda.device_count()
        case _:
            places = 1
    return max(1, min(places, fitting))


def check_same_run(existing: dict[str, Any], plan: RunPlan, run: Path) -> None:
    """Refuse to go on with a run that was planned otherwise, naming what differs.

    Raises:
        RunFolderError: The folder's mosaic depends on something else than this plan's, or lies in other blocks.
    """
    before, now = _flat(existing.get("mosaic", {})), _flat(plan.mosaic_content)
    if existing.get("plan_hash") == plan.plan_hash and before == now:
        return
    differences = [
        f"{key} was {before.get(key)}, is {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    raise RunFolderError(
        f"{run} holds another run ({'; '.join(differences) or 'an older version of plan.json'}): "
        "repeat that run's command, name another folder with -o, or start this one over with --fresh"
    )


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            # plan.json has lists where the plan has tuples.
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def _metres(resolution_yx: tuple[float, float]) -> str:
    y, x = resolution_yx
    return f"{y:.3g}" if abs(y - x) < 0.005 * x else f"{y:.3g} x {x:.3g}"


def _stretch(scene: SceneRef) -> str:
    pairs = dict.fromkeys(scene.stretch or ())
    return ", ".join(f"{low:g} to {high:g}" for low, high in pairs)
