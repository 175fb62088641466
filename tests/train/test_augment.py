import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.train.augment import Augmentation, Symmetry, jitter_color

SQUARE = np.arange(9).reshape(3, 3)

SYMMETRIES = st.builds(Symmetry, st.booleans(), st.booleans(), st.integers(0, 3))


def drawn(augmentation: Augmentation) -> set[bytes]:
    rng = np.random.default_rng(0)
    return {Symmetry.draw(augmentation, rng).apply(SQUARE).tobytes() for _ in range(200)}


def test_flips_and_rotations_reach_the_eight_symmetries_of_the_square() -> None:
    turned = [np.rot90(square, turns) for square in (SQUARE, SQUARE.T) for turns in range(4)]
    assert drawn(Augmentation(flips=True, rotations=True, color_jitter=0)) == {a.tobytes() for a in turned}


@pytest.mark.parametrize(("flips", "rotations", "count"), [(False, False, 1), (True, False, 4), (False, True, 4)])
def test_only_what_was_asked_for_occurs(flips: bool, rotations: bool, count: int) -> None:
    assert len(drawn(Augmentation(flips, rotations, 0))) == count


@given(SYMMETRIES)
def test_masks_move_with_the_image(symmetry: Symmetry) -> None:
    image_chw = np.stack([SQUARE, SQUARE + 100]).astype(np.float32)
    moved_chw = symmetry.apply(image_chw)
    assert np.array_equal(moved_chw[0], symmetry.apply(SQUARE))
    assert np.array_equal(moved_chw[1], symmetry.apply(SQUARE) + 100)
    assert moved_chw.flags.c_contiguous


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.01, 0.99))
def test_jitter_is_affine_per_band_and_stays_in_range(seed: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    image_chw = rng.uniform(0, 255, (3, 8, 8)).astype(np.float32)
    changed_chw = jitter_color(image_chw, (0, 255), strength, rng)
    assert changed_chw.dtype == np.float32
    assert changed_chw.min() >= 0
    assert changed_chw.max() <= 255
    for before_hw, after_hw in zip(image_chw, changed_chw, strict=True):
        free = (after_hw > 0) & (after_hw < 255)
        if np.count_nonzero(free) < 3:
            continue
        slope, offset = np.polyfit(before_hw[free], after_hw[free], 1)
        assert np.allclose(slope * before_hw[free] + offset, after_hw[free], atol=0.05)
        assert (1 - strength) ** 2 - 1e-3 <= slope <= (1 + strength) ** 2 + 1e-3


def test_no_strength_changes_nothing() -> None:
    image_chw = np.full((3, 2, 2), 7, np.float32)
    assert jitter_color(image_chw, (0, 255), 0, np.random.default_rng(0)) is image_chw
