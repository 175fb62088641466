"""Figures of benchmarks: as Markdown tables, kept in RESULTS.md."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

_FILE = Path(__file__).with_name("RESULTS.md")


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [
        "| " + " | ".join(names) + " |",
        "|" + "---|" * len(names),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def machine() -> str:
    """Where and when figures were taken."""
    cores = len(os.sched_getaffinity(0))
    instructions = torch.backends.cpu.get_cpu_capability()
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    return f"{cores} cores ({instructions}), torch {torch.__version__}, {platform.system()}, {day}"


def add_section(name: str, lines: Sequence[str]) -> None:
    """Put a section into RESULTS.md, in place of an older one of that name."""
    text = _FILE.read_text() if _FILE.exists() else "# Results of the benchmarks\n"
    before, _, rest = text.partition(f"\n## {name}\n")
    after = rest.partition("\n## ")
    kept = f"\n## {after[2]}" if after[1] else ""
    section = "\n".join(lines)
    _FILE.write_text(f"{before.rstrip()}\n\n## {name}\n\n{section}\n{kept}")
