"""A whole panoptic run: against decoding its fields at once; stopped and gone on with; with other blocks."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from numpy.typing import NDArray
from plans import plan_of
from pyogrio import read_dataframe
from scipy import ndimage

from geoseg.commands.map import map_command
from geoseg.grid import Window
from geoseg.io.mosaic import NO_OFFSET
from geoseg.io.run_folder import RunFolder
from geoseg.layering import LayerOptions
from geoseg.layout import TileOptions
from geoseg.objects.centres import centre_keys
from geoseg.objects.grouping import Grouping
from geoseg.outcome import Outcome
from geoseg.pipeline import map_scene
from geoseg.plan import RunPlan
from geoseg.runner import ItemT, Job, LocalRunner, Report, Unit
from geoseg.verify import verify_run

GROUPING = Grouping(suppress_px=2, reach_px=30, capture_px=6)
BUILDING = 0


def planned(scene: Path, model_path: Path, *, block_px: int = 512, layers: LayerOptions | None = None) -> RunPlan:
    tiles = TileOptions(block_px=(block_px, block_px))
    return plan_of(scene, model_path, tiles=tiles, layers=layers or LayerOptions(0, 0), grouping=GROUPING)


def mapped(plan: RunPlan, folder: Path, runner: LocalRunner | None = None) -> Outcome:
    return map_scene(plan, RunFolder(folder), runner or LocalRunner(), ["geoseg", "map"])


def stored(folder: Path, name: str) -> NDArray[Any]:
    return np.asarray(zarr.open_array(folder / "mosaic.zarr", path=f"0/{name}", mode="r")[...])


def contents(folder: Path) -> dict[str, bytes]:
    kept = [*(folder / "layers").iterdir()]
    kept += [file for file in (folder / "mosaic.zarr").rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in kept}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, patchwork_scene: Path, panoptic_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("run") / "panoptic"
    assert mapped(planned(patchwork_scene, panoptic_model), folder).status == "complete"
    return folder


def decoded_at_once(folder: Path, classes_hw: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The object of each pixel, from the stored fields as one piece."""
    whole = Window(0, 0, *classes_hw.shape)
    is_thing_hw = classes_hw == BUILDING
    heat_hw, offset_ahw = stored(folder, "heat"), stored(folder, "offset")
    keys_hw = centre_keys(heat_hw, offset_ahw, is_thing_hw, whole, whole, whole.width, GROUPING)
    component_hw, _ = ndimage.label(is_thing_hw & (keys_hw == 0))
    group_hw = np.where(keys_hw > 0, keys_hw, np.where(component_hw > 0, -component_hw.astype(np.int64), 0))
    groups, first, of_pixel = np.unique(group_hw, return_index=True, return_inverse=True)
    ids = np.where(groups == 0, 0, 1 + first).astype(np.uint64)
    return ids[of_pixel].reshape(classes_hw.shape)


def test_instances_are_those_of_all_fields_at_once(finished: Path) -> None:
    instances_hw, classes_hw = stored(finished, "instances"), stored(finished, "classes")
    np.testing.assert_array_equal(instances_hw, decoded_at_once(finished, classes_hw))
    assert len(np.unique(instances_hw)) > 50
    component_hw, components = ndimage.label(classes_hw == BUILDING)
    assert component_hw.max() == components != len(np.unique(instances_hw)) - 1
    found = read_dataframe(finished / "layers" / "geoseg.gpkg", layer="buildings")
    assert sorted(found["id"][found["part"].isna()]) == np.unique(instances_hw)[1:].tolist()
    verified = verify_run(finished)
    assert not verified.differences
    record = json.loads((finished / "run.json").read_text())["instances"]
    assert record["things_px"] == int((classes_hw == BUILDING).sum())
    has_offset_ahw = stored(finished, "offset") != NO_OFFSET
    assert (has_offset_ahw == (classes_hw == BUILDING)).all(), "an offset is of a thing's pixel, and of no other"
    far_hw = (np.abs(stored(finished, "offset").astype(int)) > GROUPING.reach_px * 16).any(axis=0)
    assert record["clipped_px"] == int((far_hw & (classes_hw == BUILDING)).sum())
    assert (record["reach_px"], record["capture_px"]) == (30, 6)


def test_other_blocks_give_the_same_instances(
    finished: Path, tmp_path: Path, patchwork_scene: Path, panoptic_model: Path
) -> None:
    mapped(planned(patchwork_scene, panoptic_model, block_px=1024), tmp_path / "run")
    np.testing.assert_array_equal(stored(tmp_path / "run", "instances"), stored(finished, "instances"))


class Interrupting(LocalRunner):
    """Stops as Ctrl-C does, after a number of reports."""

    def __init__(self, after: int) -> None:
        self._left = after

    def run(self, job: Job[ItemT], units: Sequence[Unit[ItemT]]) -> Iterator[Report]:
        for report in super().run(job, units):
            yield report
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt


def test_a_run_that_was_stopped_at_every_step_ends_with_the_same_bytes(
    finished: Path, tmp_path: Path, patchwork_scene: Path, panoptic_model: Path
) -> None:
    plan, stops = planned(patchwork_scene, panoptic_model), 0
    while stops < 40:
        try:
            outcome = mapped(plan, tmp_path / "run", Interrupting(3))
        except KeyboardInterrupt:
            stops += 1
        else:
            break
    assert outcome.status == "complete"
    assert stops > 4
    assert contents(tmp_path / "run") == contents(finished)


def test_a_threshold_redoes_the_instances(
    finished: Path, tmp_path: Path, patchwork_scene: Path, panoptic_model: Path
) -> None:
    run = tmp_path / "run"
    mapped(planned(patchwork_scene, panoptic_model), run)
    sure = LayerOptions(0, 0, thresholds=(("building", 0.45),))
    mapped(planned(patchwork_scene, panoptic_model, layers=sure), run)
    confidence_hw, classes_hw = stored(run, "confidence"), stored(run, "classes")
    sure_hw = np.where(confidence_hw < np.ceil(0.45 * 254 - 1e-6), np.uint8(254), classes_hw)
    assert (sure_hw != classes_hw).any()
    instances_hw = stored(run, "instances")
    np.testing.assert_array_equal(instances_hw, decoded_at_once(run, sure_hw))
    assert instances_hw.any()
    assert not verify_run(run).differences


def test_the_command_says_how_objects_are_told_apart(
    tmp_path: Path, patchwork_scene: Path, panoptic_model: Path
) -> None:
    arguments = [str(patchwork_scene), "--model", str(panoptic_model), "-o", str(tmp_path / "run"), "--local"]
    done = CliRunner().invoke(map_command, arguments)
    assert done.exit_code == 0, done.output
    assert "offsets reach 128 px (R), and lead to the nearest centre within 32 px (r)" in done.output
    assert "of their offsets were clipped to 128 px" in done.output


def test_distances_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="least heat"):
        Grouping(least_heat=0)
