"""`--config` of commands whose options may stand in a file; the command line goes before it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from geoseg.config.command import CommandConfig
from geoseg.labelled_data import data_folder

_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_option(whole: type[CommandConfig]) -> Callable[[_Command], _Command]:
    """The option `--config FILE`: what stands there is taken where the command line says nothing.

    Args:
        whole: What a file holds; its keys are the command's long options, and the names of its arguments.
    """

    def take(context: click.Context, _param: click.Parameter, file: Path | None) -> None:
        if file is not None:
            as_typed(context, whole.load(file), data_folder(None, file))

    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=take,
        metavar="FILE",
        help="YAML file with options; those given here go before it.",
    )


def as_typed(context: click.Context, config: CommandConfig, root: Path) -> None:
    """Let a command take what a configuration says as if it had been typed, where nothing was.

    Args:
        context: Of the command, before its options are read.
        config: What stands in the file.
        root: Where files of its `data_keys` start from.
    """
    parameters = {_key(parameter): parameter for parameter in context.command.params}
    said = {parameters[key]: value for key, value in config.words(root).items()}
    taken = {parameter.name: _typed(parameter, value) for parameter, value in said.items()}
    context.default_map = {**(context.default_map or {}), **taken}


def _key(parameter: click.Parameter) -> str:
    """An option's name in a file; an argument's is its own."""
    longest = max(parameter.opts, key=len)
    return longest.removeprefix("--").replace("-", "_")


def _typed(parameter: click.Parameter, value: object) -> object:
    """A value as it would be typed: several words for what may be repeated, else one, with commas."""
    several = parameter.nargs == -1 or (isinstance(parameter, click.Option) and parameter.multiple)
    if isinstance(value, list):
        return value if several else ",".join(value)
    return [str(value)] if several else value
