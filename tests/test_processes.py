"""Commands in processes of their own: never more than allowed, each with its end, none left behind."""

from pathlib import Path

import pytest

from geoseg.processes import Command, last_words, run_commands


def commands(folder: Path, *words: tuple[str, ...]) -> list[Command]:
    return [Command(f"c{number}", one, folder / f"c{number}.log") for number, one in enumerate(words)]


@pytest.mark.parametrize("at_once", [1, 2])
def test_commands_run_in_order_no_more_than_allowed_at_a_time(tmp_path: Path, at_once: int) -> None:
    under_way: list[int] = []
    now: set[str] = set()
    events: list[tuple[str, int]] = []

    def began(command: Command) -> None:
        now.add(command.name)
        under_way.append(len(now))

    def ended(command: Command, code: int, seconds: float) -> None:
        assert seconds > 0
        now.remove(command.name)
        events.append((command.name, code))

    given = commands(tmp_path, ("--version",), ("nosuch",), ("--version",))
    run_commands(given, at_once, (), began, ended)
    assert max(under_way) == at_once
    assert dict(events) == {"c0": 0, "c1": 2, "c2": 0}
    if at_once == 1:
        assert [name for name, _ in events] == ["c0", "c1", "c2"]
    assert last_words(given[0].log).startswith("geoseg, version ")
    assert last_words(given[1].log).startswith("error: no command is named 'nosuch'")


def test_asked_to_stop_it_waits_for_those_that_run_and_begins_no_other(tmp_path: Path) -> None:
    ends: list[str] = []

    def began(command: Command) -> None:
        if command.name == "c1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_commands(
            commands(tmp_path, ("--version",), ("--version",), ("--version",)),
            2,
            (),
            began,
            lambda command, _code, _seconds: ends.append(command.name),
        )
    assert ends == ["c0"]
    assert not (tmp_path / "c1.log").exists()


def test_what_a_command_says_last_is_no_progress(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b'first\nerror: it was \xff\n{"event": "end"}\n\n')
    assert last_words(log) == "error: it was \N{REPLACEMENT CHARACTER}"
    log.write_text('{"event": "end"}\n')
    assert last_words(log) == ""
