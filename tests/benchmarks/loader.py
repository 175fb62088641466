"""How busy the data loader keeps the network in training, on the cores there are.

    python tests/benchmarks/loader.py [--data DIR] [--steps 12] [--rounds 3] [--write]

Bare steps (the same batch again and again) and steps whose batches are read, changed at random and made ahead, by
turns in one run: their rates as a ratio, once without augmentation, once with flips, turns and colours, once with
all of it. The network is unet_resnet18 at half its width, batches are 16 crops of 256 px. Scenes are DIR/mbrsc/t78
(--data or DATA=DIR), else noise of 4096 px. Besides, where the time of a crop goes, on one core.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from results import add_section, machine, table
from torch.nn import functional

from geoseg.imagery import Imagery
from geoseg.io.decoding import decoding
from geoseg.labels import NODATA_CLASS
from geoseg.models.architecture import Architecture, build
from geoseg.train.augment import Augmentation, Symmetry
from geoseg.train.batch import Batch
from geoseg.train.batches import BatchMaker
from geoseg.train.cells import Cells
from geoseg.train.decoded import cache_mib
from geoseg.train.deform import Deformation
from geoseg.train.device import place
from geoseg.train.prefetch import prefetch
from geoseg.train.samples import Sampler
from geoseg.train.scenes import LabelCoding, Source, open_scenes
from geoseg.train.sensor import change_values

_CROP_PX, _BATCH, _CLASSES, _AHEAD = 256, 16, 5, 4
_IMAGERY = Imagery(("red", "green", "blue"), "uint8", (0, 255), (120.0,) * 3, (50.0,) * 3, 1.0)
_RECIPES = {
    "none": Augmentation(flips=False, rotations=False, color_jitter=0),
    "flips, turns, colours": Augmentation(flips=True, rotations=True, color_jitter=0.15),
    "everything": Augmentation(
        flips=True,
        rotations=True,
        color_jitter=0.15,
        scale=(0.7, 1.4),
        rotate_deg=45,
        elastic_px=16,
        noise=0.02,
        blur_px=1,
        cutmix=0.5,
        mixup=0.4,
    ),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("DATA"), help="folder with mbrsc/; else noise")
    parser.add_argument("--steps", type=int, default=12, help="timed steps of a turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="add the figures to RESULTS.md")
    asked = parser.parse_args()
    torch.manual_seed(0)
    step = Step()
    with scenes_of(asked.data) as source:
        rates = [
            [name, *rate(step, source, augmentation, asked.steps, asked.rounds)]
            for name, augmentation in _RECIPES.items()
        ]
        parts = [[name, *milliseconds(source, augmentation)] for name, augmentation in _RECIPES.items()]
    lines = [
        f"Scene: {Path(source.image).name}; {_BATCH} crops of {_CROP_PX} px; unet_resnet18 at half its width; "
        + machine()
        + ".",
        "",
        *table(["augmentation", "bare step, s", "step with loader, s", "of the bare rate"], rates),
        "",
        "Milliseconds of a crop, on one thread beside nothing else:",
        "",
        *table(["augmentation", "read", "move", "values", "normalize", "all"], parts),
    ]
    print("\n".join(lines))
    if asked.write:
        add_section("Data loader", lines)


class Step:
    """A step of the network."""

    def __init__(self) -> None:
        network = build(Architecture("unet_resnet18", len(_IMAGERY.bands), _CLASSES, 0.5))
        self._network = place(network.train(), torch.device("cpu"))
        self._optimizer = torch.optim.AdamW(self._network.parameters())

    def __call__(self, batch: Batch) -> None:
        """Forward, loss, backward, update."""
        inputs_nchw = torch.from_numpy(batch.images_nchw).to(memory_format=torch.channels_last)
        ids_nhw = torch.from_numpy(batch.labels_nhw).long()
        loss = functional.cross_entropy(self._network(inputs_nchw), ids_nhw, ignore_index=NODATA_CLASS)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._optimizer.step()


def rate(step: Step, source: Source, augmentation: Augmentation, steps: int, rounds: int) -> list[str]:
    """Seconds of a bare step and of one with the loader, medians over the rounds, and the median of their ratio."""
    bare, loaded = list[float](), list[float]()
    with maker_of(source, augmentation) as maker:
        batch = maker.make(0)
        for _ in range(3):
            step(batch)
        for turn in range(rounds):
            bare.append(timed(lambda: step(batch), steps))
            start = turn * 1000
            # What lies ready at the start is used up before the clock runs.
            batches = prefetch(maker.make, start, start + 2 * _AHEAD + steps, _AHEAD)
            for _ in range(2 * _AHEAD):
                step(next(batches))
            loaded.append(timed(lambda batches=batches: step(next(batches)), steps))  # type: ignore[misc]  # its default
            assert isinstance(batches, Generator)
            batches.close()
    shares = [one / other for one, other in zip(bare, loaded, strict=True)]
    middle = statistics.median
    return [f"{middle(bare):.2f}", f"{middle(loaded):.2f}", f"{middle(shares):.2f}"]


@dataclass
class Clock:
    """Seconds of the parts of a crop."""

    read: float = 0.0
    move: float = 0.0
    values: float = 0.0
    normalize: float = 0.0


def milliseconds(source: Source, augmentation: Augmentation, crops: int = 200) -> list[str]:
    """What the parts of a crop take, as `BatchMaker.crop` does them, one after the other."""
    clock, rng = Clock(), np.random.default_rng(0)
    with sampler_of(source) as sampler:
        for index in range(-crops, crops):  # the first half fills caches
            if index == 0:
                clock = Clock()
            deformation = Deformation.draw(augmentation, _CROP_PX, rng)
            symmetry = Symmetry.draw(augmentation, rng)
            times = [time.thread_time()]
            sample = sampler.sample(index + crops, deformation.side_px)
            times.append(time.thread_time())
            sample = symmetry.move(deformation.apply(sample))
            times.append(time.thread_time())
            sample = change_values(sample, augmentation, _IMAGERY.value_range, rng)
            times.append(time.thread_time())
            _IMAGERY.normalize(sample.image_chw, sample.valid_hw)
            times.append(time.thread_time())
            read, move, values, normalize = np.diff(times)
            clock.read += read
            clock.move += move
            clock.values += values
            clock.normalize += normalize
    parts = [1000 * part / crops for part in (clock.read, clock.move, clock.values, clock.normalize)]
    return [f"{part:.1f}" for part in (*parts, sum(parts))]


def timed(work: Callable[[], None], times: int) -> float:
    """Seconds that one of so many takes."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


@contextmanager
def maker_of(source: Source, augmentation: Augmentation) -> Iterator[BatchMaker]:
    """Batches of a scene."""
    with sampler_of(source) as sampler:
        yield BatchMaker(sampler, augmentation, _IMAGERY, _CROP_PX, _BATCH, 0)


@contextmanager
def sampler_of(source: Source) -> Iterator[Sampler]:
    """Windows of a scene."""
    coding = LabelCoding({value + 1: value for value in range(_CLASSES)} | {0: NODATA_CLASS})
    with (
        open_scenes((source,), _IMAGERY, coding) as scenes,
        decoding(cache_mib(scene.reader.ref for scene in scenes), threads=1),
    ):
        yield Sampler(scenes, Cells.of(scenes, _CROP_PX), _IMAGERY, 0)


@contextmanager
def scenes_of(data: str | None) -> Iterator[Source]:
    """Real imagery with labels, or noise."""
    if data is not None:
        folder = Path(data) / "mbrsc"
        yield Source("t78", str(folder / "t78_image.tif"), str(folder / "t78_label.tif"), "train", None)
        return
    with tempfile.TemporaryDirectory() as name:
        rng, side = np.random.default_rng(0), 4096
        layout = {"height": side, "width": side, "dtype": "uint8", "tiled": True, "compress": "deflate"}
        place_on_earth = {"crs": "EPSG:32640", "transform": Affine(1, 0, 320000, 0, -1, 2770000)}
        for file, bands, high in (("image.tif", 3, 256), ("labels.tif", 1, 6)):
            with rasterio.open(Path(name) / file, "w", count=bands, **layout, **place_on_earth) as dataset:
                dataset.write(rng.integers(0, high, (bands, side, side)).astype(np.uint8))
        yield Source("noise", str(Path(name) / "image.tif"), str(Path(name) / "labels.tif"), "train", None)


if __name__ == "__main__":
    main()
