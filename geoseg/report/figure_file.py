"""Figures and other files of a report, which appear whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from geoseg.labels import LabelSet

_DPI = 110


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG: the same figures give the same bytes.

    Args:
        figure: What to write.
        path: Where.
    """
    # No name of a program, as there is no date.
    write_whole(path, lambda part: figure.savefig(part, dpi=_DPI, format="png", metadata={"Software": None}))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let a file be written beside its place and move it there: it appears whole or not at all.

    Args:
        path: Its place.
        write: Writes a file of another name.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def add_legend(figure: Figure, labels: LabelSet) -> None:
    """The classes with their colours, below a figure.

    Args:
        figure: Of constrained layout, or with room for a line below.
        labels: The classes.
    """
    patches = [Patch(facecolor=label.color, edgecolor="black", label=label.name) for label in labels.classes]
    patches.append(Patch(facecolor="#dddddd", edgecolor="black", hatch="..", label="not known"))
    columns = min(8, len(patches))
    if figure.get_layout_engine() is None:
        figure.legend(handles=patches, loc="lower center", ncols=columns, frameon=False)
    else:
        figure.legend(handles=patches, loc="outside lower center", ncols=columns, frameon=False)
