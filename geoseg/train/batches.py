"""From samples to batches: read, changed at random, normalized; a batch's number and the seed decide it."""

from dataclasses import replace
from typing import Protocol

import numpy as np

from geoseg.imagery import Imagery
from geoseg.train.augment import Augmentation, Symmetry
from geoseg.train.batch import Batch, Sample
from geoseg.train.centres import centre_fields
from geoseg.train.deform import Deformation
from geoseg.train.mixing import cutmix, mixup
from geoseg.train.sensor import change_values
from geoseg.train.things import Things

# Streams of random numbers beside the sampler's own, which is that of (seed, index) alone. Not 0: numpy's seeds
# with zeros at their end are those without.
_OF_CROPS = 1
_OF_BATCHES = 2


class Sampler(Protocol):
    """Gives windows of scenes with their labels."""

    def sample(self, index: int, side_px: int) -> Sample:
        """The window with a number, square, raw pixel values; decided by the sampler's seed and the index alone."""
        ...


class BatchMaker:
    """Batches of a training; any of them can be made at any time, also again."""

    def __init__(
        self,
        sampler: Sampler,
        augmentation: Augmentation,
        imagery: Imagery,
        crop_px: int,
        batch: int,
        seed: int,
        things: Things | None = None,
    ) -> None:
        """Remember what batches are made of; nothing is read yet.

        Args:
            sampler: Gives windows; asked on the thread that asks for batches.
            augmentation: What may change in crops.
            imagery: What the model expects.
            crop_px: Side of the crops.
            batch: Crops per batch.
            seed: Of all changes.
            things: Which labels are things, for windows with objects.
        """
        self._sampler = sampler
        self._augmentation = augmentation
        self._imagery = imagery
        self._crop_px = crop_px
        self._batch = batch
        self._seed = seed
        self._things = things

    def crop(self, index: int) -> Sample:
        """The crop with a number, changed at random; raw pixel values, as pictures of a training show it."""
        rng = np.random.default_rng([self._seed, index, _OF_CROPS])
        deformation = Deformation.draw(self._augmentation, self._crop_px, rng)
        symmetry = Symmetry.draw(self._augmentation, rng)
        sample = deformation.apply(self._sampler.sample(index, deformation.side_px))
        return change_values(symmetry.move(sample), self._augmentation, self._imagery.value_range, rng)

    def make(self, iteration: int) -> Batch:
        """The batch of an iteration (from 0): crops iteration x batch to (iteration + 1) x batch - 1."""
        first = iteration * self._batch
        crops = [self.crop(index) for index in range(first, first + self._batch)]
        batch = Batch(
            np.stack([self._imagery.normalize(crop.image_chw, crop.valid_hw) for crop in crops]),
            np.stack([crop.labels_hw for crop in crops]),
            tuple(crop.name for crop in crops),
        )
        if self._things is not None:
            heat, offset = zip(*(centre_fields(crop, self._things) for crop in crops), strict=True)
            batch = replace(batch, heat_nhw=np.stack(heat), offset_nahw=np.stack(offset))
        rng = np.random.default_rng([self._seed, iteration, _OF_BATCHES])
        return mixup(cutmix(batch, self._augmentation.cutmix, rng), self._augmentation.mixup, rng)
