"""Command lines, understood by the programs that they are for."""

from collections.abc import Sequence
from typing import Any

import click


def understood(program: click.Command, words: Sequence[str]) -> dict[str, Any]:
    """The values of a command's options, as its own parser reads them; it is not run."""
    command, rest = program, list(words)
    while isinstance(command, click.Group):
        inner = command.get_command(click.Context(command), rest[0])
        assert inner is not None, f"expected a command of {command.name}, got {rest[0]}"
        command, rest = inner, rest[1:]
    return command.make_context(command.name, rest).params
