"""What the scripts in jobs/ share: from `python jobs/SCRIPT CONFIG` to a command, wherever it runs."""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from geoseg.config.text import read_mapping
from geoseg.errors import ConfigError

_UNPACKED = "runtime_resources"
"""Part of the folder that Ray unpacks a job's files into, and removes."""

_WRITTEN = ("output", "marked", "storage")
"""Keys, and options, with files that must outlast the job."""


def job_arguments(
    command: Literal["map", "train", "evaluate", "export"], given: Sequence[str], folder: Path | None = None
) -> list[str]:
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
    run = values.get("run") if command == "train" else values
    said: dict[str, Any] = dict(run) if isinstance(run, dict) else {}
    options = list(given[1:])
    _refuse_lost(said, options, Path.cwd() if folder is None else folder)
    elsewhere = said.get("address") or said.get("local") or {"--address", "--local"} & set(options)
    # Ray tells the processes of a job where its cluster is.
    if command in ("map", "train") and "RAY_ADDRESS" in os.environ and not elsewhere:
        options += ["--address", "auto"]
    return [command, "--config", given[0], *options]


def _refuse_lost(said: dict[str, Any], options: list[str], folder: Path) -> None:
    if _UNPACKED not in folder.parts:
        return
    written = [(key, said.get(key)) for key in _WRITTEN]
    flags = {"-o", *(f"--{key}" for key in _WRITTEN)}
    written += [(flag, path) for flag, path in pairwise(options) if flag in flags]
    for name, path in written:
        if isinstance(path, str) and "://" not in path and not Path(path).is_absolute():
            raise ConfigError(
                f"{name}: expected a whole path on storage that all nodes share, such as /mnt/geoseg/{path}, got "
                f"{path}: Ray removes the job's own folder with the job"
            )
