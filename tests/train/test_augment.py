import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.train.augment import Augmentation, Symmetry
from geoseg.train.batch import Sample

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


@given(SYMMETRIES, st.booleans())
def test_labels_and_validity_move_with_the_image(symmetry: Symmetry, planes: bool) -> None:
    image_chw = np.stack([SQUARE, SQUARE + 100]).astype(np.float32)
    labels_hw = (image_chw if planes else image_chw[0]).astype(np.uint8)
    moved = symmetry.move(Sample(image_chw, SQUARE % 2 == 0, labels_hw, "here"))
    assert np.array_equal(moved.image_chw[0], symmetry.apply(SQUARE))
    assert np.array_equal(moved.image_chw[1], symmetry.apply(SQUARE) + 100)
    assert np.array_equal(moved.labels_hw, moved.image_chw if planes else moved.image_chw[0])
    assert np.array_equal(moved.valid_hw, moved.image_chw[0] % 2 == 0)
    assert moved.image_chw.flags.c_contiguous
