"""The configuration of a mapping run: the options of `geoseg map` in a file."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from geoseg.config.command import CommandConfig, NumberOrByClass, NumberOrWord, NumbersOrFiles, PairOrText
from geoseg.config.sections import NotNegative

_Count = Annotated[int, Field(ge=1)]


class MapConfig(CommandConfig):
    """A mapping run; each key is the option of `geoseg map` of that name, and null or no key leaves it as usual.

    Attributes:
        kind: Always "map".
        scenes: Rasters, folders, globs, lists, STAC documents; files start from the data root.
        output: The RUN folder, from the working folder.
        model: Name or folder of a model, from the working folder.
        bands: Band numbers in the model's order; or a file for each band by its name, and then no scenes; from the
            data root.
        assets: STAC assets to read, by key or role.
        stretch: Two values, or "2%,98%".
        resolution: "model", "native", "finest", or metres.
        crs: Of the grid.
        align: Whether the grid's edges lie on whole multiples of its pixel.
        merge: Which scene gives a pixel that several hold.
        skip_bad: Whether scenes that cannot be mapped are left out.
        assume_crs: Of a scene that has none.
        trust_vrt: Whether a .vrt and the rasters it names are read.
        aoi: A vector file with polygons to map within; from the data root.
        tile_size: Side of a tile in pixels.
        tile_overlap: Overlap of tiles in pixels.
        block_size: Side of a block of work in pixels.
        probability: Whether the probability of every class is kept.
        min_area: Smaller objects are left out, square metres; for all classes, or by class.
        min_hole: Smaller holes are filled, square metres; likewise.
        simplify: Tolerance of outlines, metres.
        smooth: Whether the staircase of pixels is smoothed.
        regularize: Whether things get straight walls.
        threshold: Least probability by class.
        classes: Classes to write layers of.
        network: Whether roads are written as a network, too.
        format: What layers are written as.
        device: "cpu", "cuda" or "cuda:N".
        precision: Of the network's matrix products.
        workers: Worker processes.
        threads_per_worker: CPU threads of each.
        memory: Bytes for all workers.
        address: A running Ray cluster, "auto" or HOST:PORT.
        local: Whether to do without Ray, in one process.
        mixed_numerics: Whether to go on with what other hardware began.
    """

    data_keys: ClassVar[frozenset[str]] = frozenset({"scenes", "bands", "aoi"})

    kind: Literal["map"]
    scenes: tuple[str, ...] | None = None
    output: str | None = None
    model: str | None = None
    bands: NumbersOrFiles | None = None
    assets: tuple[str, ...] | None = None
    stretch: PairOrText | None = None
    resolution: NumberOrWord | None = None
    crs: str | None = None
    align: bool | None = None
    merge: Literal["nearest-centre", "latest", "first"] | None = None
    skip_bad: bool | None = None
    assume_crs: str | None = None
    trust_vrt: bool | None = None
    aoi: str | None = None
    tile_size: Annotated[int, Field(ge=8, le=8192)] | None = None
    tile_overlap: Annotated[int, Field(ge=0)] | None = None
    block_size: _Count | None = None
    probability: bool | None = None
    min_area: NumberOrByClass | None = None
    min_hole: NumberOrByClass | None = None
    simplify: NotNegative | None = None
    smooth: bool | None = None
    regularize: bool | None = None
    threshold: dict[str, float] | None = None
    classes: tuple[str, ...] | None = None
    network: bool | None = None
    format: tuple[str, ...] | None = None
    device: str | None = None
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    workers: _Count | None = None
    threads_per_worker: _Count | None = None
    memory: _Count | None = None
    address: str | None = None
    local: bool | None = None
    mixed_numerics: bool | None = None

    @model_validator(mode="after")
    def _has_scenes(self) -> Self:
        if isinstance(self.bands, dict) and self.scenes:
            raise ValueError("scenes: bands names a file for each band already, remove one of the two")
        return self
