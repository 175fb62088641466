"""Losses for dense labels with pixels that are not labelled."""

import torch
from torch import Tensor
from torch.nn import functional

from geoseg.labels import NODATA_CLASS


def cross_entropy_loss(logits_nchw: Tensor, target_nhw: Tensor) -> Tensor:
    """Cross-entropy, mean over the labelled pixels of the batch.

    Args:
        logits_nchw: Scores before the softmax, (image, class, row, column).
        target_nhw: Class ids, int64; `NODATA_CLASS` where nothing is known.

    Returns:
        A scalar; 0 with gradient 0 when no pixel is labelled.
    """
    total = functional.cross_entropy(logits_nchw, target_nhw, ignore_index=NODATA_CLASS, reduction="sum")
    labelled = (target_nhw != NODATA_CLASS).sum()
    return total / labelled.clamp(min=1)


def dice_loss(logits_nchw: Tensor, target_nhw: Tensor) -> Tensor:
    """Soft Dice loss over the classes that the batch's labels hold.

    With p the softmax and g the one-hot labels, both over the labelled pixels of the whole batch (not per
    image: a class that covers a few pixels of one crop would weigh as much as one that fills another):
    D_c = 2 sum(p_c g_c) / (sum(p_c^2) + sum(g_c^2)), the form of Milletari et al. 2016 (V-Net, section 3).
    The loss is 1 - mean of D_c over the classes c with at least one labelled pixel.

    Args:
        logits_nchw: Scores before the softmax, (image, class, row, column).
        target_nhw: Class ids, int64; `NODATA_CLASS` where nothing is known.

    Returns:
        A scalar in [0, 1]; 0 with gradient 0 when no pixel is labelled.
    """
    classes = logits_nchw.shape[1]
    labelled_nhw = target_nhw != NODATA_CLASS
    weight_n1hw = labelled_nhw.unsqueeze(1).to(logits_nchw.dtype)
    probability_nchw = logits_nchw.softmax(1) * weight_n1hw
    one_hot_nhwc = functional.one_hot(torch.where(labelled_nhw, target_nhw, 0), classes)
    truth_nchw = one_hot_nhwc.permute(0, 3, 1, 2).to(logits_nchw.dtype) * weight_n1hw
    overlap_c = (probability_nchw * truth_nchw).sum((0, 2, 3))
    sizes_c = probability_nchw.square().sum((0, 2, 3)) + truth_nchw.sum((0, 2, 3))
    present_c = truth_nchw.sum((0, 2, 3)) > 0
    # A class without labels has a size of at least 0, so the clamp touches absent classes only.
    dice_c = 2 * overlap_c / sizes_c.clamp(min=torch.finfo(logits_nchw.dtype).tiny)
    missing_c = torch.where(present_c, 1 - dice_c, torch.zeros_like(dice_c))
    return missing_c.sum() / present_c.sum().clamp(min=1)


def segmentation_loss(logits_nchw: Tensor, target_nhw: Tensor, cross_entropy: float, dice: float) -> Tensor:
    """The weighted sum of cross-entropy and soft Dice.

    Args:
        logits_nchw: Scores before the softmax, (image, class, row, column).
        target_nhw: Class ids, int64; `NODATA_CLASS` where nothing is known.
        cross_entropy: Weight of the cross-entropy.
        dice: Weight of the Dice loss.
    """
    # Under bf16 autocast sums over a million pixels need more than 8 bits of mantissa.
    logits_nchw = logits_nchw.float() if logits_nchw.dtype in (torch.bfloat16, torch.float16) else logits_nchw
    loss = logits_nchw.new_zeros(())
    if cross_entropy:
        loss = loss + cross_entropy * cross_entropy_loss(logits_nchw, target_nhw)
    if dice:
        loss = loss + dice * dice_loss(logits_nchw, target_nhw)
    return loss
