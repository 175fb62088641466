"""Commands of our own in processes of their own, some at a time, which stop when this process is asked to."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Command:
    """A command of geoseg.

    Attributes:
        name: What it is called here.
        words: Its words on the command line, after `geoseg`.
        log: File that what it says is added to.
    """

    name: str
    words: tuple[str, ...]
    log: Path


@dataclass(frozen=True, slots=True)
class _Running:
    command: Command
    process: "subprocess.Popen[bytes]"
    began: float


def run_commands(
    commands: Sequence[Command],
    at_once: int,
    held: Sequence[int],
    began: Callable[[Command], None],
    ended: Callable[[Command, int, float], None],
) -> None:
    """Run commands, each in a process of its own, in their order.

    Asked to stop (KeyboardInterrupt), it asks the processes to stop, which lets them keep what they have, and waits
    for them; asked again, it kills them. They do not get the terminal's Ctrl-C themselves: one that gets it twice
    would keep nothing.

    Args:
        commands: What to run.
        at_once: How many at a time, at least 1.
        held: Files, by descriptor, that they keep open, and so locked, even if this process is killed.
        began: Told of a command that begins.
        ended: Told of one that has ended, with its exit code and its seconds; of those that were stopped, too.

    Raises:
        OSError: A log cannot be written, or no process can be started.
        KeyboardInterrupt: It was asked to stop, and all have.
    """
    waiting, running = list(commands), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                command = waiting.pop(0)
                began(command)
                running.append(_start(command, held))
            _take_ended(running, ended)
            time.sleep(_LOOK_EVERY_S)
    except KeyboardInterrupt:
        for one in running:
            one.process.terminate()
        with suppress(KeyboardInterrupt):
            while running:
                _take_ended(running, ended)
                time.sleep(_LOOK_EVERY_S)
        raise
    finally:
        # Nothing is left but by a second request to stop, or by an error of ours.
        for one in running:
            one.process.kill()
            one.process.wait()
        _take_ended(running, ended)


def _start(command: Command, held: Sequence[int]) -> _Running:
    # -P: a file in the current folder must not pass for a module of ours.
    line = [sys.executable, "-P", "-m", "geoseg.cli", *command.words]
    with command.log.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and code
            line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=held, start_new_session=True
        )
    return _Running(command, process, time.monotonic())


def _take_ended(running: list[_Running], ended: Callable[[Command, int, float], None]) -> None:
    for one in list(running):
        code = one.process.poll()
        if code is not None:
            running.remove(one)
            ended(one.command, code, time.monotonic() - one.began)


def last_words(log: Path) -> str:
    """The last line of a log that is no progress, for people; empty where there is none.

    Args:
        log: What a command said.
    """
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.strip() and not line.startswith("{")]
    return said[-1] if said else ""
