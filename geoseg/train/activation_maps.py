"""Labels of pixels from labels of images: a classifier of crops shows where it sees a class.

Class activation maps (Zhou et al. 2016, Learning deep features for discriminative localization, section 2): a
network that ends in global average pooling and a linear layer gives, with that layer applied at each place before
the pooling, a map for each class whose mean is the class's score. What stands out in the map of a class that is in
the image becomes its label; of what does not, nothing is known.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from geoseg.labels import NODATA_CLASS
from geoseg.models.resnet import ResNetEncoder


class CropClassifier(nn.Module):
    """Says which classes a crop holds, and where it sees them.

    Args:
        encoder: Its deepest features are classified; with an output stride of 8 the maps are finer, as in the
            paper's networks, which leave out the last poolings.
        classes: How many there are.
    """

    def __init__(self, encoder: ResNetEncoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Conv2d(encoder.channels[-1], classes, 1)

    def maps(self, images_nchw: Tensor) -> Tensor:
        """Class activation maps (image, class, row, column), as coarse as the encoder's deepest features."""
        return self.head(self.encoder(images_nchw)[-1])

    def forward(self, images_nchw: Tensor) -> Tensor:
        """The score of each class before the sigmoid, (image, class): the mean of its map."""
        return self.maps(images_nchw).mean((2, 3))


def presence(labels_nhw: NDArray[np.uint8], classes: int, least_share: float) -> NDArray[np.float32]:
    """Which classes each crop holds, as labels of images say it.

    Args:
        labels_nhw: Class ids (image, row, column), `NODATA_CLASS` where nothing is known.
        classes: How many there are.
        least_share: Of the known pixels that must be of a class for it to be there.

    Returns:
        1 or 0 for each class (image, class), float32.
    """
    counts_nk = np.stack([(labels_nhw == number).sum((1, 2)) for number in range(classes)], 1)
    known_n1 = counts_nk.sum(1, keepdims=True)
    return ((counts_nk > 0) & (counts_nk >= least_share * known_n1)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much a map must show for a pixel to be labelled.

    Attributes:
        least: Of the greatest value of the map in the image; the paper takes 0.2 for its boxes (section 3.2).
        margin: By how much, likewise, the class must be ahead of the next one.
    """

    least: float = 0.4
    margin: float = 0.1

    def __post_init__(self) -> None:
        if not (0 < self.least <= 1 and 0 <= self.margin <= 1):
            raise ValueError(f"expected shares from 0 to 1, and least above 0, got {self}")


def labels_of_maps(
    maps_khw: NDArray[np.float32], present_k: NDArray[np.float32], valid_hw: NDArray[np.bool_], evidence: Evidence
) -> NDArray[np.uint8]:
    """Labels of the pixels whose class the maps show.

    Each map of a class that is there is cut off at 0 and divided by its greatest value over valid pixels; the
    greatest of these shares decides.

    Args:
        maps_khw: A map for each class (class, row, column).
        present_k: 1 for the classes (class,) that the image holds, 0 for the others.
        valid_hw: Where there is data.
        evidence: What must be shown.

    Returns:
        Class ids (row, column), `NODATA_CLASS` where the maps do not tell.
    """
    shares_khw = np.where(valid_hw & (present_k[:, None, None] > 0), np.maximum(maps_khw, 0), 0)
    greatest_k11 = shares_khw.max((1, 2), keepdims=True, initial=0)
    shares_khw = np.divide(shares_khw, greatest_k11, out=np.zeros_like(shares_khw), where=greatest_k11 > 0)
    first_hw = shares_khw.argmax(0)
    ahead_khw = np.sort(shares_khw, 0)
    second_hw = ahead_khw[-2] if len(ahead_khw) > 1 else np.zeros_like(ahead_khw[0])
    sure_hw = (ahead_khw[-1] >= evidence.least) & (ahead_khw[-1] - second_hw >= evidence.margin)
    return np.where(sure_hw & valid_hw, first_hw, NODATA_CLASS).astype(np.uint8)


def see(
    classifier: CropClassifier,
    images_nchw: NDArray[np.float32],
    present_nk: NDArray[np.float32],
    valid_nhw: NDArray[np.bool_],
    evidence: Evidence,
) -> NDArray[np.uint8]:
    """Labels (image, row, column) of crops from what a trained classifier sees in them.

    Args:
        classifier: Put into evaluation mode and back.
        images_nchw: Normalized crops.
        present_nk: Which classes each holds (image, class).
        valid_nhw: Where there is data.
        evidence: What must be shown.
    """
    was_training = classifier.training
    classifier.eval()
    with torch.inference_mode():
        maps_nkhw = classifier.maps(torch.from_numpy(images_nchw))
        maps_nkhw = functional.interpolate(
            maps_nkhw, size=images_nchw.shape[-2:], mode="bilinear", align_corners=False
        )
    classifier.train(was_training)
    crops = zip(maps_nkhw.numpy(), present_nk, valid_nhw, strict=True)
    return np.stack([labels_of_maps(*crop, evidence) for crop in crops])
