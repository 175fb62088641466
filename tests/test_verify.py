"""What `geoseg verify` finds: nothing on a run as it was written, and every byte that was changed since."""

import json
import shutil
from pathlib import Path

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
    geoseg.map_scenes(patchwork_scene, folder, model=tiny_model, block_size=512, local=True)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def verified(run: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["verify", str(run), *options])


def kept_files(run: Path) -> list[Path]:
    """All that a user keeps, but for records of times and metadata that no marker vouches for."""
    chunks = [file for file in run.rglob("c/*/*") if file.is_file()]
    return sorted([*chunks, *(run / "layers").iterdir(), run / "classes.tif", run / "preview.png"])


def test_a_run_as_it_was_written_has_no_difference(finished: Path) -> None:
    result = verify_run(finished)
    assert result.differences == ()
    assert result.missing_blocks == 0
    assert result.files >= len(kept_files(finished)) > 10
    (numerics, blocks), *others = result.numerics
    assert not others
    assert numerics["device"] == "cpu"
    assert len(blocks) > 1
    assert verified(finished).exit_code == 0


@pytest.mark.parametrize("nth", range(0, 100, 9))
def test_one_changed_bit_anywhere_is_found(run: Path, nth: int) -> None:
    files = kept_files(run)
    file = files[nth % len(files)]
    content = bytearray(file.read_bytes())
    content[np.random.default_rng(nth).integers(len(content))] ^= 1
    file.write_bytes(content)
    result = verified(run, "--json")
    assert result.exit_code == 3
    (difference,) = json.loads(result.stdout)["differences"]
    assert difference["path"] == file.relative_to(run).as_posix()
    assert difference["expected"] != difference["found"]


def test_a_missing_and_a_stray_chunk_are_found(run: Path) -> None:
    chunk = next(file for file in kept_files(run) if "classes" in file.parts)
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


def test_a_damaged_marker_is_named(run: Path) -> None:
    marker = next((run / "ledger" / "mosaic").glob("*.json"))
    marker.write_text("{")
    with pytest.raises(RunFolderError, match=f"{marker.name} is damaged"):
        verify_run(run)
