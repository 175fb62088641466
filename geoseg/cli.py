"""The command line: `geoseg COMMAND`. Commands load their libraries when they are called."""

import difflib
import importlib
import os
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import click

from geoseg import __version__
from geoseg.errors import GeosegError
from geoseg.io.gdal_environment import gdal_environment

_COMMANDS = {
    "agreement": ("geoseg.commands.agreement", "agreement", "Compare two class rasters of the same ground."),
    "calibrate": (
        "geoseg.commands.calibrate",
        "calibrate",
        "Let a model's probabilities mean what they say, on labelled scenes.",
    ),
    "config": ("geoseg.commands.config", "config", "Say what configuration files may hold."),
    "doctor": ("geoseg.commands.doctor", "doctor", "Check this installation and machine, with a small run."),
    "evaluate": ("geoseg.commands.evaluate", "evaluate", "Compare a model, or a run, with labels."),
    "export": ("geoseg.commands.export", "export", "Write the layers of a finished run in another format."),
    "inspect": ("geoseg.commands.inspect", "inspect", "Say what a scene, model, run or data set is."),
    "jobs": ("geoseg.commands.jobs", "jobs", "Look after the jobs of a Ray cluster."),
    "map": ("geoseg.commands.map", "map_command", "Map a scene to classes, buildings, roads, vegetation, water."),
    "models": ("geoseg.commands.models", "models", "List the models that have a name."),
    "pseudo-labels": (
        "geoseg.commands.pseudo_labels",
        "pseudo_labels",
        "Write what a run is sure of as labels to train on.",
    ),
    "study": ("geoseg.commands.study", "study", "Train many variants of a configuration, and compare them."),
    "submit": ("geoseg.commands.submit", "submit", "Run a configuration as a job on a Ray cluster."),
    "tiles": ("geoseg.commands.tiles", "tiles", "Write labelled scenes as chips, or what is worth labelling."),
    "train": ("geoseg.commands.train", "train", "Train a model on labelled scenes."),
    "verify": ("geoseg.commands.verify", "verify", "Hash a run again and compare it with its markers."),
    "view": ("geoseg.commands.view", "view", "Show a run on a map in the browser."),
    "weak-labels": (
        "geoseg.commands.weak_labels",
        "weak_labels",
        "Label the pixels of images whose classes are known.",
    ),
}
"""By name: module, command, and what it does (said here so that --help loads no library)."""

_INTERRUPTED = 130
_BUG = 70


class _LazyGroup(click.Group):
    """Imports a command's module when the command is called: torch and Ray take seconds to load."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names of all commands."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # the same
        """The command of that name, if there is one."""
        if cmd_name not in _COMMANDS:
            return None
        # GDAL reads these when it loads, so they are set before any command's module is.
        os.environ.update(gdal_environment())
        module, name, _ = _COMMANDS[cmd_name]
        with signals_held():
            command: click.Command = getattr(importlib.import_module(module), name)
        # What the flag does is up to `main`, which knows of errors before and after the command too.
        for one in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
            if not any(parameter.name == "debug" for parameter in one.params):
                one.params.append(
                    click.Option(["--debug"], is_flag=True, expose_value=False, help="Show tracebacks of errors.")
                )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is asked for; a misspelt one is refused with the nearest right one."""
        if args[0] not in _COMMANDS:
            nearest = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            ctx.fail(f"no command is named {args[0]!r}; commands: {', '.join(self.list_commands(ctx))}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][2]) for name in self.list_commands(ctx)])


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="geoseg")
@click.option("--submitted-by", hidden=True, metavar="VERSION")
def cli(submitted_by: str | None) -> None:
    """Maps from imagery: buildings, roads, vegetation and water from rasters of any size."""
    if submitted_by not in (None, __version__):
        raise GeosegError(
            f"expected geoseg {submitted_by} on the cluster, as where the job was submitted, got {__version__}: "
            "install the same"
        )


def main(arguments: Callable[[], Sequence[str]] | None = None) -> None:
    """Run the command line and leave with the exit code of what happened.

    Args:
        arguments: Gives what to run in place of what was typed; its errors are told like a command's.

    0 done; 1 finished but incomplete; 2 refused before work; 3 a gate failed (verify, evaluate, inspect
    --check); 4 stopped by its surroundings; 70 a bug; 130 interrupted. Errors are one line, with a traceback only
    under --debug.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not one that is ignored
        signal.signal(signal.SIGINT, _interrupt)
    try:
        if arguments is not None:
            sys.argv[1:] = arguments()
        code = cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        code = _say(f"error: {_words(error)}", error.exit_code)
    except GeosegError as error:
        code = _say(f"error: {error}", error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        code = _say(f"stopped: go on with: geoseg {shlex.join(sys.argv[1:])}", _INTERRUPTED)
    except Exception as error:  # noqa: BLE001  # the last door: what comes here is a bug, and says so
        words = " ".join(str(error).split())
        code = _say(f"error: a bug in geoseg ({type(error).__name__}: {words}); --debug shows where", _BUG)
    sys.exit(code)


def _words(error: click.ClickException) -> str:
    """What click has to say, in one line, with where to read on."""
    words = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return words if context is None else f"{words} (see {context.command_path} --help)"


def _say(line: str, code: int) -> int:
    if "--debug" in sys.argv:
        traceback.print_exc()
    click.echo(line, err=True)
    return code


@contextmanager
def signals_held() -> Iterator[None]:
    """Let a signal that stops the command wait: thrown into a library that is being loaded, it turns into bugs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    now = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # What is ignored (Ctrl-C, by a command in the background) stays so.
    before = {number: handler for number, handler in now.items() if callable(handler)}
    for number in before:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # Zarr's reads and writes are coroutines; those that are left behind would each be told of.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
