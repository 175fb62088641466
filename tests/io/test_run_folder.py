import subprocess
import sys
from pathlib import Path

import pytest

from geoseg.errors import RunFolderError
from geoseg.io.run_folder import RunFolder


def test_a_new_or_empty_folder_has_no_plan(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).existing_plan() is None
    assert RunFolder(tmp_path / "a" / "b").existing_plan() is None
    assert not (tmp_path / "a").exists()


def test_plan_and_record_come_back(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert run.record() is None
    run.write_plan({"hash": "a", "tiles": [1, 2]})
    run.write_record({"status": "complete"})
    assert run.existing_plan() == {"hash": "a", "tiles": [1, 2]}
    assert run.record() == {"status": "complete"}


def test_paths_are_those_of_the_documentation(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert (run.plan_file, run.run_file) == (tmp_path / "plan.json", tmp_path / "run.json")
    assert (run.mosaic.path, run.layers) == (tmp_path / "mosaic.zarr", tmp_path / "layers")
    assert run.ledger("objects").folder == tmp_path / "ledger" / "objects"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ["holiday.jpg", "run.json", ".hidden", "mosaic.zarr/zarr.json"])
def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    before = contents(tmp_path)
    with pytest.raises(RunFolderError, match=r"holds other files but no plan.json: expected a new or empty folder"):
        RunFolder(tmp_path).existing_plan()
    assert contents(tmp_path) == before


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.touch()
    with pytest.raises(RunFolderError, match="-o expects a folder, got a file"):
        RunFolder(file).existing_plan()
    with pytest.raises(RunFolderError, match="cannot write to"), RunFolder(file).owned():
        pass
    with pytest.raises(RunFolderError, match="cannot write to"), RunFolder(file / "below").owned():
        pass


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"[1]", b"\xff\xfe"])
def test_a_damaged_plan_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    run = RunFolder(tmp_path)
    run.plan_file.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"plan.json is damaged .*another folder with -o"):
        run.existing_plan()


def test_a_lock_that_a_killed_run_left_is_no_other_file(tmp_path: Path) -> None:
    """The lock comes before the plan: a run killed between the two can be started again."""
    run = RunFolder(tmp_path)
    with run.owned():
        pass
    (tmp_path / ".plan.json.123.partial").write_text('{"ha')
    assert run.existing_plan() is None


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with run.owned():
        # flock is held by an open file, so a second open in the same process stands for another process.
        with pytest.raises(RunFolderError, match="another process is working on"), RunFolder(run.path).owned():
            pass
        with RunFolder(tmp_path / "other").owned():
            pass
    with run.owned():
        pass


def test_the_lock_is_let_go_when_work_fails(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(ZeroDivisionError), run.owned():
        raise ZeroDivisionError
    with run.owned():
        assert run.path.is_dir()


def test_another_process_holds_it_until_it_dies(tmp_path: Path) -> None:
    holder = """
import sys
from pathlib import Path
from geoseg.io.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).owned():
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match="another process is working on"), RunFolder(tmp_path).owned():
            pass
        process.kill()
        process.wait()
        with RunFolder(tmp_path).owned():
            assert process.returncode != 0


def test_sweeping_removes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    kept = tmp_path / "layers" / "buildings.geojson"
    kept.parent.mkdir()
    kept.write_text("{}")
    assert run.sweep() == 0
    for name in ("layers/.roads.geojson.x.partial/roads.geojson", "ledger/.a.json.3.partial"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("half")
    assert run.sweep() == 2
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [kept]


def test_clearing_removes_a_run_and_nothing_else(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_plan({"plan_hash": "x"})
    run.ledger("mosaic").commit("0-0", {})
    (tmp_path / "mosaic.zarr" / "0").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    assert {path.name for path in run.results()} == {"plan.json", "ledger", "mosaic.zarr"}
    run.clear()
    assert run.results() == ()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
