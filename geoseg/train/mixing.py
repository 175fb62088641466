"""Crops of a batch mixed with one another: CutMix and MixUp."""

from dataclasses import replace

import numpy as np

from geoseg.train.batch import Batch


def cutmix(batch: Batch, probability: float, rng: np.random.Generator) -> Batch:
    """Paste rectangles of other crops, with their labels (Yun et al. 2019, CutMix, section 3.1).

    The share of a crop that stays is uniform (the paper's beta distribution with alpha 1), the rectangle has the
    crop's shape and its middle is uniform; what would lie beyond the edge is cut off. Each pixel keeps its own
    label, so that none needs to be shared; and its own object with that one's centre, which lies where it lay, also
    if something else is seen there now, and heat only where pixels of its own crop are.

    Args:
        batch: Normalized crops, all of one size.
        probability: That something is pasted into a crop.
        rng: Where the choices come from.
    """
    count = len(batch.images_nchw)
    if not probability or count < 2:
        return batch
    images_nchw, labels_nhw, names = batch.images_nchw.copy(), batch.labels_nhw.copy(), list(batch.names)
    heat_nhw = None if batch.heat_nhw is None else batch.heat_nhw.copy()
    offset_nahw = None if batch.offset_nahw is None else batch.offset_nahw.copy()
    height, width = images_nchw.shape[-2:]
    partners = _partners(count, rng)
    for number, partner in enumerate(partners):
        wanted, share, down, right = rng.random(4)
        if wanted >= probability:
            continue
        half = np.sqrt(1 - share) / 2
        rows = slice(max(0, round((down - half) * height)), min(height, round((down + half) * height)))
        cols = slice(max(0, round((right - half) * width)), min(width, round((right + half) * width)))
        images_nchw[number, ..., rows, cols] = batch.images_nchw[partner, ..., rows, cols]
        labels_nhw[number, ..., rows, cols] = batch.labels_nhw[partner, ..., rows, cols]
        if heat_nhw is not None and offset_nahw is not None:
            assert batch.heat_nhw is not None  # of which these are copies
            assert batch.offset_nahw is not None
            heat_nhw[number, rows, cols] = batch.heat_nhw[partner, rows, cols]
            offset_nahw[number, :, rows, cols] = batch.offset_nahw[partner, :, rows, cols]
        names[number] = f"{batch.names[number]} with a part of {batch.names[partner]}"
    return replace(
        batch,
        images_nchw=images_nchw,
        labels_nhw=labels_nhw,
        names=tuple(names),
        heat_nhw=heat_nhw,
        offset_nahw=offset_nahw,
    )


def mixup(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Blend each crop with another, both labels kept with their shares (Zhang et al. 2018, mixup, section 2).

    As in the authors' code a batch has one share, from the beta distribution with both parameters alpha.

    Args:
        batch: Normalized crops, all of one size.
        alpha: 0 blends none.
        rng: Where the choices come from.

    Returns:
        The blended crops with the labels of both; the same batch where nothing is blended.

    Raises:
        ValueError: Crops with objects were to be blended: a pixel of two objects has no centre.
    """
    count = len(batch.images_nchw)
    if not alpha or count < 2:
        return batch
    if batch.heat_nhw is not None:
        raise ValueError("crops with objects cannot be blended")
    share = np.float32(rng.beta(alpha, alpha))
    partners = _partners(count, rng)
    images_nchw = share * batch.images_nchw
    images_nchw += (np.float32(1) - share) * batch.images_nchw[partners]
    return replace(
        batch,
        images_nchw=images_nchw,
        others_nhw=batch.labels_nhw[partners],
        shares_n=np.full(count, share, np.float32),
        names=tuple(
            f"{name} blended with {batch.names[partner]}"
            for name, partner in zip(batch.names, partners, strict=True)
        ),
    )


def _partners(count: int, rng: np.random.Generator) -> list[int]:
    """For each crop another one, each once: a random ring."""
    ring = rng.permutation(count)
    partners = np.empty(count, np.int64)
    partners[ring] = np.roll(ring, 1)
    return [int(partner) for partner in partners]
