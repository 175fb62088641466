"""stac/ in the RUN folder: the Item of the run, and beside it that of its model."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from geoseg.errors import InputChangedError
from geoseg.grid import Window
from geoseg.io.ledger import canonical_hash, write_json
from geoseg.io.place import file_bytes, file_sha256
from geoseg.io.run_folder import RunFolder
from geoseg.models.card import Card
from geoseg.models.fetched import package_folder
from geoseg.models.package import load_card
from geoseg.outcome import MosaicState
from geoseg.plan import RunPlan
from geoseg.stac.assets import assets_of
from geoseg.stac.footprint import footprint
from geoseg.stac.model_item import model_item
from geoseg.stac.run_item import run_item

_STAGE = "stac"
_KEY = "all"
_FOLDER = "stac"
_RUN_ITEM = "item.json"
_MODEL_ITEM = "model.json"


def write_stac(
    plan: RunPlan, run: RunFolder, state: MosaicState, outputs: Sequence[Mapping[str, Any]], failed_blocks: int
) -> list[dict[str, Any]]:
    """Write both Items with a marker, unless they are there and say the same.

    They hold no time of writing and no path of this machine: the same run has the same Items wherever it lies.

    Args:
        plan: The run, decided.
        run: Its folder; all that the Items name lies there.
        state: Its mosaic.
        outputs: What was written, as run.json has it.
        failed_blocks: How many blocks are missing.

    Returns:
        What run.json says of the Items.

    Raises:
        InputChangedError: The model package is no longer the one that was planned with.
        ModelError: It cannot be read.
    """
    model = model_item(_card(plan))
    sizes = {str(one["path"]): file_bytes(run.path / one["path"]) for one in outputs if one["sha256"]}
    item = run_item(
        plan,
        state,
        assets_of(plan, outputs, _windows(run), sizes),
        footprint(run.mosaic, plan.region.grid),
        model,
        model_href=f"./{_MODEL_ITEM}",
        failed_blocks=failed_blocks,
    )
    documents = {f"{_FOLDER}/{_RUN_ITEM}": item, f"{_FOLDER}/{_MODEL_ITEM}": model}
    ledger = run.ledger(_STAGE)
    depends = canonical_hash(documents)
    if _KEY in ledger.done_for(depends):
        written: list[dict[str, Any]] = ledger.record(_KEY)["outputs"]
        if all((run.path / output["path"]).exists() for output in written):
            return written
    ledger.forget(_KEY)
    written = []
    for name, document in documents.items():
        write_json(run.path / name, _sorted(document))
        sha256 = file_sha256(run.path / name)
        written.append({"path": name, "format": "stac", "features": None, "sha256": sha256})
    ledger.commit(_KEY, {"depends": depends, "outputs": written})
    return written


def _card(plan: RunPlan) -> Card:
    """The model's card.

    Raises:
        InputChangedError: It is no longer the one that was planned with.
        ModelError: It cannot be read.
    """
    card = load_card(package_folder(plan.model_path))
    if card.identity != plan.model_identity:
        raise InputChangedError(
            f"the model package {plan.model_path} changed during the run, which stops here: put the old one back "
            "and run the same command again, or map with the new one into another folder"
        )
    return card


def _windows(run: RunFolder) -> dict[str, Window]:
    """Which part of the grid each class raster holds that does not hold all of it, by its path."""
    records = [record for _, record in run.ledger("cog").records() if "window" in record]
    return {name: Window(*record["window"]) for record in records for name in record["files"]}


def _sorted(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the keys of every object in order."""
    in_order: dict[str, Any] = json.loads(json.dumps(document, sort_keys=True, allow_nan=False))
    return in_order
