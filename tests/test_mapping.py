"""From what a user asks for to a plan."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import GeosegError
from geoseg.io.run_folder import RunFolder
from geoseg.io.scene import SceneOptions
from geoseg.layering import LayerOptions
from geoseg.layout import TileOptions
from geoseg.mapping import InputOptions, Resources, plan_run, resolution_warning
from geoseg.models.package import WEIGHTS_NAME
from geoseg.plan import RunPlan

WriteRaster = Callable[..., Path]


def planned(inputs: InputOptions, model: Path, run: Path, tile_px: int | None = None) -> RunPlan:
    return plan_run(
        RunFolder(run),
        inputs,
        model,
        SceneOptions(),
        TileOptions(tile_px),
        LayerOptions(60, 1),
        Resources(device="cpu", local=True),
        probability=False,
    )


@pytest.fixture
def bands(write_raster: WriteRaster) -> dict[str, str]:
    """A file for each band of a scene, not in the model's order."""
    image_chw = np.random.default_rng(2).integers(1, 256, (3, 40, 50)).astype(np.uint8)
    names = ("blue", "red", "green")
    return {
        name: str(write_raster(band_hw[None], f"{name}.tif"))
        for name, band_hw in zip(names, image_chw, strict=True)
    }


def test_a_file_for_each_band_is_one_scene_in_the_models_order(
    bands: dict[str, str], tiny_model: Path, tmp_path: Path
) -> None:
    plan = planned(InputOptions((), bands), tiny_model, tmp_path / "run")
    [scene] = plan.region.scenes
    assert [part.path for part in scene.parts] == [bands[name] for name in ("red", "green", "blue")]


def test_a_plan_reads_the_weights_of_a_model_once(
    patchwork_scene: Path, bands: dict[str, str], tiny_model: Path, tmp_path: Path
) -> None:
    weights, opened = str(tiny_model / WEIGHTS_NAME), []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]) == weights:
            opened.append(weights)

    sys.addaudithook(note)
    for number, inputs in enumerate((InputOptions((str(patchwork_scene),)), InputOptions((), bands)), 1):
        planned(inputs, tiny_model, tmp_path / "run")
        assert len(opened) == number


NOT_THERE = "not_there.tif"


@pytest.mark.parametrize(
    ("inputs", "model", "tile_px", "words"),
    [
        # What is refused without reading anything comes before what has to be looked for.
        (InputOptions(()), "no/model", None, "expected a SCENE: a raster, a folder, "),
        (InputOptions((NOT_THERE,), {"red": NOT_THERE}), "no/model", None, "leave out SCENE"),
        (InputOptions((NOT_THERE,)), "no/model", 4, "tile size from 8 to 8192, got 4"),
        (InputOptions((NOT_THERE,)), "no/model", None, "expected a model package"),
        (InputOptions((), {"red": NOT_THERE}), None, None, "a file for each of red, green, blue, got red"),
        (InputOptions((NOT_THERE,)), None, None, "no such file"),
    ],
)
def test_what_cannot_be_is_refused_in_order(
    inputs: InputOptions, model: str | None, tile_px: int | None, words: str, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(GeosegError, match=words):
        planned(inputs, tiny_model if model is None else Path(model), tmp_path / "run", tile_px)
    assert not (tmp_path / "run").exists()


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_resolution_is_doubted_beyond_twice_the_models(grid_m: float, model_m: float) -> None:
    doubt = resolution_warning(grid_m, model_m)
    assert (doubt is None) == (0.5 <= grid_m / model_m <= 2)
    assert doubt is None or f"{model_m:g} m" in doubt
