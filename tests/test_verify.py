"""What `geoseg verify` finds: nothing on a run as it was written, and every byte that was changed since."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import geoseg
from geoseg.cli import cli
from geoseg.errors import RunFolderError
from geoseg.verify import verify_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, patchwork_scene: Path, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("verified") / "run"
    mapped(patchwork_scene, tiny_model, folder)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def verified(run: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["verify", str(run), *options])


def files_of(run: Path) -> list[Path]:
    """All that a run wrote."""
    return sorted(file for file in run.rglob("*") if file.is_file() and file.name != ".lock")


def content(run: Path) -> dict[str, bytes]:
    """All that a user keeps, and that the next stages need; not what tells of times."""
    timeless = [
        file for file in files_of(run) if file.name not in {"run.json", "report.html", "plan.json", "record.json"}
    ]
    return {file.relative_to(run).as_posix(): file.read_bytes() for file in timeless if "folder" not in file.parts}


def mapped(scene: Path, model: Path, run: Path, **options: Any) -> geoseg.Run:  # noqa: ANN401  # of map_scenes
    # The thousands of holes of these patches are not looked at one by one.
    return geoseg.map_scenes(scene, run, model=model, block_size=512, local=True, min_hole=0, **options)


def test_a_run_as_it_was_written_has_no_difference(finished: Path) -> None:
    result = verify_run(finished)
    assert result.differences == ()
    assert result.missing_blocks == 0
    assert result.files >= len([file for file in files_of(finished) if file.suffix != ".json"]) > 10
    (numerics, blocks), *others = result.numerics
    assert not others
    assert numerics["device"] == "cpu"
    assert len(blocks) > 1
    assert verified(finished).exit_code == 0


@pytest.mark.parametrize("nth", range(0, 200, 7))
def test_one_changed_bit_anywhere_is_found_by_its_file(run: Path, nth: int) -> None:
    files = files_of(run)
    file = files[nth % len(files)]
    content = bytearray(file.read_bytes())
    content[np.random.default_rng(nth).integers(len(content))] ^= 1
    file.write_bytes(content)
    result = verified(run, "--json")
    assert result.exit_code == 3
    differences = {one["path"]: one for one in json.loads(result.stdout)["differences"]}
    difference = differences.pop(file.relative_to(run).as_posix())
    if file.parent.parent.name == "ledger" and file.suffix == ".json":
        assert "is damaged" in difference["damage"]
        # What only this marker knew is known by none.
        assert all(one["expected"] is None for one in differences.values())
    else:
        assert not differences
        assert difference["expected"] != difference["found"]


def test_a_missing_and_a_stray_chunk_are_found(run: Path) -> None:
    chunk = next(run.glob("mosaic.zarr/0/classes/c/*/*"))
    shutil.copy(chunk, chunk.with_name("77"))
    chunk.unlink()
    found = {difference.path: difference for difference in verify_run(run).differences}
    assert set(found) == {path.relative_to(run).as_posix() for path in (chunk, chunk.with_name("77"))}
    assert found[chunk.relative_to(run).as_posix()].found is None
    assert found[chunk.with_name("77").relative_to(run).as_posix()].expected is None


def test_a_run_that_lacks_blocks_says_so(run: Path) -> None:
    marker = next((run / "ledger" / "mosaic").glob("*.json"))
    marker.unlink()
    result = verified(run)
    assert "missing  1 block(s)" in result.stdout
    # Its chunks are there, and now no marker knows them.
    assert result.exit_code == 3


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="expected a RUN folder"):
        verify_run(tmp_path)


DAMAGED = {
    "a chunk": "mosaic.zarr/0/classes/c/0/0",
    "a chunk of an overview": "mosaic.zarr/1/confidence/c/0/0",
    "metadata": "mosaic.zarr/0/classes/zarr.json",
    "a coordinate": "mosaic.zarr/0/x/c/0",
    "objects": "ledger/objects/00000-00000.npz",
    "seams": "ledger/seams/00000-00001.npz",
    "a marker of a block": "ledger/mosaic/00000-00001.json",
    "a marker of seams": "ledger/seams/all.json",
    "a marker of layers": "ledger/layers/gpkg.json",
    "a layer": "layers/geoseg.gpkg",
    "the COG": "classes.tif",
    "the style of the COG": "classes.qml",
    "the picture": "preview.png",
    "the project": "map.qgs",
    "the record": "run.json",
    "the page": "report.html",
}


def flip(file: Path) -> None:
    changed = bytearray(file.read_bytes())
    changed[len(changed) // 2] ^= 1
    file.write_bytes(changed)


def cut(file: Path) -> None:
    file.write_bytes(b"")


SLOWLY = pytest.mark.slow


@pytest.mark.parametrize("how", [flip, pytest.param(Path.unlink, marks=SLOWLY), pytest.param(cut, marks=SLOWLY)])
@pytest.mark.parametrize("what", DAMAGED)
def test_what_is_damaged_is_mended_to_the_same_bytes(
    run: Path, finished: Path, patchwork_scene: Path, tiny_model: Path, what: str, how: Callable[[Path], object]
) -> None:
    how(run / DAMAGED[what])
    assert verified(run).exit_code == 3
    assert verified(run, "--mend").exit_code in (0, 3)
    assert mapped(patchwork_scene, tiny_model, run).status == "complete"
    assert content(run) == content(finished)
    assert verified(run).exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", [Path.unlink, flip, cut])
@pytest.mark.parametrize("what", ["a chunk", "objects", "metadata"])
def test_a_run_that_goes_on_does_again_what_was_damaged(
    run: Path,
    tmp_path: Path,
    patchwork_scene: Path,
    tiny_model: Path,
    what: str,
    how: Callable[[Path], object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A power cut, say, leaves markers whose files never reached the disk."""
    for stage in ("overviews", "cog", "seams", "outlines", "features", "layers", "preview", "project", "page"):
        shutil.rmtree(run / "ledger" / stage)
    how(run / DAMAGED[what])
    assert mapped(patchwork_scene, tiny_model, run, min_area=60).status == "complete"
    assert DAMAGED[what] in capsys.readouterr().err
    fresh = tmp_path / "fresh"
    mapped(patchwork_scene, tiny_model, fresh, min_area=60)
    assert content(run) == content(fresh)


@pytest.mark.slow
def test_a_run_that_holds_another_scene_of_the_same_fingerprint_is_not_gone_on_with(
    run: Path, tmp_path: Path, patchwork_scene: Path, tiny_model: Path
) -> None:
    scene = tmp_path / patchwork_scene.name
    shutil.copy2(patchwork_scene, scene)
    os.utime(scene, ns=(10**18, 1_700_000_000_123_456_789))
    mapped(scene, tiny_model, tmp_path / "half")
    next((tmp_path / "half" / "ledger" / "mosaic").glob("*.json")).unlink()
    (tmp_path / "half" / "run.json").unlink()
    os.utime(scene)
    with pytest.raises(RunFolderError, match="was written again") as refused:
        mapped(scene, tiny_model, tmp_path / "half")
    said = str(refused.value)
    command = said[said.index("touch -d") : said.index("; else")]
    subprocess.run(shlex.split(command), check=True)
    assert mapped(scene, tiny_model, tmp_path / "half").status == "complete"
    # With nothing left to predict no old pixel meets a new one.
    os.utime(scene)
    assert mapped(scene, tiny_model, tmp_path / "half", min_area=90).status == "complete"
