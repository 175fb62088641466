"""A block's pixels in, fields out: the network over every tile that touches a block, blended and quantised."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.blend import BlockBlend, taper
from geoseg.errors import GeosegError, ModelError
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.mosaic import PROBABILITY_SCALE
from geoseg.labels import NODATA_CLASS
from geoseg.tiling import Block, BlockPlan, Lattice, Tile, mirrored

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Numerics:
    """What besides the plan decides a prediction's last bits.

    Attributes:
        device: "cpu", "cuda" or "cuda:N".
        precision: Of the network's matrix products; the rest is float32.
        threads: CPU threads of a worker.
        batch: Tiles in one forward pass; the last batch is filled up with zeros.
    """

    device: str
    precision: Precision
    threads: int
    batch: int

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for two blocks to be of one run: this, torch and the kind of processor."""
        if self.device == "cpu":
            kind = torch.backends.cpu.get_cpu_capability()
        else:
            kind = torch.cuda.get_device_name(self.device)
        return {**asdict(self), "torch": torch.__version__, "kind": kind}


def choose_device(asked: str | None) -> str:
    """The device asked for, else CUDA ("cuda": a device for each worker), else the CPU.

    Raises:
        GeosegError: A device that this machine does not have; nothing else is taken in its place.
    """
    cuda = torch.cuda.is_available()
    if asked is None:
        return "cuda" if cuda else "cpu"
    name, _, number = asked.partition(":")
    if asked == "cpu" or (name == "cuda" and cuda and (not number or number.isdigit())):
        if number and int(number) >= torch.cuda.device_count():
            raise GeosegError(f"--device {asked}: this machine has {torch.cuda.device_count()} CUDA device(s)")
        return asked
    if name == "cuda":
        raise GeosegError(f"--device {asked}: no CUDA device answers here; use --device cpu, or check the driver")
    raise GeosegError(f"expected --device cpu, cuda or cuda:N, got {asked}")


def choose_precision(asked: Precision | None, device: str) -> Precision:
    """The precision asked for, else bf16 where the processor multiplies it in hardware, else fp32.

    Raises:
        GeosegError: fp16 on a CPU, which has no kernels for it worth running.
    """
    if asked == "fp16" and device == "cpu":
        raise GeosegError("--precision fp16 needs a CUDA device; use fp32 or bf16 on a CPU")
    if asked is not None:
        return asked
    if device == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return "bf16" if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") else "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


class Predictor:
    """A network on a device: batches of tiles in, class probabilities out.

    Args:
        network: From tiles (batch, band, row, column) to logits (batch, class, row, column), float32.
        numerics: Where and how it runs.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], numerics: Numerics) -> None:
        self._network = network
        self._numerics = numerics
        if isinstance(network, torch.nn.Module):
            network.eval().to(numerics.device)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    @property
    def batch(self) -> int:
        """Tiles in one forward pass."""
        return self._numerics.batch

    def probabilities(self, tiles: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Softmax of the network's logits.

        Args:
            tiles: At most a batch of normalized tiles (band, row, column).

        Returns:
            (tile, class, row, column), float32.
        """
        # Always a full batch: the kernels, and with them the last bits, may depend on its size.
        batch_nchw = np.zeros((self.batch, *tiles[0].shape), np.float32)
        batch_nchw[: len(tiles)] = tiles
        with torch.inference_mode():
            logits_nchw = self.logits(torch.from_numpy(batch_nchw))
            # A sum is NaN or infinite where one of its terms is.
            if not bool(torch.isfinite(logits_nchw.sum())):
                raise ModelError(
                    f"the network's answer is not finite in {self._numerics.precision}: its weights are "
                    "damaged, or it needs --precision fp32"
                )
            probabilities_nchw: NDArray[np.float32] = logits_nchw.softmax(dim=1).cpu().numpy()
        return probabilities_nchw[: len(tiles)]

    def logits(self, tiles_nchw: Tensor) -> Tensor:
        """The answer to normalized tiles (tile, band, row, column): float32 (tile, class, row, column)."""
        with torch.inference_mode(), self._autocast():
            input_nchw = tiles_nchw.to(self._numerics.device).contiguous(memory_format=torch.channels_last)
            return self._network(input_nchw).float()

    def _autocast(self) -> AbstractContextManager[Any]:
        match self._numerics.precision:
            case "fp32":
                return nullcontext()
            case "bf16":
                return torch.autocast(self._numerics.device.partition(":")[0], torch.bfloat16)
            case "fp16":
                return torch.autocast("cuda", torch.float16)


class PixelSource(Protocol):
    """Where a block's pixels come from (a `geoseg.io.raster.SceneReader`, or a fake in a test)."""

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """image_chw and valid_hw of a window within the grid."""
        ...

    def read_valid(self, window: Window) -> NDArray[np.bool_]:
        """valid_hw of a window within the grid."""
        ...


@dataclass(frozen=True, slots=True)
class BlockFields:
    """What is stored of a block.

    Attributes:
        classes_hw: Winning class, 255 = nodata.
        confidence_hw: Probability of the winning class x 254, 255 = nodata.
        probability_chw: Probability of every class x 254, 255 = nodata.
        tiles: Tiles that held data and were evaluated.
    """

    classes_hw: NDArray[np.uint8]
    confidence_hw: NDArray[np.uint8]
    probability_chw: NDArray[np.uint8]
    tiles: int


def predict_block(
    source: PixelSource,
    imagery: Imagery,
    plan: BlockPlan,
    block: Block,
    predictor: Predictor,
    classes: int,
    weights: Callable[[Lattice], NDArray[np.float32]] = taper,
) -> BlockFields | None:
    """Predict one block from all tiles that touch it.

    A tile without data is not evaluated: it holds no pixel that needs it, whichever block asks.

    Args:
        source: The scene on the plan's grid.
        imagery: What the network expects.
        plan: Lattice and blocks.
        block: The block to predict.
        predictor: The network.
        classes: How many classes it tells apart.
        weights: How the pixels of a tile count along each axis; positive everywhere.

    Returns:
        The block's fields, or None if it holds no data.
    """
    if not source.read_valid(block.window).any():
        return None
    tiles = plan.tiles(block)
    seen = _Mirror(source, imagery, plan, tiles)
    valid_hw = seen.valid(block.window)
    if not valid_hw.any():
        return None
    with_data = [tile for tile in tiles if seen.valid(tile.window).any()]
    blend = BlockBlend(block.window, classes, weights(plan.lattice))
    for start in range(0, len(with_data), predictor.batch):
        group = with_data[start : start + predictor.batch]
        fields = predictor.probabilities([seen.normalized(tile.window) for tile in group])
        for tile, probability_chw in zip(group, fields, strict=True):
            blend.add(tile.window, probability_chw)
    probability_chw, _ = blend.mean()
    return quantise(probability_chw, valid_hw, len(with_data))


def quantise(probability_chw: NDArray[np.float32], valid_hw: NDArray[np.bool_], tiles: int) -> BlockFields:
    """Classes, confidence and probabilities as they are stored; equal probabilities go to the lower class id."""
    winner_hw = np.zeros(valid_hw.shape, np.uint8)
    highest_hw = probability_chw[0].copy()
    for class_id in range(1, len(probability_chw)):
        higher_hw = probability_chw[class_id] > highest_hw
        winner_hw[higher_hw] = class_id
        np.maximum(highest_hw, probability_chw[class_id], out=highest_hw)
    nodata = np.uint8(NODATA_CLASS)
    return BlockFields(
        np.where(valid_hw, winner_hw, nodata),
        np.where(valid_hw, _scaled(highest_hw), nodata),
        # A class at a time: temporaries of all classes would be the largest arrays of a worker.
        np.stack([np.where(valid_hw, _scaled(band_hw), nodata) for band_hw in probability_chw]),
        tiles,
    )


def _scaled(probability_hw: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(np.clip(probability_hw, 0, 1) * np.float32(PROBABILITY_SCALE)).astype(np.uint8)


class _Mirror:
    """The pixels around a block, normalized, and mirrored where tiles reach beyond the grid."""

    def __init__(self, source: PixelSource, imagery: Imagery, plan: BlockPlan, tiles: Sequence[Tile]) -> None:
        self._height, self._width = plan.height, plan.width
        rows = mirrored(min(t.window.row for t in tiles), max(t.window.row_stop for t in tiles), plan.height)
        cols = mirrored(min(t.window.col for t in tiles), max(t.window.col_stop for t in tiles), plan.width)
        self._row, self._col = int(rows.min()), int(cols.min())
        # One read for all tiles: overlapping reads would decode the same pixels several times.
        hull = Window(self._row, self._col, int(rows.max()) + 1 - self._row, int(cols.max()) + 1 - self._col)
        image_chw, self._valid_hw = source.read(hull)
        self._normalized_chw = imagery.normalize(image_chw, self._valid_hw)

    def valid(self, window: Window) -> NDArray[np.bool_]:
        return self._valid_hw[self._index(window)]

    def normalized(self, window: Window) -> NDArray[np.float32]:
        return self._normalized_chw[(slice(None), *self._index(window))]

    def _index(self, window: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = mirrored(window.row, window.row_stop, self._height) - self._row
        cols = mirrored(window.col, window.col_stop, self._width) - self._col
        row_index, col_index = np.ix_(rows, cols)
        return row_index, col_index
