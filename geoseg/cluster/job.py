"""What a job of a cluster is: from a configuration to a command; for the scripts in jobs/ and `geoseg submit`."""

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from geoseg.config.text import read_mapping
from geoseg.errors import ConfigError

Kind = Literal["map", "train", "evaluate", "export"]
"""Commands that run as jobs."""

KINDS: tuple[Kind, ...] = get_args(Kind)

_UNPACKED = "runtime_resources"
"""Part of the folder that Ray unpacks a job's files into, and removes."""

_WRITTEN = ("output", "marked", "storage")
"""Keys, and options, with files that must outlast the job."""


def job_arguments(command: Kind, given: Sequence[str], folder: Path | None = None) -> list[str]:
    """The command line that a job stands for.

    In a Ray job work goes to the job's own cluster unless the configuration or an option says where.

    Args:
        command: Of geoseg.
        given: A configuration, and options that go before it.
        folder: That the job runs in; by default the current one.

    Raises:
        ConfigError: There is no configuration, or it is of another command; or the job would write into the folder
            that Ray removes with it.
    """
    if not given or given[0].startswith("-"):
        came = given[0] if given else "nothing"
        raise ConfigError(f"expected a configuration of kind {command}, and then options, got {came}")
    values = read_mapping(Path(given[0]))
    if values.get("kind") != command:
        raise ConfigError(f"{given[0]}: expected kind: {command}, got {values.get('kind')}")
    options = list(given[1:])
    if _UNPACKED in (Path.cwd() if folder is None else folder).parts:
        _refuse_lost(written_by(command, values, options))
    # Ray tells the processes of a job where its cluster is.
    if "RAY_ADDRESS" in os.environ:
        options += own_cluster(command, values, options)
    return [command, "--config", given[0], *options]


def own_cluster(command: Kind, values: Mapping[str, Any], options: Sequence[str]) -> list[str]:
    """Options that send a command's work to the cluster that it runs on as a job, unless something says where.

    Args:
        command: Of geoseg.
        values: Its configuration.
        options: That are given besides.
    """
    said = _said(command, values)
    elsewhere = said.get("address") or said.get("local") or {"--address", "--local"} & option_values(options).keys()
    return ["--address", "auto"] if command in ("map", "train") and not elsewhere else []


def written_by(command: Kind, values: Mapping[str, Any], options: Sequence[str]) -> dict[str, str]:
    """What a command writes, by the key or option that says so.

    Args:
        command: Of geoseg.
        values: Its configuration.
        options: That go before it.
    """
    said = _said(command, values)
    flags = {"-o", *(f"--{key}" for key in _WRITTEN)}
    written = {key: path for key in _WRITTEN if isinstance(path := said.get(key), str)}
    return written | {flag: value for flag, value in option_values(options).items() if flag in flags}


def option_values(options: Sequence[str]) -> dict[str, str]:
    """What stands behind each option, as --flag VALUE or --flag=VALUE; of one that is repeated the last.

    Args:
        options: Words of a command line; of those that take no value it is whatever follows.
    """
    values = {}
    for word, following in pairwise((*options, "")):
        flag, equals, value = word.partition("=")
        if flag.startswith("-"):
            values[flag] = value if equals else following
    return values


def _said(command: Kind, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keys that are options: of a training its section `run`."""
    said = values.get("run") if command == "train" else values
    return said if isinstance(said, Mapping) else {}


def _refuse_lost(written: Mapping[str, str]) -> None:
    for name, path in written.items():
        if "://" not in path and not Path(path).is_absolute():
            raise ConfigError(
                f"{name}: expected a whole path on storage that all nodes share, such as /mnt/geoseg/{path}, got "
                f"{path}: Ray removes the job's own folder with the job"
            )
