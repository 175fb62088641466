"""What is decided before a run: blocks, workers, memory, and what makes two runs the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plans import plan_of

from geoseg.errors import GeosegError
from geoseg.io.ledger import canonical_hash
from geoseg.layering import LayerOptions
from geoseg.layout import (
    TileOptions,
    choose_workers,
    excess,
    lay_blocks,
    pass_bytes,
    worker_bytes,
)
from geoseg.models.package import LoadedModel, load_package
from geoseg.plan import RunPlan
from geoseg.predict import Numerics, choose_device, choose_precision

CPU = Numerics("cpu", "fp32", 1, 1)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> LoadedModel:
    return load_package(tiny_model)


@pytest.fixture
def plan(model: LoadedModel, tiny_model: Path, patchwork_scene: Path) -> RunPlan:
    plan = plan_of(patchwork_scene, tiny_model, layers=LayerOptions(20, 1), numerics=CPU, workers=2)
    each = worker_bytes(model, plan.blocks, pass_bytes(model, TileOptions(), 1))
    return replace(plan, worker_bytes=each)


def scene_changed(plan: RunPlan, **changes: Any) -> RunPlan:  # noqa: ANN401  # any field of a scene
    """The same plan but for fields of its one scene."""
    scene = plan.region.scenes[0]
    part = replace(scene.parts[0], **changes)
    return replace(plan, region=replace(plan.region, scenes=(replace(scene, parts=(part,)),)))


def test_the_hash_is_of_what_the_mosaic_depends_on(plan: RunPlan) -> None:
    same = [
        replace(plan, workers=7),
        replace(plan, layers=LayerOptions(0, 0)),
        replace(plan, numerics=replace(CPU, threads=8)),
        # Blocks follow from workers and memory, and change no pixel.
        replace(plan, blocks=replace(plan.blocks, block_px=(512, 512))),
        scene_changed(plan, path="/elsewhere/" + Path(plan.region.scenes[0].parts[0].path).name),
    ]
    other = [
        replace(plan, probability=True),
        replace(plan, model_identity="0" * 64),
        scene_changed(plan, fingerprint="0" * 64),
        scene_changed(plan, bands=(3, 2, 1)),
        scene_changed(plan, stretch=((0.0, 9.0),) * 3),
    ]
    assert {one.plan_hash for one in same} == {plan.plan_hash}
    assert len({plan.plan_hash, *(one.plan_hash for one in other)}) == 1 + len(other)


TILES = TileOptions(tile_px=512, overlap_px=128)


def test_a_large_scene_on_one_worker_costs_few_tiles_twice() -> None:
    blocks = lay_blocks(30000, 30000, _FakeModel(), TILES)  # type: ignore[arg-type]  # stands for a package
    assert excess(blocks) <= 1.10
    assert len(blocks) >= 20


def test_blocks_are_as_wide_on_any_large_scene_and_narrower_where_memory_is_short() -> None:
    shapes = {lay_blocks(side, side, _FakeModel(), TILES).block_px for side in (20480, 40960, 102400)}  # type: ignore[arg-type]  # stands for a package
    assert max(width for _, width in shapes) <= 1.2 * min(width for _, width in shapes)
    small = lay_blocks(30000, 30000, _FakeModel(), TILES, fits=lambda plan: plan.block_px[1] <= 2048)  # type: ignore[arg-type]  # stands for a package
    assert small.block_px[1] <= 2048


def test_shapes_depend_on_their_options_and_not_on_how_these_are_written(plan: RunPlan) -> None:
    whole, decimal, other = (
        replace(plan, layers=layers)
        for layers in (LayerOptions(60, 1), LayerOptions(60.0, 1.0, classes=("building",)), LayerOptions(61, 1))
    )
    assert canonical_hash(whole.shapes_content) == canonical_hash(decimal.shapes_content)
    assert canonical_hash(whole.shapes_content) != canonical_hash(other.shapes_content)


@given(st.integers(1, 40000), st.integers(1, 40000), st.integers(1, 9))
def test_blocks_are_whole_chunks_whatever_the_scene(height: int, width: int, workers: int) -> None:
    # The model matters for its tile defaults only.
    blocks = lay_blocks(height, width, _FakeModel(), TILES, workers=workers)  # type: ignore[arg-type]  # stands for a package
    assert blocks.tiles_evaluated >= blocks.tiles_needed >= 1
    assert len(blocks) >= 20 * workers or excess(blocks) <= 1.10


class _FakeModel:
    """Nothing is asked of it when tiles are named."""


@given(st.integers(1, 2**34), st.integers(0, 2**36))
def test_workers_fit_into_the_memory_that_is_named(bytes_each: int, memory: int) -> None:
    if memory < bytes_each:
        with pytest.raises(GeosegError, match="holds 0 worker"):
            choose_workers(None, CPU, bytes_each, memory)
    else:
        workers = choose_workers(None, CPU, bytes_each, memory)
        assert workers >= 1
        assert workers * bytes_each <= memory


def test_more_workers_than_memory_are_refused() -> None:
    with pytest.raises(GeosegError, match="holds 2 worker"):
        choose_workers(3, CPU, 100, 299)
    assert choose_workers(2, CPU, 100, 299) == 2


def test_more_tiles_probabilities_and_batches_take_more_memory(model: LoadedModel) -> None:
    small = lay_blocks(9000, 9000, model, TileOptions(block_px=(1024, 1024)))
    large = lay_blocks(9000, 9000, model, TileOptions(block_px=(2048, 2048)))
    one, eight = (pass_bytes(model, TileOptions(), batch) for batch in (1, 8))
    assert worker_bytes(model, small, one) < worker_bytes(model, large, one) < worker_bytes(model, large, eight)
    assert worker_bytes(model, large, one) < worker_bytes(model, large, one, probability=True)


def test_devices_and_precisions_are_those_asked_for_or_refused() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_precision("bf16", "cpu") == "bf16"
    assert choose_precision(None, "cpu") in {"fp32", "bf16"}
    with pytest.raises(GeosegError, match="expected --device"):
        choose_device("gpu")
    with pytest.raises(GeosegError, match="needs a CUDA device"):
        choose_precision("fp16", "cpu")


def test_gpus_of_other_machines_are_taken_at_their_word() -> None:
    assert choose_device("cuda", elsewhere=True) == "cuda"
    assert choose_device("cpu", elsewhere=True) == "cpu"
    with pytest.raises(GeosegError, match="expected --device cuda with --address, got cuda:1"):
        choose_device("cuda:1", elsewhere=True)
    numerics = Numerics("cuda", "fp16", 2, 8, elsewhere=True)
    assert numerics.fingerprint() == {
        "device": "cuda",
        "precision": "fp16",
        "threads": 2,
        "batch": 8,
        "torch": None,
        "kind": None,
    }
    with pytest.raises(GeosegError, match="say with --workers how many GPUs"):
        choose_workers(None, numerics, 1, None)
    assert choose_workers(3, numerics, 1, None) == 3
    if not torch.cuda.is_available():
        with pytest.raises(GeosegError, match="no CUDA device answers here"):
            numerics.here()
    assert replace(CPU, elsewhere=True).here() == CPU
