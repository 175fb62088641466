from collections.abc import Callable

import numpy as np

from geoseg.imagery import Imagery
from geoseg.io.gdal_environment import GDAL_CACHE_MIB
from geoseg.train.decoded import cache_mib
from geoseg.train.scenes import LabelCoding, LabelledScene, Source


def test_all_that_is_decoded_has_room_as_far_as_memory_allows(
    write_scene: Callable[..., Source], imagery: Imagery
) -> None:
    side = 512
    source = write_scene("one", np.zeros((3, side, side), np.uint8), np.ones((side, side), np.uint8))
    with LabelledScene(source, imagery, LabelCoding({1: 0})) as scene:
        ref = scene.reader.ref
    # Three bands and two bytes of a label, and perhaps a mask.
    least, most = 5 * side * side / 2**20, 7 * side * side / 2**20
    assert cache_mib([ref] * 1000, 2**50) >= 1000 * least
    assert cache_mib([ref] * 1000, 2**50) <= 1000 * most
    assert cache_mib([ref] * 1000, 2**31) == 2**31 // 8 // 2**20 + 1
    assert cache_mib([ref], 2**50) == GDAL_CACHE_MIB
    assert cache_mib([ref] * 1000, 0) == GDAL_CACHE_MIB
