"""run.json: what became of a run, as a model of its content and the JSON Schema that is published with it."""

import json
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

RECORD_VERSION: Literal[3] = 3
"""The version of run.json that is written and read."""

Status = Literal["running", "complete", "incomplete", "stopped"]
"""Of a run: incomplete lacks blocks that failed; a running one whose process is gone goes on like a stopped one."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A sha256 in hexadecimal."""

Count = Annotated[int, Field(ge=0)]
"""A whole number from 0."""

Length = Annotated[float, Field(ge=0)]
"""A number from 0."""


class _Part(BaseModel):
    """A part of the record: no unknown keys, finite numbers, and every attribute's words in the schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class InputRecord(_Part):
    """A scene."""

    path: str
    """Where it lay."""

    fingerprint: Sha256
    """sha256 over its size, first and last 64 KiB."""


class LeftOutScene(_Part):
    """A scene that was handed in and is no part of the map."""

    name: str
    """What it was called."""

    uri: str
    """Its address without query and user; where it could not be opened, as it was named."""

    reason: str
    """Why it cannot be mapped, or which scene it is a copy of."""


class ModelRecord(_Part):
    """The model."""

    name: str
    """As its card says."""

    path: str
    """Where its package lay."""

    identity: Sha256
    """sha256 over all of it that a map depends on."""


class GridRecord(_Part):
    """The pixels of the mosaic."""

    crs: str
    """An authority code ("EPSG:32640") or WKT."""

    transform: tuple[float, float, float, float, float, float]
    """a, b, c, d, e, f: x = a col + b row + c and y = d col + e row + f, at pixel corners."""

    height: Annotated[int, Field(ge=1)]
    """Rows."""

    width: Annotated[int, Field(ge=1)]
    """Columns."""


class LayersRecord(_Part):
    """How objects became features."""

    min_area_m2: dict[str, Length]
    """By class: smaller objects were left out."""

    min_hole_m2: dict[str, Length]
    """By class: smaller holes were filled where no layer has anything in them."""

    simplify_m: Length
    """Tolerance of the outlines."""

    smooth: bool
    """Whether the staircase of pixels was smoothed, but for regularized classes."""

    regularize: tuple[str, ...]
    """Classes whose objects got straight walls."""

    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]]
    """Of classes by name: pixels of a lesser probability were left out."""

    classes: tuple[str, ...]
    """Those whose layers were written."""

    network: bool
    """Whether roads became a network of lines and nodes, too."""


class InstancesRecord(_Part):
    """How the objects of a panoptic model were told apart."""

    reach_px: Count
    """R: the components of offsets were clipped to it."""

    capture_px: Count
    """r: a pixel is of the nearest centre within this distance of where its offset leads."""

    suppress_px: Count
    """A centre is the hottest pixel within this distance along rows and columns."""

    least_heat: Annotated[float, Field(gt=0, le=1)]
    """Where it is less there is no centre."""

    things_px: Count
    """Pixels of the classes whose objects were told apart."""

    clipped_px: Count
    """Those of them whose offset was clipped."""


class CleanUpRecord(_Part):
    """What was changed on the way from the objects of pixels to features."""

    objects_removed: Count
    """Those below the minimum area of their class."""

    objects_removed_m2: Length
    """Their ground area."""

    holes_filled: Count
    """Those below the minimum area, with nothing in them that a layer has."""

    holes_filled_m2: Length
    """Their ground area."""

    vertices_of_pixels: Count
    """Vertices of the outlines before they were smoothed and simplified."""

    vertices: Count
    """Vertices of the features."""

    outlines: dict[str, Count]
    """What became of the outlines of regularized classes: how many were regularized, or why not."""

    cut_back_m2: Length
    """Ground area of other objects where regularized ones lie now."""

    parts_removed: Count
    """Pieces below the minimum area that were cut off so."""

    parts_removed_m2: Length
    """Their ground area."""

    gaps_m2: Length
    """Ground area that no feature covers since: those pieces, and what regularized outlines left."""


class FailedBlock(_Part):
    """A block that could not be done: nodata in the mosaic until the same command is run again."""

    block: str
    """Its key in the ledger."""

    error: str
    """Why the last attempt failed."""


class BlocksRecord(_Part):
    """The blocks of the mosaic."""

    total: Count
    """All of the plan."""

    done: Count
    """Finished, by this command or an earlier one."""

    skipped: Count
    """Finished without any pixel that holds data."""

    quarantined: tuple[FailedBlock, ...]
    """Given up after several attempts."""


class StageRecord(_Part):
    """A stage that the last command worked on; seconds and counts of workers are summed over its units."""

    seconds: Length
    """Wall-clock time."""

    units: Count = 0
    """Blocks or windows that were done."""

    retries: Count = 0
    """How often a unit was tried again."""

    tiles: Count = 0
    """Tiles that the network evaluated."""

    cached: Count = 0
    """Tiles that a neighbouring block had evaluated."""

    valid_px: Count = 0
    """Pixels that hold data."""

    components: Count = 0
    """Components of single blocks."""

    centres: Count = 0
    """Centres of objects that have pixels, of a panoptic model."""

    parts: Count = 0
    """Outlines of objects, or of what single blocks hold of them."""

    features: Count = 0
    """Whole objects with their outlines, of all classes that have a layer."""

    worker_s: Length = 0
    """Time from the start of a unit to its end."""

    read_s: Length = 0
    """Time spent reading."""

    infer_s: Length = 0
    """Time that the network computed."""

    write_s: Length = 0
    """Time spent writing."""

    wait_s: Length = 0
    """Time that the network waited for pixels."""

    start_s: Length = 0
    """Part of `seconds` that workers took to start: Ray, Python, the libraries and the model."""


class OutputRecord(_Part):
    """A file or folder that was written."""

    path: str
    """Within the RUN folder."""

    format: str
    """zarr, cog, qml (how QGIS draws one), gpkg-index (where several COGs lie), png, qgs, html, stac or, of layers,
    geojson, geojsonseq, gpkg, fgb, parquet or pmtiles."""

    features: Count | None
    """How many, in a vector format."""

    sha256: Sha256 | None
    """Of a file's bytes."""


class NumericsRecord(_Part):
    """What besides the plan decides a prediction's last bits."""

    device: str
    """cpu, cuda or cuda:N."""

    precision: str
    """Of the network's matrix products."""

    threads: Annotated[int, Field(ge=1)]
    """CPU threads of a worker."""

    batch: Annotated[int, Field(ge=1)]
    """Tiles in one forward pass."""

    torch: str
    """Its version."""

    kind: str
    """The processor, or its instruction set."""

    blocks: Count
    """How many of the finished blocks with data were computed so."""


class MachineRecord(_Part):
    """Where the last command ran."""

    system: str
    """Operating system."""

    workers: Annotated[int, Field(ge=1)]
    """Worker processes."""

    numerics: tuple[NumericsRecord, ...]
    """Of the blocks; more than one kind only with --mixed-numerics."""


class RunRecord(_Part):
    """What became of a run; the content of run.json."""

    version: Literal[3]
    """Of this format."""

    status: Status
    """running, complete, incomplete (blocks failed) or stopped (interrupted, or the disk was full)."""

    plan_hash: Sha256
    """sha256 over all that the mosaic depends on."""

    argv: tuple[str, ...]
    """The last command line; of a call from Python, the call."""

    inputs: tuple[InputRecord, ...]
    """The scenes."""

    scenes_left_out: tuple[LeftOutScene, ...] = ()
    """Those of the last command that were left out: copies, and with --skip-bad what cannot be mapped."""

    model: ModelRecord
    """The model."""

    grid: GridRecord
    """The pixels of the mosaic."""

    classes: tuple[str, ...]
    """Class names by id."""

    layers: LayersRecord
    """How objects became features."""

    instances: InstancesRecord | None = None
    """How objects were told apart that touch, by a panoptic model."""

    clean_up: CleanUpRecord | None = None
    """What was changed on the way from the objects of pixels to features, once there are features."""

    blocks: BlocksRecord
    """What is done."""

    stages: dict[str, StageRecord]
    """What the last command worked on."""

    outputs: tuple[OutputRecord, ...]
    """What lies in the RUN folder."""

    warnings: tuple[str, ...]
    """What the user was told before the work began."""

    versions: dict[str, str]
    """Of geoseg, Python and the libraries that results depend on."""

    machine: MachineRecord
    """Where the last command ran."""

    def to_json(self) -> dict[str, Any]:
        """What run.json holds."""
        return self.model_dump(mode="json", exclude_defaults=True)


def record_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of run.json, from the model above."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:geoseg:run:3",
        **RunRecord.model_json_schema(),
        "title": "run.json of geoseg",
    }


def published_schema() -> dict[str, Any]:
    """The schema as it is shipped, `geoseg/schemas/run.schema.json`; a test keeps it equal to the model's.

    `python -m geoseg.io.record` prints the model's.
    """
    text = files("geoseg").joinpath("schemas", "run.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


if __name__ == "__main__":
    print(json.dumps(record_schema(), indent=2))  # noqa: T201  # this is what the command is for
