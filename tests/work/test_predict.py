"""A worker that is given blocks by several threads, as an actor is: the same bytes as one block after the other."""

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geoseg.errors import RunFolderError, SceneError
from geoseg.io.region import Region
from geoseg.io.run_folder import RunFolder
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.layout import TileOptions, lay_blocks
from geoseg.models.package import load_package
from geoseg.predict import Numerics
from geoseg.tiling import Block
from geoseg.work.predict import PredictBlocks

CPU = Numerics("cpu", "fp32", 1, 1)


def job_in(folder: Path, scene: Path, model_path: Path) -> PredictBlocks:
    model = load_package(model_path)
    ref = describe_scene(str(scene), model.imagery, SceneOptions())
    blocks = lay_blocks(ref.grid.height, ref.grid.width, model, TileOptions(block_px=(512, 1024)))
    run = RunFolder(folder)
    run.mosaic.create(ref.grid, model.labels, probability=True)
    return PredictBlocks(
        run, Region.of(ref, "scene"), str(model_path), model.identity, blocks, probability=True, numerics=CPU
    )


def chunks(job: PredictBlocks) -> dict[str, Any]:
    return {key: record["chunks"] for key, record in job.run.ledger("mosaic").records()}


def down_the_columns(job: PredictBlocks) -> list[Block]:
    return sorted(job.blocks, key=lambda block: (block.j, block.i))


def work(job: PredictBlocks, blocks: Sequence[Block], threads: int) -> list[dict[str, Any]]:
    predict = job.open()
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(predict, blocks))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, patchwork_scene: Path, tiny_model: Path) -> dict[str, Any]:
    """The chunks of blocks that know of no other."""
    job = job_in(tmp_path_factory.mktemp("alone"), patchwork_scene, tiny_model)
    for block in job.blocks:
        work(job, [block], 1)
    return chunks(job)


def test_a_node_without_the_runs_folder_or_a_scene_is_refused(
    tmp_path: Path, patchwork_scene: Path, tiny_model: Path
) -> None:
    scene = tmp_path / "scene.tif"
    shutil.copy(patchwork_scene, scene)
    job = job_in(tmp_path / "run", scene, tiny_model)
    job.open()
    assert not list(job.run.path.glob(".*")), "nothing stays behind"
    elsewhere = replace(job, run=RunFolder(tmp_path / "elsewhere"))
    with pytest.raises(RunFolderError, match=r"the run's mosaic in .*/elsewhere, there is none: mount the same"):
        elsewhere.open()
    scene.unlink()
    with pytest.raises(SceneError, match=r"scene\.tif"):
        job.open()


@pytest.mark.skipif(os.getuid() == 0, reason="nobody keeps root from writing")
def test_a_node_that_may_not_write_is_refused(tmp_path: Path, patchwork_scene: Path, tiny_model: Path) -> None:
    job = job_in(tmp_path / "run", patchwork_scene, tiny_model)
    (tmp_path / "run").chmod(0o555)
    with pytest.raises(RunFolderError, match="cannot be written"):
        job.open()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_no_byte(
    tmp_path: Path, patchwork_scene: Path, tiny_model: Path, alone: dict[str, Any], threads: int
) -> None:
    job = job_in(tmp_path, patchwork_scene, tiny_model)
    results = work(job, down_the_columns(job), threads)
    assert chunks(job) == alone
    assert all(json.dumps(result) for result in results)
    assert all(result[f"{part}_s"] >= 0 for result in results for part in ("read", "wait", "infer", "write"))
    if threads == 1:
        assert sum(result["cached"] for result in results) > 0


def test_any_order_changes_no_byte(
    tmp_path: Path, patchwork_scene: Path, tiny_model: Path, alone: dict[str, Any]
) -> None:
    job = job_in(tmp_path, patchwork_scene, tiny_model)
    work(job, down_the_columns(job)[::-1], 2)
    assert chunks(job) == alone


def test_a_block_that_fails_leaves_the_next_one_right(
    tmp_path: Path, patchwork_scene: Path, tiny_model: Path, alone: dict[str, Any]
) -> None:
    job = job_in(tmp_path, patchwork_scene, tiny_model)
    predict = job.open()
    blocks = down_the_columns(job)
    # A file where a folder must be: the second block's chunks cannot be written.
    row = blocks[1].window.row // 512
    obstacle = tmp_path / "mosaic.zarr" / "0" / "classes" / "c" / str(row)
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    obstacle.write_text("in the way")
    for block in blocks:
        if block == blocks[1] or block.window.row == blocks[1].window.row:
            with pytest.raises(OSError, match=r"Not a directory|exists"):
                predict(block)
        else:
            predict(block)
    obstacle.unlink()
    for block in blocks:
        if block.window.row == blocks[1].window.row:
            predict(block)
    assert chunks(job) == alone


def test_a_worker_of_another_kind_than_those_before_refuses(
    tmp_path: Path, patchwork_scene: Path, tiny_model: Path
) -> None:
    job = job_in(tmp_path, patchwork_scene, tiny_model)
    mine, other = CPU.fingerprint(), {**CPU.fingerprint(), "kind": "abacus"}
    with pytest.raises(RunFolderError, match=r"other numerics \(kind was abacus, is .+--mixed-numerics"):
        replace(job, begun=(other,)).open()
    assert callable(replace(job, begun=(other, mine)).open())
    # What the driver could not know the worker finds out.
    assert callable(replace(job, begun=(mine,), numerics=replace(CPU, elsewhere=True)).open())
