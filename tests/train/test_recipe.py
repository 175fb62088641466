from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from geoseg.config.options import TrainOptions
from geoseg.config.recipe import WHOLE, EarlyStopConfig, TrainingConfig
from geoseg.train.recipe import Recipe

lengths = st.integers(1, 100)


@given(lengths, lengths, st.integers(1, 8), st.integers(1, 8), st.integers(1, 10**6), st.integers(1, 4))
def test_an_epoch_is_the_training_ground_once(
    epochs: int, min_epochs: int, batch: int, accumulate: int, windows: int, workers: int
) -> None:
    early = EarlyStopConfig(min_epochs=min_epochs)
    settings = TrainingConfig(
        crop_px=32, batch=batch, accumulate=accumulate, epochs=epochs, early_stop=early, warmup=3
    )
    recipe = Recipe.of(settings, windows, workers)
    crops = batch * accumulate * workers
    assert (recipe.iterations - epochs) * crops < epochs * windows <= recipe.iterations * crops
    assert recipe.iterations % epochs == 0
    assert recipe.min_iterations * epochs == recipe.iterations * min_epochs
    # Every epoch is validated, where that is not more than fifty times.
    assert recipe.validate_every == max(recipe.iterations // epochs, -(-recipe.iterations // 50))
    assert recipe.warmup < recipe.iterations


def test_what_is_said_in_iterations_stays() -> None:
    settings = TrainingConfig(iterations=100, validate_every=30, lr=0.5, ema=0.9, freeze=("stem",), momentum=0.5)
    recipe = Recipe.of(settings, 10**5)
    assert recipe == Recipe.of(settings, 10**5, workers=7)
    assert (recipe.iterations, recipe.validate_every, recipe.patience) == (100, 30, None)
    for field in fields(Recipe):
        if field.name in TrainingConfig.model_fields:
            assert getattr(recipe, field.name) == getattr(settings, field.name)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"iterations": 5, "epochs": 2}, r"expected iterations or epochs, got both \(5 and 2\)"),
        ({"iterations": 5, "warmup": 5}, "expected a warmup below 5 iterations, got 5"),
        ({"nesterov": True}, "nesterov: it is for optimizer sgd with a momentum"),
        (
            {"nesterov": True, "optimizer": "sgd", "momentum": 0},
            "nesterov: it is for optimizer sgd with a momentum",
        ),
        ({"freeze": ["layer9"]}, "'stem', 'layer1'"),
        ({"freeze": 6}, "less than or equal to 5"),
        ({"ema": 1}, "less than 1"),
        ({"loss": {"boundary": 1}}, "expected a term on overlap or pixels beside boundary, got none"),
        ({"early_stop": {"patience": 0}}, "greater than or equal to 1"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TrainingConfig.model_validate(values)


@pytest.mark.parametrize(
    ("said", "batch", "accumulate"),
    [({}, 8, 1), ({"batch": 3}, 3, 3), ({"batch": 16}, 16, 1), ({"batch": 2, "accumulate": 1}, 2, 1)],
)
def test_fine_tuning_has_its_own_recipe_where_nothing_is_said(
    said: dict[str, Any], batch: int, accumulate: int
) -> None:
    tuned = TrainingConfig(**said).for_fine_tuning()
    assert (tuned.batch, tuned.accumulate, tuned.lr) == (batch, accumulate, 1e-4)
    recipe = Recipe.of(tuned, 1)
    assert (recipe.iterations, recipe.min_iterations, recipe.patience) == (100, 50, 10)


def test_fine_tuning_changes_nothing_that_was_said() -> None:
    said: dict[str, Any] = {"batch": 9, "accumulate": 2, "lr": 1e-3, "iterations": 7, "early_stop": None}
    assert TrainingConfig(**said).for_fine_tuning() == TrainingConfig(**said)
    assert TrainingConfig(epochs=3).for_fine_tuning().epochs == 3


def test_a_dump_is_brief_unless_all_is_wanted() -> None:
    brief = TrainingConfig(iterations=5, validate_every=2).model_dump()
    assert "ema" not in brief
    assert TrainingConfig(iterations=5, ema=0.9).model_dump()["ema"] == 0.9
    assert set(TrainingConfig(iterations=5).model_dump(context=WHOLE)) == set(TrainingConfig.model_fields)
    assert TrainingConfig.model_validate(brief) == TrainingConfig(iterations=5, validate_every=2)


def test_options_go_before_the_file() -> None:
    values = {"name": "x", "training": {"iterations": 5, "lr": 1.0, "batch": 4}}
    assert TrainOptions().over(values) == values
    options = TrainOptions("mbrsc", epochs=2, lr=0.5, seed=3)
    assert options.over(values) == {
        "name": "x",
        "start_from": "mbrsc",
        "training": {"epochs": 2, "lr": 0.5, "batch": 4, "seed": 3},
    }
    assert values == {"name": "x", "training": {"iterations": 5, "lr": 1.0, "batch": 4}}
    assert TrainOptions(batch=2).over({"training": "fast"}) == {"training": "fast"}
    assert TrainOptions(batch=2).over({}) == {"training": {"batch": 2}}
