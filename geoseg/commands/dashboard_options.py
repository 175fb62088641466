"""Options of commands that talk to a cluster's dashboard."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from geoseg.cluster.dashboard import ADDRESS_VARIABLE, USUAL

_Command = TypeVar("_Command", bound=Callable[..., Any])


def dashboard_options(command: _Command) -> _Command:
    """`--address URL` and `--insecure`."""
    insecure = click.option(
        "--insecure", is_flag=True, help="Talk to another machine by plain http, without a token."
    )
    address = click.option(
        "--address",
        default=USUAL,
        show_default=True,
        envvar=ADDRESS_VARIABLE,
        show_envvar=True,
        metavar="URL",
        help="The cluster's dashboard.",
    )
    return address(insecure(command))
