import json
from pathlib import Path

import pytest

from geoseg.config import load_train_config
from geoseg.labelled_data import imagery_of
from geoseg.settled import Settled
from geoseg.train.checkpoint import Identity
from geoseg.train.recipe import Recipe

CONFIG = Path(__file__).parents[1] / "configs" / "train_mbrsc.yaml"


@pytest.mark.parametrize("freeze", [(), ("stem", "layer1"), 2])
@pytest.mark.parametrize("weights_k", [None, (0.1, 1 / 3, 2.0, 1e-7, 4.0)])
def test_what_is_settled_travels_as_plain_text(
    freeze: tuple[str, ...] | int, weights_k: tuple[float, ...] | None
) -> None:
    config = load_train_config(CONFIG)
    recipe = Recipe(2, 10, "adamw", 1 / 3, 5, freeze=freeze, ema=0.9, sync_batch_norm=True)  # type: ignore[arg-type]
    imagery = imagery_of(config, (1 / 3, 2.0, 1e-9), (0.1, 0.2, 0.3))
    settled = Settled(imagery, recipe, weights_k, Identity("f" * 64, "unet width 1"), 3)
    assert Settled.from_json(json.loads(json.dumps(settled.to_json())), config) == settled
