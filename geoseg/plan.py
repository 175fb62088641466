"""The plan of a run: everything that is decided before the first pixel is predicted."""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from geoseg.errors import GeosegError, RunFolderError
from geoseg.grid import parse_crs
from geoseg.groups import WHOLE_PX
from geoseg.imagery import Imagery
from geoseg.io.aoi import Aoi
from geoseg.io.gdal_environment import GDAL_CACHE_MIB
from geoseg.io.ledger import canonical_hash
from geoseg.io.mosaic import CHUNK_PX
from geoseg.io.raster import SceneRef
from geoseg.labels import LabelSet
from geoseg.models.footprint import forward_bytes
from geoseg.models.package import LoadedModel
from geoseg.predict import Numerics
from geoseg.tiling import Block, BlockPlan, Lattice

PLAN_VERSION = 2

_PROCESS_BYTES = 600 * 2**20
"""A worker with Python, torch, rasterio and zarr loaded, before it holds any data (measured: 380 to 430 MiB), and
what its allocator does not give back at once."""

BLOCKS_PER_WORKER = 20
"""Blocks that each worker should have, so that none waits long for the last."""

MOST_EXCESS = 1.10
"""Tiles evaluated over tiles needed, at most, for the sake of `BLOCKS_PER_WORKER`."""

_MOST_CHUNKS = 11
"""Chunks across a block; wider ones save few tiles more, and memory must not grow with the raster."""

_WHOLE_CHUNKS = 18
"""A grid of no more chunks across may be a single column of blocks."""

_WIDER = 2
"""So many chunks more across than even columns would have may save tiles."""

_RESERVED_SHARE = 0.3
"""Share of the machine's memory that is left to the driver, Ray and everything else."""


@dataclass(frozen=True, slots=True)
class TileOptions:
    """What the user may say about tiles and blocks; None takes the model's or the plan's own choice.

    Attributes:
        tile_px: Side of a tile.
        overlap_px: Pixels that neighbouring tiles share.
        block_px: (height, width) of a block.
    """

    tile_px: int | None = None
    overlap_px: int | None = None
    block_px: tuple[int, int] | None = None


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
        aoi: What of the grid is mapped; None for all of it.
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
    aoi: Aoi | None = None

    @property
    def work(self) -> tuple[Block, ...]:
        """The blocks that are to be done: all of them, or those that the area of interest touches."""
        blocks = tuple(self.blocks)
        if self.aoi is None:
            return blocks
        touched = self.aoi.touched([block.window for block in blocks])
        return tuple(block for block, is_touched in zip(blocks, touched, strict=True) if is_touched)

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
            "block_px": list(self.blocks.block_px),
            "probability": self.probability,
            "aoi": None if self.aoi is None else {"name": self.aoi.name, "sha256": self.aoi.identity},
        }

    @property
    def files(self) -> list[dict[str, Any]]:
        """The scene's files as they were when this was decided; the same content may be written again."""
        return [
            {"name": Path(stamp.path).name, "size": stamp.size, "changed_ns": stamp.changed_ns}
            for stamp in self.scene.stamps
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
    def shapes_content(self) -> dict[str, Any]:
        """All that outlines and features depend on besides the mosaic, as JSON; those of a class on no other's."""
        return {
            # 60 and 60.0 are the same area, and not the same JSON.
            "min_area_m2": float(self.layers.min_area_m2),
            "simplify_m": float(self.layers.simplify_m),
            "layers": [class_id for class_id, _ in self.labels.layers],
            "block_px": list(self.blocks.block_px),
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

    def _gave_way(self) -> str:
        """What could not be had of blocks enough for the workers and tiles evaluated once, in words."""
        few = len(self.blocks) < BLOCKS_PER_WORKER * self.workers
        dear = excess(self.blocks) > MOST_EXCESS
        match few, dear:
            case True, True:
                return f"; fewer than {BLOCKS_PER_WORKER} a worker, and more than {MOST_EXCESS:g} times the tiles"
            case True, False:
                return f"; fewer than {BLOCKS_PER_WORKER} a worker, for the sake of fewer tiles"
            case False, True:
                return f"; more than {MOST_EXCESS:g} times the tiles, for the sake of memory and workers"
        return ""

    def to_json(self) -> dict[str, Any]:
        """What plan.json holds."""
        return {
            "version": PLAN_VERSION,
            "plan_hash": self.plan_hash,
            "mosaic": self.mosaic_content,
            "layers": self.layers_content,
            "scene_path": self.scene.path,
            "files": self.files,
            "model_path": self.model_path,
            "numerics": self.numerics.fingerprint(),
            "workers": self.workers,
            "worker_bytes": self.worker_bytes,
            "blocks": len(self.work),
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
        whole = "" if self.aoi is None else "of the whole grid: "
        block_px = " x ".join(str(side) for side in blocks.block_px)
        outputs = [f"{run}/{name}" for name in ("mosaic.zarr", "classes.tif")]
        if blocks.height * blocks.width > WHOLE_PX:
            outputs[-1] += f" (or {run}/classes/*.tif, where data lies far apart)"
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
            *(() if self.aoi is None else (f"aoi      {self.aoi.name}, {self.aoi.share:.1%} of the grid",)),
            f"blocks   {len(self.work)} of {block_px} px, in chunks of {blocks.chunk_px} px{self._gave_way()}",
            (
                f"tiles    {whole}{needed} of {blocks.lattice.tile_px} px, overlapping by "
                f"{blocks.lattice.overlap_px} px; {evaluated} evaluated, "
                f"{evaluated / needed:.2f} times what is needed"
            ),
            (
                f"runs on  {self.workers} worker(s) on {numerics.device} in {numerics.precision}, "
                f"{numerics.threads} thread(s) each, {self.worker_bytes / 2**20:.0f} MiB each at most"
            ),
            f"layers   objects from {self.layers.min_area_m2:g} m2, simplified by {self.layers.simplify_m:g} m",
            f"writes   {', '.join(outputs)} (mosaic {self.mosaic_bytes / 2**20:.0f} MiB before compression)",
        ]


def lay_blocks(
    height: int,
    width: int,
    model: LoadedModel,
    options: TileOptions,
    *,
    workers: int = 1,
    fits: Callable[[BlockPlan], bool] = lambda _: True,
) -> BlockPlan:
    """Lattice and blocks of a grid: the model's own tiles; blocks a chunk high, down columns as wide as may be.

    Down a column a worker evaluates each tile once; tiles between two columns are evaluated twice. So columns are
    wide, but not wider than fits into a worker's memory, and than leaves each worker 20 blocks; as far as that does
    not cost more than a tenth more tiles.

    Args:
        height: Rows of the grid.
        width: Columns.
        model: For its tiles.
        options: What the user said; a block size that he named is taken as it is.
        workers: How many share the blocks.
        fits: Whether a worker has the memory for blocks of a plan.
    """
    lattice = Lattice(
        options.tile_px or model.card.tile.size_px,
        model.card.tile.overlap_px if options.overlap_px is None else options.overlap_px,
    )

    def plan(chunks: int) -> BlockPlan:
        return BlockPlan(height, width, lattice, CHUNK_PX, (CHUNK_PX, chunks * CHUNK_PX))

    if options.block_px is not None:
        return BlockPlan(height, width, lattice, CHUNK_PX, options.block_px)
    across = math.ceil(width / CHUNK_PX)
    # A grid that fits into one column has no borders between columns, and is worth wider blocks.
    most = across if across <= _WHOLE_CHUNKS else _MOST_CHUNKS
    while most > 1 and not fits(plan(most)):
        most -= 1
    affordable: list[BlockPlan] = []
    for columns in range(math.ceil(across / most), across + 1):
        even = math.ceil(across / columns)
        # A little wider, where the borders between columns then lie where fewer tiles overlap.
        widest = max(even, min(even + _WIDER, _MOST_CHUNKS, most))
        wider = [n for n in range(even, widest + 1) if math.ceil(across / n) == columns]
        blocks = min(map(plan, wider or [even]), key=lambda blocks: blocks.tiles_evaluated)
        if excess(blocks) <= MOST_EXCESS:
            affordable.append(blocks)
            if len(blocks) >= BLOCKS_PER_WORKER * workers:
                break
    return affordable[-1] if affordable else plan(most)


def excess(blocks: BlockPlan) -> float:
    """Tiles evaluated over tiles needed."""
    return blocks.tiles_evaluated / blocks.tiles_needed


def worker_bytes(model: LoadedModel, blocks: BlockPlan, forward: int, *, probability: bool = False) -> int:
    """Upper bound of what one worker holds at once, in the raster stages and in the vector stages.

    Args:
        model: For its bands and classes.
        blocks: Lattice and blocks.
        forward: Bytes of a forward pass, see `pass_bytes`.
        probability: Whether the probabilities of all classes are kept.
    """
    bands, classes = len(model.imagery.bands), len(model.labels)
    tile_px = blocks.lattice.tile_px
    height, width = (
        min(side, size) for side, size in zip(blocks.block_px, (blocks.height, blocks.width), strict=True)
    )
    hull = min(height + tile_px, blocks.height + tile_px) * min(width + tile_px, blocks.width + tile_px)
    # Per pixel read: the file's numbers and float32 values while a block is read, its mask; and the normalized
    # copies of two blocks, of which one waits for the other.
    read = hull * (bands * (4 + 4 + 2 * 4) + 4)
    # Per pixel of a block and of what its tiles reach below: the sums, and what is kept of them for the next block.
    # Per pixel of the block: their means, and what is stored, of two blocks, of which one is being written.
    area = (height + tile_px) * width
    blended = area * classes * 4 + tile_px * width * classes * 4
    blended += height * width * (classes * 4 + 2 * (12 + (classes if probability else 0)))
    return _PROCESS_BYTES + GDAL_CACHE_MIB * 2**20 + read + blended + forward


def pass_bytes(model: LoadedModel, options: TileOptions, batch: int) -> int:
    """Upper bound of what a forward pass of a batch of tiles holds, weights included."""
    tile_px = options.tile_px or model.card.tile.size_px
    return forward_bytes(model.build(), len(model.imagery.bands), tile_px, batch)


def memory_budget(memory: int | None) -> int:
    """Bytes that all workers may take together: --memory, or what the machine has less a reserve."""
    if memory is not None:
        return memory
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * (1 - _RESERVED_SHARE))


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
    fitting = memory_budget(memory) // bytes_each
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


def _metres(resolution_yx: tuple[float, float]) -> str:
    y, x = resolution_yx
    return f"{y:.3g}" if abs(y - x) < 0.005 * x else f"{y:.3g} x {x:.3g}"


def _stretch(scene: SceneRef) -> str:
    pairs = dict.fromkeys(scene.stretch or ())
    return ", ".join(f"{low:g} to {high:g}" for low, high in pairs)
