"""What a job takes along: its configuration, and the small files that it names, in a folder that Ray uploads."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from geoseg.catalog import model_folder
from geoseg.cluster.job import KINDS, Kind, option_values, own_cluster, written_by
from geoseg.config.evaluate import EvaluateConfig
from geoseg.config.export import ExportConfig
from geoseg.config.map import MapConfig
from geoseg.config.run import RunConfig
from geoseg.config.text import read_mapping
from geoseg.config.train import TrainConfig, load_train_config
from geoseg.errors import ConfigError, GeosegError
from geoseg.io.addresses import is_remote, shown
from geoseg.io.ledger import canonical_hash
from geoseg.io.place import file_sha256
from geoseg.labelled_data import data_folder
from geoseg.models.package import CARD_NAME, WEIGHTS_NAME, known_models, load_package

CONFIG_NAME = "config.yaml"
"""The configuration in the folder."""

LIMIT_BYTES = 100 * 10**6
"""Of a model, or an area of interest, that is uploaded: all of it goes through the head's memory."""

_SHARED = "storage that all nodes share"


@dataclass(frozen=True, slots=True)
class Parcel:
    """A job, ready to be sent.

    Attributes:
        kind: The command.
        words: The command line after `geoseg`, to be run in the folder.
        output: What it writes, whole; None of an evaluation that only prints.
        fingerprint: The first 16 hex digits of a sha256 of the configuration, the options and all files: the same
            for the same job, whatever its configuration is called and how it is laid out.
    """

    kind: Kind
    words: tuple[str, ...]
    output: str | None
    fingerprint: str


def pack(config: Path, options: Sequence[str], folder: Path) -> Parcel:
    """Put what a job needs into a folder, with the configuration rewritten to what lies there.

    Scenes, labels and what is written stay where they are, and must be named as every node sees them.

    Args:
        config: Of kind map, train, evaluate or export.
        options: Of the command, which go before the configuration; files that they name are not uploaded.
        folder: An empty one.

    Raises:
        ConfigError: The configuration is wrong, or names what only this machine has.
        ModelError: It names a model that is none.
    """
    said = dict(read_mapping(config))
    kind = _kind_of(config, said.get("kind"))
    root = data_folder(None, config)
    match kind:
        case "map":
            _refuse_local("scenes", said.get("scenes"))
            _refuse_local("bands", said["bands"] if isinstance(said.get("bands"), Mapping) else None)
            _take_aoi(said, root, folder)
            _take_model(said, "model", options, folder)
        case "train":
            _refuse_local_data(load_train_config(config), options)
            _take_model(said, "start_from", options, folder)
        case "evaluate":
            _take_aoi(said, root, folder)
            if said.get("data") is None:
                _refuse_local("subject", said["subject"])
                _refuse_local("labels", said["labels"])
            else:
                _take_model(said, "subject", options, folder)
                _take_training(said, folder)
        case "export":
            _refuse_local("run", said["run"])
    written = written_by(kind, said, options)
    for name, path in written.items():
        _refuse_local(name, path)
    outputs = [path for name, path in written.items() if name in {"output", "-o", "--output"}]
    if kind in ("map", "train") and not outputs:
        raise ConfigError(f"{config}: expected output, a folder on {_SHARED}, got none: say it there or with -o")
    (folder / CONFIG_NAME).write_text(yaml.safe_dump(said, sort_keys=False, allow_unicode=True), encoding="utf-8")
    files = {
        str(file.relative_to(folder)): file_sha256(file) for file in _files(folder) if file.name != CONFIG_NAME
    }
    # Through YAML once more: dates and the like are text there.
    content = {"kind": kind, "values": yaml.safe_dump(said), "options": list(options), "files": files}
    words = (kind, "--config", CONFIG_NAME, *options, *own_cluster(kind, said, options))
    return Parcel(kind, words, outputs[-1] if outputs else None, canonical_hash(content)[:16])


def _kind_of(config: Path, kind: Any) -> Kind:  # noqa: ANN401  # whatever the file says
    """What a configuration is of, unless it is refused as its command would."""
    match kind:
        case "map":
            MapConfig.load(config)
        case "evaluate":
            EvaluateConfig.load(config)
        case "export":
            ExportConfig.load(config)
        case "train":
            RunConfig.load(config)
        case _:
            raise ConfigError(f"{config}: expected kind: {', '.join(KINDS)}, got {kind}")
    return kind


def _refuse_local(key: str, value: object) -> None:
    """Refuse paths that mean something else, or nothing, on another machine.

    Args:
        key: For messages.
        value: A path, or several, also by name.
    """
    for path in _paths(value):
        if not (is_remote(path) or Path(path).is_absolute()):
            raise ConfigError(
                f"{key}: expected a whole path on {_SHARED}, or an address such as s3://BUCKET/NAME, got {path}: "
                "it is not uploaded, and nodes have folders of their own"
            )


def _paths(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for one in value.values():
                yield from _paths(one)
        case list() | tuple():
            for one in value:
                yield from _paths(one)


def _refuse_local_data(config: TrainConfig, options: Sequence[str]) -> None:
    """Refuse paths of a training that only this machine has; relative ones start from --data-root there."""
    root = option_values(options).get("--data-root")
    if root is not None:
        _refuse_local("--data-root", root)
        return
    for number, entry in enumerate(config.data, 1):
        labels = entry.labels
        for key, path in (
            ("image", entry.image),
            ("labels", labels if isinstance(labels, str) else [one.file for one in labels.values()]),
            ("region", None if entry.region is None else entry.region.file),
            ("ignore", entry.ignore),
            ("instances", entry.instances),
        ):
            _refuse_local(f"data {number}: {key} (or --data-root after --)", path)
    if config.architecture is not None:
        _refuse_local("architecture.encoder_weights", config.architecture.encoder_weights)


def _take_training(said: dict[str, Any], folder: Path) -> None:
    """The configuration of a training, whose scenes a model is judged on."""
    source = Path(said["data"])
    load_train_config(source)
    if said.get("data_root") is None:
        raise ConfigError(f"data_root: expected a folder on {_SHARED}, where the paths of {source} start, got none")
    _refuse_local("data_root", said["data_root"])
    shutil.copyfile(source, folder / "data.yaml")
    said["data"] = "data.yaml"


def _take_aoi(said: dict[str, Any], root: Path, folder: Path) -> None:
    """The area of interest, where it lies on this machine; a whole path that is not here is on the nodes."""
    name = said.get("aoi")
    if name is None or is_remote(name):
        return
    file = root / name
    if not file.is_file():
        if Path(name).is_absolute():
            return
        raise ConfigError(f"aoi: expected a file, there is no {file}")
    # A shapefile is several files of one name.
    files = sorted(file.parent.glob(f"{file.stem}.*")) if file.suffix.lower() == ".shp" else [file]
    _refuse_large("aoi", file, sum(one.stat().st_size for one in files))
    (folder / "aoi").mkdir()
    for one in files:
        shutil.copyfile(one, folder / "aoi" / one.name)
    said["aoi"] = f"aoi/{file.name}"


def _take_model(said: dict[str, Any], key: str, options: Sequence[str], folder: Path) -> None:
    """A model package of this machine; those that come with geoseg are there already."""
    name = said.get(key)
    if name is None or ("--from" if key == "start_from" else "--model") in option_values(options):
        return
    if is_remote(name) or name in known_models(()) or (Path(name).is_absolute() and not Path(name).exists()):
        return
    package = model_folder(name)
    files = [package / CARD_NAME, package / WEIGHTS_NAME]
    _refuse_large(key, package, sum(file.stat().st_size for file in files if file.is_file()))
    load_package(package)  # a damaged one is found before it travels
    (folder / "model").mkdir()
    for file in files:
        shutil.copyfile(file, folder / "model" / file.name)
    said[key] = "./model"


def _refuse_large(key: str, path: Path, size: int) -> None:
    if size > LIMIT_BYTES:
        again = "name it in the configuration" if key == "aoi" else "name it there: -- --model /mnt/..."
        raise GeosegError(
            f"{key}: expected at most {LIMIT_BYTES // 10**6} MB to upload, {shown(str(path))} has "
            f"{size / 10**6:.0f} MB: put it on {_SHARED}, and {again}"
        )


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())
