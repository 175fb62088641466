"""What labels of images instead of pixels reach: the share of the fully supervised mIoU, on mbrsc.

    python tests/benchmarks/weak.py --data DIR [--iterations 400] [--seeds 1] [--write]

Crops of 96 px of the training regions of configs/train_mbrsc.yaml. A classifier learns from the classes that each
crop holds (5 % of its pixels at least), and its class activation maps label the pixels; a U-Net is trained on
these, and another of the same start, crops and steps on the labels of pixels. Both are judged on the validation
regions. No weights from elsewhere: all begin from chance. Ten minutes on two quiet cores.
"""

import argparse
import os
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from results import add_section, machine, table
from torch import Tensor, nn
from torch.nn import functional

from geoseg.config import TrainConfig, load_train_config
from geoseg.imagery import Imagery
from geoseg.io.decoding import decoding
from geoseg.labelled_data import coding_of, imagery_of, sources_of
from geoseg.labels import NODATA_CLASS
from geoseg.models.architecture import Architecture, build
from geoseg.models.resnet import ResNetEncoder
from geoseg.train.activation_maps import CropClassifier, Evidence, presence, see
from geoseg.train.augment import Augmentation
from geoseg.train.batch import Batch
from geoseg.train.batches import BatchMaker
from geoseg.train.cells import Cells
from geoseg.train.decoded import cache_mib
from geoseg.train.metrics import Confusion
from geoseg.train.prefetch import prefetch
from geoseg.train.samples import Sampler
from geoseg.train.scenes import LabelledScene, open_scenes
from geoseg.train.schedule import poly_lr
from geoseg.train.score import TileShape, cores, evenly, score

_CONFIG = Path(__file__).parents[2] / "configs" / "train_mbrsc.yaml"
_CROP_PX, _BATCH, _WIDTH, _LR = 96, 32, 0.5, 1e-3
_LEAST_SHARE = 0.05
_TILES = 36
_EVIDENCE = (Evidence(0.2, 0.0), Evidence(0.4, 0.1), Evidence(0.6, 0.2))
_AUGMENTATION = Augmentation(flips=True, rotations=True, color_jitter=0.15)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("DATA"), help="folder with mbrsc/")
    parser.add_argument("--iterations", type=int, default=400, help="of each training")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="add the figures to RESULTS.md")
    asked = parser.parse_args()
    if asked.data is None:
        parser.error("expected --data DIR or DATA=DIR, a folder with mbrsc/")
    config = load_train_config(_CONFIG)
    rows = [[str(seed), *compared(config, Path(asked.data), asked.iterations, seed)] for seed in range(asked.seeds)]
    shares = [float(row[-1]) for row in rows]
    names = ["seed", "evidence", "labelled", "right", "full, mIoU", "weak, mIoU", "share"]
    lines = [
        f"{asked.iterations} steps of {_BATCH} crops of {_CROP_PX} px in each training; {machine()}.",
        "",
        *table(names, rows),
        "",
        f"Labels of images reach {statistics.mean(shares):.0%} of the mIoU of labels of pixels.",
        "Both are short trainings; which evidence is asked for is chosen by labels of pixels of training crops,",
        "which flatters the weak one a little.",
    ]
    print("\n".join(lines))
    if asked.write:
        add_section("Weak supervision", lines)


def compared(config: TrainConfig, root: Path, iterations: int, seed: int) -> list[str]:
    """The figures of one seed; which evidence is asked for is chosen on training crops the classifier has seen."""
    sources, classes = sources_of(config, root), len(config.classes)
    coding = coding_of(config, sources)
    chosen = [source for source in sources if source.split in ("train", "val")]
    with open_scenes(chosen, imagery_of(config), coding) as scenes:
        trained = tuple(scene for scene in scenes if scene.source.split == "train")
        judged = tuple(scene for scene in scenes if scene.source.split == "val")
        refs = [scene.reader.ref for scene in scenes]
        with decoding(cache_mib(refs), threads=1):
            cells = Cells.of(trained, _CROP_PX)
            imagery = imagery_of(config, *Sampler(trained, cells, imagery_of(config), seed).statistics())
            maker = maker_of(trained, imagery, seed)
            classifier = classified(maker, imagery, classes, iterations, seed)
            found = [(*quality(classifier, maker, classes, evidence), evidence) for evidence in _EVIDENCE]
            labelled, right, evidence = max(found, key=lambda one: one[0] * one[1])

            def weakly(batch: Batch) -> np.ndarray:
                valid_nhw = batch.labels_nhw != NODATA_CLASS
                present_nk = presence(batch.labels_nhw, classes, _LEAST_SHARE)
                return see(classifier, batch.images_nchw, present_nk, valid_nhw, evidence)

            full = segmented(maker, imagery, classes, iterations, seed, lambda batch: batch.labels_nhw)
            weak = segmented(maker, imagery, classes, iterations, seed, weakly)
        with open_scenes([scene.source for scene in judged], imagery, coding) as val:
            mious = [miou(network, val, classes) for network in (full, weak)]
    words = f"{evidence.least:g}, {evidence.margin:g}"
    return [
        words,
        f"{labelled:.2f}",
        f"{right:.2f}",
        *(f"{one:.3f}" for one in mious),
        f"{mious[1] / mious[0]:.2f}",
    ]


def maker_of(scenes: tuple[LabelledScene, ...], imagery: Imagery, seed: int) -> BatchMaker:
    """Crops for all three trainings."""
    sampler = Sampler(scenes, Cells.of(scenes, _CROP_PX), imagery, seed)
    return BatchMaker(sampler, _AUGMENTATION, imagery, _CROP_PX, _BATCH, seed)


def classified(maker: BatchMaker, imagery: Imagery, classes: int, iterations: int, seed: int) -> CropClassifier:
    """A classifier trained on the classes that crops hold."""
    torch.manual_seed(seed)
    classifier = CropClassifier(ResNetEncoder("resnet18", len(imagery.bands), _WIDTH, 8), classes)

    def loss_of(scores_nk: Tensor, batch: Batch) -> Tensor:
        present_nk = torch.from_numpy(presence(batch.labels_nhw, classes, _LEAST_SHARE))
        return functional.binary_cross_entropy_with_logits(scores_nk, present_nk)

    learn(classifier, maker, iterations, loss_of)
    return classifier


def segmented(
    maker: BatchMaker,
    imagery: Imagery,
    classes: int,
    iterations: int,
    seed: int,
    labels_of: Callable[[Batch], np.ndarray],
) -> nn.Module:
    """A U-Net trained on labels of pixels, wherever they come from."""
    torch.manual_seed(seed)
    network = build(Architecture("unet_resnet18", len(imagery.bands), classes, _WIDTH))

    def loss_of(logits_nkhw: Tensor, batch: Batch) -> Tensor:
        labels_nhw = torch.from_numpy(labels_of(batch)).long()
        return functional.cross_entropy(logits_nkhw, labels_nhw, ignore_index=NODATA_CLASS)

    learn(network, maker, iterations, loss_of)
    return network


def learn(
    network: nn.Module, maker: BatchMaker, iterations: int, loss_of: Callable[[Tensor, Batch], Tensor]
) -> None:
    """The same optimizer, schedule and crops for all."""
    optimizer = torch.optim.AdamW(network.parameters(), _LR)
    network.train()
    for iteration, batch in enumerate(prefetch(maker.make, 0, iterations, 4)):
        for group in optimizer.param_groups:
            group["lr"] = poly_lr(_LR, iteration, iterations)
        loss = loss_of(network(torch.from_numpy(batch.images_nchw)), batch)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()


def quality(classifier: CropClassifier, maker: BatchMaker, classes: int, evidence: Evidence) -> tuple[float, float]:
    """Share of the known pixels of training crops that the maps label, and mIoU of what they label."""
    total, known = Confusion.zero(classes), 0
    for number in range(8):
        batch = maker.make(number)
        present_nk = presence(batch.labels_nhw, classes, _LEAST_SHARE)
        known_nhw = batch.labels_nhw != NODATA_CLASS
        seen_nhw = see(classifier, batch.images_nchw, present_nk, known_nhw, evidence)
        told_nhw = seen_nhw != NODATA_CLASS
        known += int(known_nhw.sum())
        total += Confusion.of(batch.labels_nhw[told_nhw][None], seen_nhw[told_nhw][None], classes)
    return float(total.counts.sum()) / known, total.miou() or 0.0


def miou(network: nn.Module, scenes: tuple[LabelledScene, ...], classes: int) -> float:
    """On tiles spread evenly over the validation regions."""
    shape = TileShape()
    windows = evenly([(scene, core) for scene in scenes for core in cores(scene, shape)], _TILES)
    found = score(network, windows, shape, classes, torch.device("cpu")).miou()
    assert found is not None
    return found


if __name__ == "__main__":
    main()
