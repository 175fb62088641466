"""What a job takes along, and what it is called by."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from geoseg.cluster.parcel import CONFIG_NAME, LIMIT_BYTES, Parcel, pack
from geoseg.config.map import MapConfig
from geoseg.errors import ConfigError, GeosegError, ModelError
from geoseg.models.package import WEIGHTS_NAME, load_package

ROOT = Path(__file__).parents[2]
SCENES = ["s3://imagery/region/*.tif", "/mnt/scenes"]

Pack = Callable[..., tuple[Parcel, Path]]


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """The parcel of a configuration with these keys, and its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GEOSEG_DATA", raising=False)

    def made(*options: str, text: str | None = None, file: str = "a.yaml", **values: Any) -> tuple[Parcel, Path]:  # noqa: ANN401  # whatever a file may hold
        config = tmp_path / file
        config.write_text(yaml.safe_dump(values) if text is None else text)
        folder = tmp_path / "parcel"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return pack(config, options, folder), folder

    return made


def test_what_only_this_machine_has_travels(packed: Pack, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "areas").mkdir()
    for suffix in ("shp", "dbf", "prj"):
        (tmp_path / "areas" / f"city.{suffix}").write_text(suffix)
    values = {"kind": "map", "scenes": SCENES, "output": "/mnt/run", "min_area": 5}
    parcel, folder = packed(**values, aoi="areas/city.shp", model=os.path.relpath(tiny_model, tmp_path))
    sent = MapConfig.load(folder / CONFIG_NAME)
    assert {file.name for file in (folder / "aoi").iterdir()} == {"city.shp", "city.dbf", "city.prj"}
    assert sent.aoi == "aoi/city.shp"
    assert sent.model == "./model"
    assert load_package(folder / "model").identity == load_package(tiny_model).identity
    assert (sent.scenes, sent.output, sent.min_area) == (tuple(SCENES), "/mnt/run", 5)
    assert parcel.words == ("map", "--config", CONFIG_NAME, "--address", "auto")
    assert (parcel.kind, parcel.output) == ("map", "/mnt/run")


def test_what_the_nodes_have_stays_where_it_is(packed: Pack) -> None:
    values = {"kind": "map", "scenes": SCENES, "output": "s3://runs/a", "address": "10.0.0.2:6379"}
    for model in ("mbrsc", "/mnt/models/ours", "s3://models/ours"):
        parcel, folder = packed(**values, model=model, aoi="/mnt/area.gpkg")
        sent = MapConfig.load(folder / CONFIG_NAME)
        assert (sent.model, sent.aoi) == (model, "/mnt/area.gpkg")
        assert [file.name for file in folder.iterdir()] == [CONFIG_NAME]
        assert "auto" not in parcel.words


def test_the_configuration_for_clusters_can_be_sent_as_it_is(tmp_path: Path) -> None:
    parcel = pack(ROOT / "configs/map_cluster.yaml", (), tmp_path)
    assert parcel.words == ("map", "--config", CONFIG_NAME)
    with pytest.raises(ConfigError, match=r"^scenes: expected a whole path"):
        pack(ROOT / "configs/map_laptop.yaml", (), tmp_path)


def test_the_same_job_has_the_same_name(packed: Pack, tmp_path: Path) -> None:
    area = tmp_path / "area.geojson"
    area.write_text("{}")
    values = {"kind": "map", "scenes": SCENES, "output": "/mnt/run", "aoi": "area.geojson"}
    first, _ = packed(**values)
    assert len(first.fingerprint) == 16
    turned = "# as said\n" + yaml.safe_dump(
        dict(reversed(values.items())), default_flow_style=True, sort_keys=False
    )
    assert packed(text=f"# as said\n{turned}", file="b.yaml")[0] == first
    others = [packed(**{**values, "min_area": 3})[0], packed("--min-area", "3", **values)[0]]
    area.write_text("{ }")
    others.append(packed(**values)[0])
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 4


@pytest.mark.parametrize(
    ("values", "options", "key"),
    [
        ({"kind": "map", "scenes": ["scenes/*.tif"], "output": "/mnt/run"}, (), "scenes"),
        ({"kind": "map", "bands": {"red": "b4.tif"}, "output": "/mnt/run"}, (), "bands"),
        ({"kind": "map", "scenes": SCENES, "output": "runs/a"}, (), "output"),
        ({"kind": "map", "scenes": SCENES, "output": "/mnt/run"}, ("-o", "runs/a"), "-o"),
        ({"kind": "map", "scenes": SCENES, "output": "/mnt/run"}, ("--output=runs/a",), "--output"),
        ({"kind": "export", "run": "RUN", "output": "/mnt/a.gpkg", "format": "gpkg"}, (), "run"),
        ({"kind": "evaluate", "subject": "RUN", "labels": "/mnt/l.gpkg"}, (), "subject"),
        ({"kind": "evaluate", "subject": "/mnt/RUN", "labels": {"road": "l.gpkg"}}, (), "labels"),
    ],
)
def test_paths_that_mean_nothing_elsewhere_are_refused(
    packed: Pack, values: dict[str, Any], options: tuple[str, ...], key: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: expected a whole path on storage that all nodes share"):
        packed(*options, **values)


def test_a_training_names_its_data_as_the_nodes_see_them(packed: Pack, tiny_model: Path) -> None:
    values = yaml.safe_load((ROOT / "configs/finetune_city.yaml").read_text())
    values |= {"start_from": str(tiny_model), "run": {"output": "/mnt/model", "workers": 2}}
    with pytest.raises(ConfigError, match=r"^data 1: image \(or --data-root after --\): expected a whole path"):
        packed(**values)
    parcel, folder = packed("--data-root", "/mnt/data", **values)
    assert parcel.words[-2:] == ("--address", "auto")
    assert parcel.output == "/mnt/model"
    assert yaml.safe_load((folder / CONFIG_NAME).read_text())["start_from"] == "./model"
    with pytest.raises(ConfigError, match=r"^--data-root: expected a whole path"):
        packed("--data-root=data", **values)


def test_what_is_too_large_goes_to_shared_storage(packed: Pack, tmp_path: Path, tiny_model: Path) -> None:
    values = {"kind": "map", "scenes": SCENES, "output": "/mnt/run"}
    large = tmp_path / "large"
    shutil.copytree(tiny_model, large)
    os.truncate(large / WEIGHTS_NAME, LIMIT_BYTES + 1)
    with pytest.raises(GeosegError, match=r"^model: expected at most 100 MB to upload.*put it on storage that all"):
        packed(**values, model="./large")
    assert not (tmp_path / "parcel" / "model").exists()
    # What is named there is the nodes' own.
    parcel, _ = packed("--model", "/mnt/large", **values, model="./large")
    assert parcel.words[-4:] == ("--model", "/mnt/large", "--address", "auto")
    with (tmp_path / "area.gpkg").open("wb") as stream:
        stream.truncate(LIMIT_BYTES + 1)
    with pytest.raises(GeosegError, match=r"^aoi: expected at most 100 MB"):
        packed(**values, aoi="area.gpkg")


def test_what_is_wrong_is_found_before_it_travels(packed: Pack, tmp_path: Path, tiny_model: Path) -> None:
    values = {"kind": "map", "scenes": SCENES, "output": "/mnt/run"}
    for changed, error, words in (
        ({"kind": "study"}, ConfigError, "expected kind: map, train, evaluate, export, got study"),
        ({"tile_size": 1}, ConfigError, "tile_size"),
        ({"tils_size": 64}, ConfigError, "tils_size"),
        ({"aoi": "nowhere.gpkg"}, ConfigError, "aoi: expected a file"),
        ({"model": "nobody"}, ModelError, "no model is named"),
        ({"output": None}, ConfigError, "expected output, a folder on storage that all nodes share"),
    ):
        with pytest.raises(error, match=words):
            packed(**{**values, **changed})
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_model, damaged)
    with (damaged / WEIGHTS_NAME).open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    with pytest.raises(ModelError, match="damaged"):
        packed(**values, model="./damaged")
