"""From what images hold to labels of their pixels: train a classifier, and write what it sees."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from torch.nn import functional

from geoseg.config import load_train_config
from geoseg.errors import ConfigError, GeosegError, StoppedError
from geoseg.imagery import Imagery
from geoseg.labelled_data import imagery_of
from geoseg.labels import NODATA_CLASS
from geoseg.models.resnet import OutputStride, ResNetEncoder
from geoseg.threads import torch_threads
from geoseg.train.activation_maps import CropClassifier, Evidence, see
from geoseg.train.augment import Augmentation
from geoseg.train.batches import BatchMaker
from geoseg.train.image_labels import ImageLabel, LabelledImages, open_images, read_image_labels
from geoseg.train.prefetch import prefetch

_STRIDE: OutputStride = 8
_AHEAD = 4
_LR = 1e-3
_MULTIPLE_PX = 32
"""Images are padded to whole steps of the deepest features, so that the maps lie where the pixels do."""


@dataclass(frozen=True, slots=True)
class WeakLabels:
    """What was written.

    Attributes:
        folder: A label raster for each image, of its name: class ids, `NODATA_CLASS` where nothing is known.
        names: Of the classes, by id.
        labelled: Share of the pixels with data that have a label.
        loss: Of the classifier, the mean of its last tenth.
    """

    folder: Path
    names: tuple[str, ...]
    labelled: float
    loss: float


def write_weak_labels(
    config_file: Path,
    images: Path,
    folder: Path,
    *,
    iterations: int,
    evidence: Evidence,
    seed: int = 0,
    threads: int | None = None,
) -> WeakLabels:
    """Label the pixels of images of which it is known what they hold.

    Args:
        config_file: The configuration of a training, for its classes, imagery, crops and network's width.
        images: A CSV file, as for `read_image_labels`.
        folder: Gets the rasters; must be new or empty.
        iterations: Of the classifier's training.
        evidence: How much its maps must show.
        seed: Of its first weights and its crops.
        threads: CPU threads; all cores when not given.

    Raises:
        ConfigError: The configuration or the CSV file is wrong, or the folder holds something.
        SceneError: An image cannot be used.
        GeosegError: The loss is not finite.
        StoppedError: A raster cannot be written.
    """
    config = load_train_config(config_file)
    names = config.label_set().names
    labels = read_image_labels(images, names)
    stems = [label.path.stem for label in labels]
    if len(set(stems)) < len(stems):
        raise ConfigError(f"{images}: expected images with names of their own, which their labels will have")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"expected a new or empty folder as output, got {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}; name another -o") from error
    torch.manual_seed(seed)
    settings = config.training
    width = 1.0 if config.architecture is None else config.architecture.width
    with torch_threads(threads), open_images(labels, imagery_of(config), len(names), seed) as opened:
        imagery = imagery_of(config, *opened.statistics()) if config.imagery.mean is None else imagery_of(config)
        encoder = ResNetEncoder(
            "resnet18",
            len(imagery.bands),
            width,
            _STRIDE,
        )
        classifier = CropClassifier(encoder, len(names))
        jitter = settings.augmentation.color_jitter
        augmentation = Augmentation(flips=True, rotations=True, color_jitter=jitter)
        maker = BatchMaker(opened, augmentation, imagery, settings.crop_px, settings.batch, seed)
        loss = _learn(classifier, maker, iterations)
        known, told = 0, 0
        for number, label in enumerate(labels):
            valid, labelled = _write(classifier, opened, number, label, imagery, evidence, folder)
            known, told = known + valid, told + labelled
    return WeakLabels(folder, names, told / known if known else 0.0, loss)


def _learn(classifier: CropClassifier, maker: BatchMaker, iterations: int) -> float:
    """Train on what whole crops hold; returns the mean loss of the last tenth."""
    optimizer = torch.optim.AdamW(classifier.parameters(), _LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    losses = []
    classifier.train()
    for iteration, batch in enumerate(prefetch(maker.make, 0, iterations, _AHEAD)):
        # Each plane says the same of all its pixels with data; a crop without any holds nothing.
        present_nk = torch.from_numpy((batch.labels_nhw == 1).any((2, 3)).astype(np.float32))
        scores_nk = classifier(torch.from_numpy(batch.images_nchw))
        loss = functional.binary_cross_entropy_with_logits(scores_nk, present_nk)
        losses.append(loss.item())
        if not np.isfinite(losses[-1]):
            raise GeosegError(
                f"expected a finite loss, got {losses[-1]} at iteration {iteration + 1}: check the imagery for "
                f"values that are no measurements in {', '.join(batch.names)}"
            )
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return float(np.mean(losses[-max(1, iterations // 10) :]))


def _write(
    classifier: CropClassifier,
    opened: LabelledImages,
    number: int,
    label: ImageLabel,
    imagery: Imagery,
    evidence: Evidence,
    folder: Path,
) -> tuple[int, int]:
    """Write what is seen in an image; returns its pixels with data, and those that are labelled."""
    reader = opened.readers[number]
    grid = reader.grid
    image_chw, valid_hw = reader.read(grid.window)
    pad = tuple((0, -size % _MULTIPLE_PX) for size in grid.window.shape)
    inputs_chw = np.pad(imagery.normalize(image_chw, valid_hw), ((0, 0), *pad), "symmetric")
    present_1k, valid_1hw = opened.held(number)[None], np.pad(valid_hw, pad)[None]
    seen_hw = see(classifier, inputs_chw[None], present_1k, valid_1hw, evidence)[0, : grid.height, : grid.width]
    path = folder / f"{label.path.stem}.tif"
    profile = {"count": 1, "dtype": "uint8", "nodata": NODATA_CLASS, "compress": "deflate"}
    try:
        with rasterio.open(
            path, "w", "GTiff", grid.width, grid.height, crs=grid.crs, transform=grid.transform, **profile
        ) as dataset:
            dataset.write(seen_hw, 1)
    except rasterio.errors.RasterioIOError as error:
        raise StoppedError(f"{path} cannot be written: {error}") from error
    return int(valid_hw.sum()), int(np.count_nonzero(seen_hw != NODATA_CLASS))
