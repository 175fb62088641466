"""What became of a run, and the record of it that run.json keeps."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import rasterio
import torch
import zarr

import geoseg
from geoseg.io.addresses import shown
from geoseg.io.ledger import Ledger, canonical_hash
from geoseg.io.record import RECORD_VERSION, RunRecord
from geoseg.plan import RunPlan


@dataclass(slots=True)
class Outcome:
    """What became of a run, as it unfolds.

    Attributes:
        status: "running", "complete", "incomplete" or "stopped".
        quarantined: Error of each block that failed, by key.
        stages: Seconds by stage, of this process; of the stages that workers do, units and sums of what their
            reports count (tiles, read_s, infer_s, write_s, ...) too.
        outputs: What was written: path, format, features, sha256.
        instances: How objects were told apart, once they are labelled; None where what touches is one.
        clean_up: What cleaning changed, once there are features.
    """

    status: str = "running"
    quarantined: dict[str, str] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    instances: dict[str, Any] | None = None
    clean_up: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class MosaicState:
    """What the markers of the mosaic say, read one after the other.

    Attributes:
        done: Keys of finished blocks.
        with_data: Keys of finished blocks that hold data.
        content_hash: sha256 over the names and sha256s of all chunks.
        numerics: Each kind of numerics that finished blocks were computed on, and how many blocks were.
    """

    done: frozenset[str]
    with_data: frozenset[str]
    content_hash: str
    numerics: tuple[tuple[dict[str, Any], int], ...]

    @classmethod
    def of(cls, ledger: Ledger) -> "MosaicState":
        """Read the ledger's markers."""
        done, with_data = set(), set()
        content_hash = canonical_hash({})
        kinds: dict[str, tuple[dict[str, Any], int]] = {}
        for key, record in ledger.records():
            done.add(key)
            if record["valid_px"]:
                with_data.add(key)
                name = canonical_hash(record["numerics"])
                kinds[name] = (record["numerics"], kinds.get(name, ({}, 0))[1] + 1)
            content_hash = canonical_hash({"before": content_hash, key: record["chunks"]})
        return cls(frozenset(done), frozenset(with_data), content_hash, tuple(kinds.values()))


def offsets_in_words(instances: Mapping[str, Any]) -> str:
    """How many offsets of a panoptic run were too long, for people.

    Args:
        instances: As run.json has them.
    """
    share = instances["clipped_px"] / max(instances["things_px"], 1)
    return f"things   {share:.2%} of their offsets were clipped to {instances['reach_px']} px"


def record_of(plan: RunPlan, state: MosaicState, outcome: Outcome, argv: Sequence[str]) -> dict[str, Any]:
    """The content of run.json.

    Args:
        plan: The run, decided.
        state: Its mosaic.
        outcome: What this process did.
        argv: The command line, or the call.
    """
    record = RunRecord.model_validate(
        {
            "version": RECORD_VERSION,
            "status": outcome.status,
            "plan_hash": plan.plan_hash,
            "argv": [shown(word) for word in argv],
            "inputs": [
                {"path": part.path, "fingerprint": part.fingerprint}
                for scene in plan.region.scenes
                for part in scene.parts
            ],
            "scenes_left_out": [
                {"name": row.name, "uri": row.uri, "reason": row.problem} for row in plan.rows if not row.used
            ],
            "model": {"name": plan.model_name, "path": plan.model_path, "identity": plan.model_identity},
            "grid": plan.region.grid.to_json(),
            "classes": list(plan.labels.names),
            "layers": plan.layers_content,
            "instances": outcome.instances,
            "clean_up": outcome.clean_up,
            "blocks": {
                "total": len(plan.work),
                "done": len(state.done),
                "skipped": len(state.done) - len(state.with_data),
                "quarantined": [{"block": key, "error": error} for key, error in outcome.quarantined.items()],
            },
            "stages": outcome.stages,
            "outputs": outcome.outputs,
            "warnings": list(plan.warnings),
            "versions": {
                "geoseg": geoseg.__version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "rasterio": rasterio.__version__,
                "gdal": rasterio.__gdal_version__,
                "zarr": zarr.__version__,
            },
            "machine": {
                "system": platform.platform(),
                "workers": plan.workers,
                "numerics": [{**numerics, "blocks": blocks} for numerics, blocks in state.numerics],
            },
        }
    )
    return record.to_json()
