import pytest
from pydantic import ValidationError

from geoseg.config.recipe import AugmentationConfig
from geoseg.train.augment import Augmentation


def test_what_is_asked_for_is_what_may_change() -> None:
    config = AugmentationConfig(scale=(0.8, 1.25), rotate_deg=15, elastic_px=20, noise=0.02, cutmix=0.3, mixup=0.2)
    augmentation = Augmentation(**config.model_dump())
    assert augmentation.scale == (0.8, 1.25)
    assert Augmentation(**AugmentationConfig().model_dump()) == Augmentation(True, True, 0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"scale": (1.25, 0.8)}, r"expected \[least, greatest\], got \[1.25, 0.8\]"),
        ({"elastic_px": 31}, r"at most 0.48 of elastic_spacing_px \(30.72\).* got 31"),
        ({"scale": (0.4, 1)}, "greater than or equal to 0.5"),
        ({"cutmix": 1.5}, "less than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        AugmentationConfig.model_validate(values)
