"""How a grid is cut into tiles and blocks, and what a worker then needs and how many there can be."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from geoseg.errors import GeosegError
from geoseg.grid import Window
from geoseg.io.gdal_environment import GDAL_CACHE_MIB
from geoseg.io.mosaic import CHUNK_PX
from geoseg.models.footprint import forward_bytes
from geoseg.models.package import LoadedModel
from geoseg.objects.grouping import Grouping
from geoseg.pixels import STRIP_PX
from geoseg.predict import Numerics
from geoseg.tiling import BlockPlan, Lattice

_PROCESS_BYTES = 700 * 2**20
"""A worker with Python, torch, rasterio, zarr and numba loaded, before it holds any data (measured: 380 to 430 MiB,
and 110 for numba), and what its allocator does not give back at once."""

_CENTRE_BYTES = 5
"""Heat and an offset of a pixel, as they are stored."""

_DECODED_BYTES = 80
"""Of a pixel of a block that is decoded: offsets, votes, keys, segments, and what sorting them takes."""

BLOCKS_PER_WORKER = 20
"""Blocks that each worker should have, so that none waits long for the last."""

MOST_EXCESS = 1.10
"""Tiles evaluated over tiles needed, at most, for the sake of `BLOCKS_PER_WORKER`."""

_TILE_COST = 2.5
"""Evaluating a tile takes about as long as blending, writing, labelling and outlining so many times its pixels."""

_MOST_CHUNKS = 10
"""Chunks across a block; wider ones save few tiles more, and memory must not grow with the raster."""

_WHOLE_CHUNKS = 18
"""A grid of no more chunks across may be a single column of blocks."""

_WIDER = 2
"""So many chunks more across than even columns would have may save tiles."""

_MOST_DECODE_THREADS = 4
"""Of a worker: more of them than that find no blocks to decode in a window."""

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


def lay_blocks(
    height: int,
    width: int,
    model: LoadedModel,
    options: TileOptions,
    *,
    covered: Sequence[Window] | None = None,
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
        covered: Where scenes lie; None for everywhere.
        workers: How many share the blocks.
        fits: Whether a worker has the memory for blocks of a plan.
    """
    lattice = Lattice(
        options.tile_px or model.card.tile.size_px,
        model.card.tile.overlap_px if options.overlap_px is None else options.overlap_px,
    )

    where = None if covered is None else tuple(covered)

    def plan(chunks: int) -> BlockPlan:
        return BlockPlan(height, width, lattice, CHUNK_PX, (CHUNK_PX, chunks * CHUNK_PX), where)

    if options.block_px is not None:
        return BlockPlan(height, width, lattice, CHUNK_PX, options.block_px, where)
    across = math.ceil(width / CHUNK_PX)
    # A grid that fits into one column has no borders between columns, and is worth wider blocks.
    most = across if across <= _WHOLE_CHUNKS else _MOST_CHUNKS
    while most > 1 and not fits(plan(most)):
        most -= 1
    if where is not None:
        return _where_scenes_lie([plan(chunks) for chunks in range(1, most + 1)], workers)
    affordable: list[BlockPlan] = []
    tried = set()
    for columns in range(math.ceil(across / most), across + 1):
        even = math.ceil(across / columns)
        # A little wider, where the borders between columns then lie where fewer tiles overlap.
        widest = max(even, min(even + _WIDER, _MOST_CHUNKS, most))
        wider = tuple(n for n in range(even, widest + 1) if math.ceil(across / n) == columns) or (even,)
        if wider in tried:
            continue
        tried.add(wider)
        blocks = min(map(plan, wider), key=lambda blocks: blocks.tiles_evaluated)
        if excess(blocks) <= MOST_EXCESS:
            affordable.append(blocks)
            if len(blocks) >= BLOCKS_PER_WORKER * workers:
                break
    return affordable[-1] if affordable else plan(most)


def _where_scenes_lie(plans: Sequence[BlockPlan], workers: int) -> BlockPlan:
    """Of blocks of several widths those that cost least: wide ones save tiles, narrow ones hold less of nothing."""

    def cost(blocks: BlockPlan) -> float:
        area = sum(block.window.height * block.window.width for block in blocks)
        return blocks.tiles_evaluated * _TILE_COST * blocks.lattice.tile_px**2 + area

    enough = [blocks for blocks in plans if len(blocks) >= BLOCKS_PER_WORKER * workers]
    return min(enough or plans, key=cost)


def excess(blocks: BlockPlan) -> float:
    """Tiles evaluated over tiles needed."""
    return blocks.tiles_evaluated / blocks.tiles_needed


def worker_bytes(
    model: LoadedModel,
    blocks: BlockPlan,
    forward: int,
    *,
    probability: bool = False,
    merged: bool = False,
    cache_mib: int = GDAL_CACHE_MIB,
) -> int:
    """Upper bound of what one worker holds at once, in the raster stages and in the vector stages.

    Args:
        model: For its bands and classes.
        blocks: Lattice and blocks.
        forward: Bytes of a forward pass, see `pass_bytes`.
        probability: Whether the probabilities of all classes are kept.
        merged: Whether the pixels are put together from several scenes.
        cache_mib: What GDAL keeps of the files.
    """
    bands, classes, panoptic = len(model.imagery.bands), len(model.labels), model.card.architecture.instances
    fields = model.card.architecture.channels
    tile_px = blocks.lattice.tile_px
    height, width = (
        min(side, size) for side, size in zip(blocks.block_px, (blocks.height, blocks.width), strict=True)
    )
    hull = min(height + tile_px, blocks.height + tile_px) * min(width + tile_px, blocks.width + tile_px)
    # The normalized pixels and masks of two blocks, of which one waits for the other. Per pixel of a strip that is
    # being read: the file's numbers, their float32 values, those normalized, and masks.
    strip = min(height + tile_px, STRIP_PX) * min(width + tile_px, blocks.width + tile_px)
    read = hull * 2 * (bands * 4 + 1) + strip * (bands * (4 + 4 + 4) + 4)
    if merged:
        # The scene that is being read beside those that were. Masks are read at once: how good each pixel's scene
        # is, which, and who else's.
        read += strip * bands * 4 + hull * (3 * 8 + 4 + 4)
    # Per pixel of a block and of what its tiles reach below: the sums, and what is kept of them for the next block.
    # Per pixel of the block: their means, and what is stored, of two blocks, of which one is being written.
    area = (height + tile_px) * width
    blended = area * fields * 4 + tile_px * width * fields * 4
    stored = 12 + (classes if probability else 0) + (_CENTRE_BYTES if panoptic else 0)
    blended += height * width * (fields * 4 + 2 * stored)
    most = read + blended + forward
    if panoptic:
        halo_px = (model.card.grouping or Grouping()).halo_px
        most = max(most, (height + 2 * halo_px) * (width + 2 * halo_px) * _DECODED_BYTES)
    return _PROCESS_BYTES + cache_mib * 2**20 + most


def pass_bytes(model: LoadedModel, options: TileOptions, batch: int) -> int:
    """Upper bound of what a forward pass of a batch of tiles holds, weights included."""
    tile_px = options.tile_px or model.card.tile.size_px
    return forward_bytes(model.build(), len(model.imagery.bands), tile_px, batch)


def memory_budget(memory: int | None) -> int:
    """Bytes that all workers may take together: --memory, or what the machine has less a reserve."""
    if memory is not None:
        return memory
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * (1 - _RESERVED_SHARE))


def decode_threads(numerics: Numerics, workers: int) -> int:
    """How many blocks of a file a worker decodes at a time, beside its network: a GPU must not wait for one core.

    Args:
        numerics: Device and threads of each worker.
        workers: How many share the machine's cores.
    """
    if numerics.device == "cpu":
        return min(numerics.threads, _MOST_DECODE_THREADS)
    share = len(os.sched_getaffinity(0)) // workers
    return min(max(numerics.threads, share, 1), _MOST_DECODE_THREADS)


def choose_workers(asked: int | None, numerics: Numerics, bytes_each: int, memory: int | None) -> int:
    """How many workers: as asked, else what cores (or CUDA devices) and memory allow.

    Args:
        asked: --workers.
        numerics: Device and threads of each worker.
        bytes_each: Upper bound of a worker's memory.
        memory: --memory in bytes, or None for what the machine has.

    Raises:
        GeosegError: Not even one worker, or not as many as asked for, fit into --memory; or there is no telling how
            many a cluster has GPUs for.
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
    if numerics.elsewhere and numerics.device == "cuda":
        raise GeosegError("--address with --device cuda: say with --workers how many GPUs to use")
    match numerics.device:
        case "cpu":
            places = max(1, len(os.sched_getaffinity(0)) // numerics.threads)
        case "cuda":
            places = torch.cuda.device_count()
        case _:
            places = 1
    return max(1, min(places, fitting))
