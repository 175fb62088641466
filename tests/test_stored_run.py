"""Runs in an object store: what is mapped there is what is mapped onto a disk, whoever dies and whatever fails."""

import itertools
import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
from bucket import BucketServer, reached
from click.testing import CliRunner, Result
from harness import ALONE, Mapping, Running, content
from stumbling import FAULTS, Trouble, stumbling

import geoseg
from geoseg.cli import cli
from geoseg.io.bucket import BucketPath
from geoseg.io.fence import CLAIM
from geoseg.io.place import Place, file_sha256, name_within
from geoseg.io.run_folder import RunFolder
from geoseg.models.package import CARD_NAME, WEIGHTS_NAME
from geoseg.verify import mend_run, verify_run

TELLS_OF_TIMES = {"run.json", "report.html"}

FORMATS = ("geojson", "gpkg", "fgb", "parquet")


def mapped(scene: Path, model: str | Path, output: str | Path, **options: Any) -> geoseg.Run[Any]:  # noqa: ANN401  # of map_scenes
    return geoseg.map_scenes(scene, output, model=model, local=True, block_size=512, formats=FORMATS, **options)


def is_marker(name: str) -> bool:
    return name.startswith("ledger/") and name.count("/") == 2 and name.endswith(".json")


def files(run: Place) -> dict[str, str]:
    """sha256 of all that a run wrote and that tells of no times, by path; without its markers."""
    found = {name_within(file, run): file for file in run.rglob("*") if file.is_file()}
    return {
        name: file_sha256(file)
        for name, file in found.items()
        if name not in {".lock", CLAIM, *TELLS_OF_TIMES} and not is_marker(name)
    }


@pytest.fixture(scope="module")
def stored(bucket: BucketServer, patchwork_scene: Path, tiny_model: Path) -> Iterator[BucketPath]:
    """A finished run; nobody changes it."""
    with reached(bucket):
        place = bucket.folder("stored/run")
        mapped(patchwork_scene, tiny_model, str(place))
        yield place


@pytest.fixture(scope="module")
def on_disk(patchwork_scene: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on a disk."""
    path = tmp_path_factory.mktemp("on_disk") / "run"
    mapped(patchwork_scene, tiny_model, path)
    return path


def test_it_is_the_run_on_a_disk_byte_by_byte(stored: BucketPath, on_disk: Path) -> None:
    assert files(stored) == files(on_disk)
    there, here = (RunFolder(place).record() for place in (stored, on_disk))
    assert there is not None
    assert here is not None
    assert there["status"] == "complete"
    assert there["outputs"] == here["outputs"]


def test_its_markers_say_the_same(stored: BucketPath, on_disk: Path) -> None:
    there, here = RunFolder(stored), RunFolder(on_disk)
    for stage in (folder.name for folder in (on_disk / "ledger").iterdir()):
        if stage == "folder":
            continue  # of run.json, which tells of times
        assert dict(there.ledger(stage).records()) == dict(here.ledger(stage).records()), stage


def test_it_is_read_from_python(stored: BucketPath, on_disk: Path, bucket: BucketServer, tmp_path: Path) -> None:
    with reached(bucket):
        run, same = geoseg.open_run(str(stored)), geoseg.open_run(on_disk)
        assert run.status == "complete"
        assert str(run.layers["buildings"]) == f"{stored}/layers/buildings.geojson"
        for name, level in (("classes", 0), ("confidence", 0), ("classes", 1)):
            assert np.array_equal(run.array(name, level)[...], same.array(name, level)[...])  # type: ignore[arg-type]
        written, _ = geoseg.export_run(str(stored), tmp_path / "again.fgb", "fgb", layers=["buildings"])
    assert len(geopandas.read_file(written)) == len(geopandas.read_file(same.geopackage, layer="buildings")) > 0


def command(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], standalone_mode=True)


def test_commands_take_its_address(stored: BucketPath, on_disk: Path, bucket: BucketServer, tmp_path: Path) -> None:
    with reached(bucket):
        assert "are as they were written" in command("verify", stored).output
        assert "complete" in command("inspect", stored).output
        written = tmp_path / "classes.tif"
        assert command("export", stored, "--format", "cog", "-o", written).exit_code == 0
        assert file_sha256(written) == file_sha256(stored / "classes.tif")
        labels = tmp_path / "labels.geojson"
        labels.write_bytes((stored / "layers" / "buildings.geojson").read_bytes())
        judged = [command("evaluate", run, "--labels", f"building={labels}", "--json") for run in (stored, on_disk)]
        there, here = (json.loads(one.stdout) for one in judged)
        assert there == {**here, "run": str(stored)}
        assert "copy it here first" in command("view", stored).output


@pytest.mark.slow
def test_what_was_damaged_is_done_again(
    bucket: BucketServer, patchwork_scene: Path, tiny_model: Path, on_disk: Path, tmp_path: Path
) -> None:
    with reached(bucket):
        place = bucket.folder("damaged/run")
        mapped(patchwork_scene, tiny_model, str(place))
        chunk = next(file for file in place.rglob("*") if "/0/classes/c/" in str(file))
        chunk.write(b"damaged")
        (place / "layers" / "geoseg.gpkg").unlink()
        (place / "ledger" / "features" / "00000-00000.json").write(b"{")
        found = {one.path for one in verify_run(place).differences}
        assert found >= {name_within(chunk, place), "layers/geoseg.gpkg", "ledger/features/00000-00000.json"}
        assert mend_run(place) >= 3
        mapped(patchwork_scene, tiny_model, str(place))
        assert verify_run(place).differences == ()
        assert files(place) == files(on_disk)
        # Other options take away what follows from them, and nothing before.
        mapped(patchwork_scene, tiny_model, str(place), min_area=1e9, network=False)
        assert verify_run(place).differences == ()
        written, *_ = geoseg.export_run(str(place), tmp_path, "fgb", layers=["buildings"])
        assert len(geopandas.read_file(written)) == 0
        mapped(patchwork_scene, tiny_model, str(place), fresh=True)
        assert files(place) == files(on_disk)


@pytest.mark.slow
def test_a_panoptic_run_is_the_one_on_a_disk(
    bucket: BucketServer, patchwork_scene: Path, panoptic_model: Path, tmp_path: Path
) -> None:
    mapped(patchwork_scene, panoptic_model, tmp_path / "run")
    with reached(bucket):
        place = bucket.folder("panoptic/run")
        mapped(patchwork_scene, panoptic_model, str(place))
        assert files(place) == files(tmp_path / "run")


def test_a_model_in_a_store_is_used_where_it_is_named(
    bucket: BucketServer,
    patchwork_scene: Path,
    tiny_model: Path,
    on_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with reached(bucket):
        package = bucket.folder("models/tiny")
        for name in (CARD_NAME, WEIGHTS_NAME):
            (package / name).write(tiny_model / name)
        run = mapped(patchwork_scene, str(package), tmp_path / "run")
        assert run.record.model.path == str(package)
        assert {name: sha for name, sha in files(run.path).items() if name.startswith("mosaic.zarr/0/")} == {
            name: sha for name, sha in files(on_disk).items() if name.startswith("mosaic.zarr/0/")
        }
        assert geoseg.load_model(str(package)).identity == geoseg.load_model(tiny_model).identity
        (copy,) = (tmp_path / "cache" / "geoseg" / "models").iterdir()
        (copy / WEIGHTS_NAME).write_bytes(b"")
        with pytest.raises(geoseg.ModelError, match=r"weights\.safetensors"):
            geoseg.load_model(str(package))
        with pytest.raises(geoseg.ModelError, match=r"expected a model package.* got s3://.*/models/none"):
            geoseg.load_model(str(bucket.folder("models/none")))


# Processes of their own, which are disturbed from outside.


@pytest.fixture(scope="module")
def mapping(patchwork_scene: Path, tiny_model: Path, bucket: BucketServer) -> Mapping:
    return Mapping(patchwork_scene, tiny_model, ("--block-size", "512"), bucket.environment)


@pytest.fixture(scope="module")
def undisturbed(mapping: Mapping, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run on a disk gives that nothing happened to."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    ended = mapping.finish(run, *ALONE)
    assert ended.returncode == 0, ended.stderr
    return content(run)


@pytest.mark.slow
def test_a_command_that_is_killed_at_its_writes_goes_on(
    mapping: Mapping, undisturbed: dict[str, str], bucket: BucketServer
) -> None:
    """The first process is killed at its seventh write, the next at its fourteenth: before it is done, or after."""
    running: list[Running] = []
    writes: list[str] = []
    deaths: list[str] = []

    def misbehave(method: str, path: str, number: int) -> Trouble | None:  # reads do no harm
        if method != "PUT" or path.endswith(CLAIM):
            return None
        writes.append(path)
        if len(writes) != 7 * len(running):
            return None
        deaths.append(path)
        os.kill(running[-1].pid, signal.SIGKILL)
        return "500" if len(deaths) % 2 else "lost"

    with stumbling(bucket, misbehave) as deadly:
        place = deadly.folder("killed/run")
        behind = replace(mapping, environment=deadly.environment)
        for _ in range(30):
            writes.clear()
            running.append(behind.start(place, *ALONE))
            ended = running[-1].end()
            if ended.returncode == 0:
                break
            assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(deaths) >= 5
    with reached(bucket):
        assert content(place) == undisturbed
        assert verify_run(place).differences == ()


@pytest.mark.slow
def test_a_store_that_fails_at_every_turn_changes_no_byte(
    mapping: Mapping, undisturbed: dict[str, str], bucket: BucketServer
) -> None:
    faults = itertools.cycle(FAULTS)
    met: list[Trouble] = []

    def misbehave(method: str, path: str, number: int) -> Trouble | None:  # whatever is asked
        if number % 9 != 4:
            return None
        met.append(next(faults))
        return met[-1]

    with stumbling(bucket, misbehave) as shaky:
        place = shaky.folder("shaky/run")
        ended = replace(mapping, environment=shaky.environment).finish(place, *ALONE)
        assert ended.returncode == 0, ended.stderr
    assert len(met) > 50
    with reached(bucket):
        assert content(place) == undisturbed
        assert verify_run(place).differences == ()


@pytest.mark.slow
def test_one_that_slept_while_another_took_over_stops_at_its_next_write(
    mapping: Mapping, undisturbed: dict[str, str], bucket: BucketServer
) -> None:
    begun = threading.Event()

    def misbehave(method: str, path: str, number: int) -> Trouble | None:  # nothing goes wrong
        if method == "PUT" and "/ledger/mosaic/" in path:
            begun.set()
            time.sleep(0.2)
        return None

    with stumbling(bucket, misbehave) as watched:
        place = watched.folder("slept/run")
        first = replace(mapping, environment=watched.environment).start(place, *ALONE)
        assert begun.wait(60)
        first.send_signal(signal.SIGSTOP)
        second = mapping.finish(place, *ALONE)
        assert second.returncode == 0, second.stderr
        assert "was not given back by the process that worked on it" in second.stderr
        first.send_signal(signal.SIGCONT)
        ended = first.end()
    assert ended.returncode == 4
    assert f"another process works on {place} now: this one stops" in ended.stderr
    with reached(bucket):
        assert content(place) == undisturbed
        assert verify_run(place).differences == ()


@pytest.mark.slow
def test_a_store_that_goes_away_stops_the_run_and_the_same_command_goes_on(
    mapping: Mapping, undisturbed: dict[str, str], bucket: BucketServer
) -> None:
    gone = threading.Event()

    def misbehave(method: str, path: str, number: int) -> Trouble | None:  # all of it
        if "/ledger/objects/" in path and method == "PUT":
            gone.set()
        return "503" if gone.is_set() else None

    with stumbling(bucket, misbehave) as failing:
        place = failing.folder("gone/run")
        ended = replace(mapping, environment=failing.environment).finish(place, *ALONE)
    assert ended.returncode == 4, ended.stderr
    assert "the store answered 503 Service Unavailable" in ended.stderr
    again = mapping.finish(place, *ALONE)
    assert again.returncode == 0, again.stderr
    with reached(bucket):
        assert content(place) == undisturbed


@pytest.mark.parametrize(
    "words",
    [
        "train --image a.tif --labels building=b.gpkg -o {}",
        "calibrate mbrsc --data a.yaml --split val -o {}",
        "export RUN --format fgb -o {}",
        "evaluate RUN --labels a.gpkg --marked {}",
        "tiles a.tif -o {}",
        "study --config a.yaml -o {}",
        "pseudo-labels RUN -o {}",
        "pseudo-labels {} -o a.tif",
        "view {}",
    ],
)
def test_what_only_a_disk_will_do_for_refuses_addresses(words: str) -> None:
    refused = command(*words.format("s3://maps/a").split())
    assert refused.exit_code == 2
    assert re.search("expected a path on this machine, got s3://maps/a: .*copy it", refused.output)


def test_a_bucket_that_may_not_be_written_is_refused_before_any_work(
    bucket: BucketServer, patchwork_scene: Path, tiny_model: Path
) -> None:
    with stumbling(bucket, lambda method, *_: "403" if method == "PUT" else None) as shut, reached(shut):
        refused = command("map", patchwork_scene, "-o", shut.folder("shut"), "--model", tiny_model, "--local")
    assert isinstance(refused.exception, geoseg.RunFolderError)
    assert "the store answered 403 Forbidden (Trouble)" in str(refused.exception)
