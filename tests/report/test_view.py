"""`geoseg view`: which layers a page gets, and what is served beside it."""

import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

import geoseg
from geoseg.cli import cli
from geoseg.errors import RunFolderError
from geoseg.io.place import file_sha256
from geoseg.io.run_folder import RunFolder
from geoseg.view import View, viewing

Handmade = Callable[..., RunFolder[Path]]


def output(path: str, kind: str) -> dict[str, object]:
    return {"path": path, "format": kind, "features": None, "sha256": None}


def get(view: View, path: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(view.server.address + path, headers=headers)  # noqa: S310  # our own
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310  # the same
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


@contextmanager
def served(run: Path) -> Iterator[View]:
    """A run, and a thread that serves it."""
    with viewing(run) as view:
        thread = threading.Thread(target=view.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield view
        view.server.shutdown()
        thread.join()


def test_the_page_and_the_files_that_it_links_to_are_served_and_nothing_else(handmade: Handmade) -> None:
    outputs = [output("classes.tif", "cog"), output("mosaic.zarr", "zarr"), output("report.html", "html")]
    run = handmade(outputs=(*outputs, output("layers/buildings.geojson", "geojson"), output("gone.fgb", "fgb")))
    (run.path / "layers").mkdir()
    (run.path / "mosaic.zarr").mkdir()
    for name in ("classes.tif", "layers/buildings.geojson", "report.html"):
        (run.path / name).write_text(name)
    with served(run.path) as view:
        status, page = get(view, "")
        assert status == 200
        assert b'"tiles":null' in page
        assert "holds all objects" in view.drawn_from
        for name in ("classes.tif", "layers/buildings.geojson"):
            assert get(view, name) == (200, name.encode())
        for name in ("layers.pmtiles", "run.json", "layers/", "mosaic.zarr", "report.html", "gone.fgb", ".lock"):
            assert get(view, name)[0] == 404


def test_tiles_of_the_run_are_served_by_ranges(handmade: Handmade) -> None:
    run = handmade(unseen=7, outputs=(output("layers/geoseg.pmtiles", "pmtiles"),))
    (run.path / "layers").mkdir()
    (run.path / "layers" / "geoseg.pmtiles").write_bytes(b"PMTiles\x03 and more")
    with served(run.path) as view:
        assert b'"tiles":{"path":"layers.pmtiles","layers":["buildings","roads","road_lines"]}' in get(view, "")[1]
        assert get(view, "layers.pmtiles", Range="bytes=0-6") == (206, b"PMTiles")
        assert get(view, "layers.pmtiles", Range="bytes=99-")[0] == 416


def test_a_path_that_leads_out_of_the_run_is_not_served(handmade: Handmade, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    paths = ("../secret", str(tmp_path / "secret"), "link.json", "own.json")
    run = handmade(outputs=tuple(output(path, "stac") for path in paths))
    (run.path / "link.json").symlink_to(tmp_path / "secret")
    (run.path / "own.json").write_text("{}")
    with viewing(run.path) as view:
        assert set(view.server.resources) == {"/", "/own.json"}


@pytest.mark.parametrize("status", ["running", "stopped"])
def test_a_run_that_is_not_finished_is_refused(handmade: Handmade, status: str) -> None:
    run = handmade(status=status)
    with pytest.raises(RunFolderError, match=f"expected a finished run, .* is {status}"), viewing(run.path):
        pytest.fail("it is served")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["view", str(tmp_path), "--no-browser"])
    assert "expected a RUN folder with run.json" in str(result.exception)


@pytest.mark.slow
def test_objects_that_the_page_does_not_hold_come_as_tiles_that_are_made_for_it(
    patchwork_scene: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run = geoseg.map_scenes(patchwork_scene, tmp_path / "run", model=tiny_model, min_area=200, local=True)
    before = sorted(file for file in run.path.rglob("*") if file.is_file())
    with served(run.path) as view:
        assert "holds all objects" in view.drawn_from
    (parts,) = (run.path / "ledger" / "page").glob("*/map.json")
    said = json.loads(parts.read_text())
    said["layers"][0]["listed"] -= 1
    parts.write_text(json.dumps(said))
    with pytest.raises(RunFolderError, match=r"map\.json is missing or damaged"), viewing(run.path):
        pytest.fail("it is served")
    folder = RunFolder(run.path)
    marker = folder.ledger("page").record("all")
    marker["files"] = {name: file_sha256(run.path / name) for name in marker["files"]}
    folder.ledger("page").commit("all", marker)
    with served(run.path) as view:
        assert view.drawn_from == "tiles made for it"
        assert get(view, "layers.pmtiles", Range="bytes=0-6") == (206, b"PMTiles")
    assert sorted(file for file in run.path.rglob("*") if file.is_file()) == before


@pytest.mark.slow
def test_ctrl_c_ends_the_command_cleanly(handmade: Handmade) -> None:
    command = [sys.executable, "-m", "geoseg.cli", "view", str(handmade().path), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().split()[1]
    with urllib.request.urlopen(address, timeout=20) as answer:  # noqa: S310  # our own
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
