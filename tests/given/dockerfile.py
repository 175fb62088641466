"""The Dockerfile, step by step, and its steps taken without Docker."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from string import Template

from dockerfile_parse import DockerfileParser

FOLDER = Path(__file__).parents[2] / "infra" / "docker"


@cache
def stages() -> dict[str, list[tuple[str, str]]]:
    """Instructions with their values, by stage."""
    by_name: dict[str, list[tuple[str, str]]] = {}
    for step in DockerfileParser(str(FOLDER)).structure:
        if step["instruction"] == "FROM":
            steps = by_name.setdefault(step["value"].split(" AS ")[1], [])
        if step["instruction"] != "COMMENT":
            steps.append((step["instruction"], step["value"]))
    return by_name


def lineage(name: str) -> list[tuple[str, str]]:
    """All instructions of a stage and those that it stands on."""
    steps = stages()[name]
    below = steps[0][1].split(" AS ")[0]
    return [*(lineage(below) if below in stages() else []), *steps]


class Build:
    """Stages carried out in a folder that stands for the image's root; they share it, so nothing is copied between.

    Args:
        context: What COPY takes from.
        root: The folder.
        arguments: In place of the values that ARG gives.

    Attributes:
        environment: Of the next command.
    """

    def __init__(self, context: Path, root: Path, arguments: Mapping[str, str]) -> None:
        ours = ("PIP_CONSTRAINT", "PYTHON")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        self._context = context
        self._root = root
        self._arguments = arguments
        self._folder = root
        self._done: set[tuple[str, str]] = set()

    def carry_out(self, stage: str) -> None:
        """Take the steps of a stage, and of those that it stands on, which were not taken yet."""
        for step in lineage(stage):
            if step not in self._done:
                self._done.add(step)
                self._take(step[0], re.sub(r"(?<![\w.])/(opt/geoseg|src)\b", rf"{self._root}/\1", step[1]))

    def _take(self, instruction: str, value: str) -> None:
        match instruction:
            case "ENV":
                pairs = [part.split("=", 1) for part in value.split()]
                self.environment |= {name: Template(text).substitute(self.environment) for name, text in pairs}
            case "ARG":
                name, _, text = value.partition("=")
                self.environment[name] = self._arguments.get(name, text)
            case "WORKDIR":
                self._folder = Path(value)
                self._folder.mkdir(parents=True)
            case "COPY" if not value.startswith("--from="):
                for name in value.split()[:-1]:
                    copy = shutil.copytree if (self._context / name).is_dir() else shutil.copy
                    copy(self._context / name, self._folder / name)
            case "RUN":
                command = re.sub(r"^(--\S+\s+)+", "", value)
                subprocess.run(["sh", "-ec", command], check=True, cwd=self._folder, env=self.environment)
