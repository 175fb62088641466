"""The README says only what is so: its commands parse, its files exist."""

import re
import shlex
from pathlib import Path

import click
import pytest

from geoseg.cli import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def shell_lines() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_there_are_commands_to_check() -> None:
    assert sum(line.startswith("geoseg ") for line in shell_lines()) >= 5
    assert {"make demo", "make test"} <= {line.split("#")[0].strip() for line in shell_lines()}


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("geoseg ")])
def test_commands_are_understood(line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)[1:]
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, name
    command.make_context(name, arguments)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_to_files(target: str) -> None:
    assert (ROOT / target).is_file()


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"`(--[a-z-]+)", README))))
def test_flags_exist(flag: str) -> None:
    known = {
        option
        for name in cli.list_commands(click.Context(cli))
        for parameter in getattr(cli.get_command(click.Context(cli), name), "params", [])
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert flag in known
