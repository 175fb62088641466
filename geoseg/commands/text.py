"""Lines and tables for people: aligned, and printable whatever a file says about itself."""

from collections.abc import Iterable, Sequence

import click


def echo_lines(lines: Iterable[tuple[str, object]]) -> None:
    """Print a label and its words a line, the words aligned."""
    for label, words in lines:
        click.echo(f"{label:9}{printable(words)}")


def echo_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns, each as wide as its widest cell."""
    table = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def printable(words: object) -> str:
    """Text without what a terminal would obey: control characters, line breaks."""
    return "".join(char if char.isprintable() else "?" for char in str(words))


def megabytes(count: int) -> str:
    """A number of bytes, in MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
