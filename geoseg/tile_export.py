"""Chips of labelled scenes as files, and those that would be worth labelling."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from shapely import Geometry, box

from geoseg.config import TrainConfig
from geoseg.errors import ConfigError, GeosegError
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.chip_files import write_image_chip, write_label_chip
from geoseg.io.regions import region_mask
from geoseg.io.whole_folder import whole_folder
from geoseg.labelled_data import coding_of, imagery_of, sources_of
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.progress import stage_progress
from geoseg.train.candidates import Candidates
from geoseg.train.scenes import LabelledScene, open_scenes

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True)
class ChipOptions:
    """How scenes are cut.

    Attributes:
        size_px: Side of the chips; those at the far edges of a scene are smaller.
        overlap_px: Pixels that neighbours share.
        min_labelled: Share of a chip that must be labelled; of chips chosen by a model, that must hold data.
        splits: Those that are taken.
    """

    size_px: int = 512
    overlap_px: int = 0
    min_labelled: float = 0.05
    splits: tuple[Split, ...] = ("train", "val", "test")

    def __post_init__(self) -> None:
        if not 16 <= self.size_px <= 8192 or not 0 <= self.overlap_px < self.size_px:
            raise GeosegError(
                f"expected chips of 16 to 8192 px that overlap by less than their size, got --size {self.size_px} "
                f"--overlap {self.overlap_px}"
            )
        if not 0 <= self.min_labelled <= 1:
            raise GeosegError(f"expected --min-labelled from 0 to 1, got {self.min_labelled:g}")


@dataclass(frozen=True, slots=True)
class ExportedTiles:
    """What was written.

    Attributes:
        folder: Where.
        chips: How many, by group: a split, or a split and the classes that are labelled.
    """

    folder: Path
    chips: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"folder": str(self.folder), "chips": self.chips}


def tile_windows(height: int, width: int, options: ChipOptions) -> list[Window]:
    """Windows that cover a grid, in row-major order from its origin; at the far edges they are cut off.

    Args:
        height: Rows of the grid.
        width: Columns of the grid.
        options: Their size and overlap.
    """
    step = options.size_px - options.overlap_px
    # One that holds only what its neighbour holds too is none.
    rows = [row for row in range(0, height, step) if row == 0 or row + options.overlap_px < height]
    cols = [col for col in range(0, width, step) if col == 0 or col + options.overlap_px < width]
    return [
        Window(row, col, min(options.size_px, height - row), min(options.size_px, width - col))
        for row in rows
        for col in cols
    ]


def export_tiles(config: TrainConfig, root: Path, output: Path, options: ChipOptions) -> ExportedTiles:
    """Write the labelled chips of a data set, as training sees them.

    There are images/GROUP/NAME.tif and labels/GROUP/NAME.tif, where a group is a split, or a split and the classes
    that are labelled where those are not all; classes.json, what the labels mean; and data.yaml, the sections of a
    configuration that trains on them. The folder appears when all is written.

    Args:
        config: Describes the data set.
        root: Where its paths start.
        output: A folder that is not there, or empty.
        options: How scenes are cut.

    Raises:
        ConfigError: A file is missing, nothing is labelled enough, or the folder is not empty.
        SceneError: A raster cannot be opened or used.
        StoppedError: The disk is full.
    """
    imagery, labels, all_sources = imagery_of(config), config.label_set(), sources_of(config, root)
    # The meaning of labels is that of the whole data set, whichever part is written.
    coding = coding_of(config, all_sources)
    sources = [source for source in all_sources if source.split in options.splits]
    if not sources:
        raise ConfigError(f"expected data of split {' or '.join(options.splits)}, the configuration lists none")

    def write(folder: Path) -> dict[str, int]:
        writer = ChipWriter(folder, imagery, labels)
        with open_scenes(sources, imagery, coding) as scenes:
            total_px = sum(scene.grid.height * scene.grid.width for scene in scenes)
            with stage_progress("tiles", total_px) as advance:
                for number, scene in enumerate(scenes):
                    for window in tile_windows(scene.grid.height, scene.grid.width, options):
                        if scene.pixels.intersects(window_box(window)):
                            writer.write_labelled(number, scene, window, options.min_labelled)
                    advance(scene.grid.height * scene.grid.width)
        if not writer.chips:
            raise ConfigError(
                f"no window of {options.size_px} px is labelled to {options.min_labelled:g} of its area or more: "
                "lower --min-labelled"
            )
        writer.finish(coding.candidates)
        return writer.chips

    return ExportedTiles(output, whole_folder(output, write))


class ChipWriter:
    """Chips in a folder, with what their labels mean.

    Args:
        folder: Where; it is there.
        imagery: What the images are.
        labels: The classes.
    """

    def __init__(self, folder: Path, imagery: Imagery, labels: LabelSet) -> None:
        self._folder, self._imagery, self._labels = folder, imagery, labels
        self._groups: dict[str, tuple[str, frozenset[int], float | None]] = {}
        self.chips: dict[str, int] = {}

    def write_labelled(
        self, number: int, scene: LabelledScene, window: Window, min_labelled: float
    ) -> tuple[str, float] | None:
        """Write a window with its labels if enough of it is labelled.

        Args:
            number: Of the scene, which tells apart those of one name.
            scene: The scene.
            window: Of its grid.
            min_labelled: Least share of its pixels.

        Returns:
            Its group and name, GROUP/NAME, and the share that is labelled; None if it was not written.
        """
        labels_hw = scene.labels(window)
        if np.count_nonzero(labels_hw != NODATA_CLASS) < min_labelled * labels_hw.size:
            return None
        image_chw, valid_hw = scene.image(window)
        # What belongs to another split is not given away as the surroundings of this one.
        valid_hw &= region_mask(scene.pixels, window)
        labels_hw[~valid_hw] = NODATA_CLASS
        share = np.count_nonzero(labels_hw != NODATA_CLASS) / labels_hw.size
        if share < min_labelled or (min_labelled > 0 and share == 0):
            return None
        group = self._group(scene)
        name = chip_name(number, scene.source.name, window)
        for kind in ("images", "labels"):
            (self._folder / kind / group).mkdir(parents=True, exist_ok=True)
        file, grid = f"{group}/{name}.tif", scene.grid.part(window)
        write_image_chip(self._folder / "images" / file, image_chw, valid_hw, grid, self._imagery)
        write_label_chip(self._folder / "labels" / file, labels_hw, grid, self._labels)
        self.chips[group] = self.chips.get(group, 0) + 1
        return f"{group}/{name}", share

    def _group(self, scene: LabelledScene) -> str:
        classes, names = scene.labelled, self._labels.names
        partial = len(classes) < len(names)
        some = "+".join(names[class_id] for class_id in sorted(classes))
        group = f"{scene.source.split}-{some}" if partial else scene.source.split
        if not scene.grid.has_place:
            group = f"{group}-without-place"
        pixel_m = None if scene.grid.has_place else scene.grid.ground_resolution_m()[0]
        self._groups[group] = (scene.source.split, classes, pixel_m)
        return group

    def finish(self, candidates: Candidates) -> None:
        """Write classes.json and data.yaml.

        Args:
            candidates: What the values of the labels mean.
        """
        names = self._labels.names
        entries, rests = [], {}
        for group, (split, labelled, pixel_m) in sorted(self._groups.items()):
            entry: dict[str, Any] = {"image": f"images/{group}", "labels": f"labels/{group}", "split": split}
            entry |= {} if pixel_m is None else {"ground_resolution_m": pixel_m}
            rest = candidates.rest(labelled)
            if rest != NODATA_CLASS:
                some = [names[class_id] for class_id in sorted(labelled)]
                rests[rest] = some
                values = {str(class_id): names[class_id] for class_id in sorted(labelled)}
                entry |= {"classes": some, "values": {**values, str(rest): "unknown"}}
            entries.append(entry)
        classes = [
            {"id": number, "name": label.name, "color": label.color}
            for number, label in enumerate(self._labels.classes)
        ]
        meaning = {
            "classes": classes,
            "not_known": NODATA_CLASS,
            "none_of": [{"id": rest, "classes": some} for rest, some in sorted(rests.items())],
            "chips": self.chips,
        }
        (self._folder / "classes.json").write_text(json.dumps(meaning, indent=1) + "\n")
        sections = {
            "label_values": dict(enumerate(names)),
            "ignore_values": [NODATA_CLASS],
            "data": entries,
        }
        text = "# Sections of a configuration that trains on these chips, with this folder as data root.\n"
        (self._folder / "data.yaml").write_text(text + yaml.safe_dump(sections, sort_keys=False))


def chip_name(number: int, scene: str, window: Window) -> str:
    """The name of a chip: the scene's number and name, row and column.

    Args:
        number: Of the scene.
        scene: Its name; what a file's name should not hold is replaced.
        window: Of its grid.
    """
    return f"{number:04}_{re.sub(r'[^A-Za-z0-9_.-]', '_', scene)[:80]}_r{window.row:06}_c{window.col:06}"


def window_box(window: Window) -> Geometry:
    """A window in pixel coordinates (x = column, y = row)."""
    return box(window.col, window.row, window.col_stop, window.row_stop)
