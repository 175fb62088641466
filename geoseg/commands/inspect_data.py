"""What `geoseg inspect` says of a data set for training."""

from collections.abc import Iterator
from typing import Any

_NAMED = 12
"""Scenes that are named one by one."""


def data_lines(content: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """A data set for people, a label and words a line.

    Args:
        content: What `InspectedData.to_json` gives, with "path" and "files".
    """
    yield "data", content["path"]
    for split, figures in content["splits"].items():
        total = sum(figures["pixels"].values())
        yield split, f"{figures['scenes']} scene(s), {figures['data_px']} px with data, {total} px of a known class"
        for name, pixels in figures["pixels"].items():
            yield "", f"{name}: {pixels} px" + (f", {100 * pixels / total:.2f} %" if total else "")
    for scene in content["scenes"][:_NAMED]:
        height, width = scene["size_px"]
        native, used = max(scene["native_resolution_m"]), max(scene["resolution_m"])
        pixels = f"{height} x {width} px of {used:.3g} m (file: {native:.3g} m) in {scene['crs_name']}"
        yield "scene", f"{scene['name']} ({scene['split']}): {pixels}, labels {', '.join(scene['labels_classes'])}"
    if len(content["scenes"]) > _NAMED:
        yield "", f"and {len(content['scenes']) - _NAMED} more; --json names them all"
    for problem in content["problems"]:
        yield "problem" if problem["refused"] else "note", f"{problem['where']}: {problem['what']}"
    if not content["problems"]:
        yield "problems", "none found"
    for file in content["files"]:
        yield "drawn", file
