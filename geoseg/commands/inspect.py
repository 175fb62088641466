"""`geoseg inspect`: what a scene, a model, a run or a data set is."""

import difflib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from geoseg.catalog import DEFAULT_MODEL, load_model, model_folder, search_path
from geoseg.commands.card_lines import quality_lines
from geoseg.commands.inspect_data import data_lines
from geoseg.commands.inspect_scene import scene_content, scene_lines
from geoseg.commands.labelled_data import data_root_option
from geoseg.commands.place import DiskPath
from geoseg.commands.text import echo_lines, megabytes
from geoseg.config import load_train_config
from geoseg.errors import GeosegError
from geoseg.grid import parse_crs
from geoseg.io.gdal_environment import gdal_environment
from geoseg.io.place import is_in_store, parse_place
from geoseg.io.run_folder import RunFolder
from geoseg.labelled_data import data_folder
from geoseg.models.package import CARD_NAME, known_models, load_card
from geoseg.run import open_run
from geoseg.speed import measure_speed

_DATASETS = frozenset({".yaml", ".yml"})
_GATE_FAILED = 3


@click.command("inspect")
@click.argument("what", metavar="SCENE|MODEL|RUN|DATASET")
@click.option(
    "--model", "model_name", default=DEFAULT_MODEL, show_default=True, help="The model that a SCENE is to fit."
)
@click.option("--trust-vrt", is_flag=True, help="Read a .vrt, and the local rasters that it names.")
@data_root_option
@click.option(
    "-o",
    "--output",
    type=DiskPath(),
    help="Of a DATASET: folder for its pictures. [NAME.inspect in the current folder; none with --check]",
)
@click.option(
    "--check", is_flag=True, help="Of a DATASET: exit with 3 if it cannot train, having said why and where."
)
@click.option(
    "--speed", is_flag=True, help="Of a MODEL: measure how much ground its network covers here, as `map` runs it."
)
@click.option("--device", help="Of --speed: cpu, cuda or cuda:N. [cuda if there is one, else cpu]")
@click.option("--threads", type=click.IntRange(1), help="Of --speed: CPU threads. [all cores]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def inspect(
    what: str,
    model_name: str,
    trust_vrt: bool,
    data_root: Path | None,
    output: Path | None,
    check: bool,
    speed: bool,
    device: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Say what a raster, a model (a name or folder), a RUN folder or a data set (the YAML of a training) is.

    Of a scene: how it is stored and placed, how much of it holds no data, and whether the model fits it.

    Of a data set, every pixel of which is read: how much of each class there is, sizes, CRSs and resolutions, and
    what is wrong with it; with pictures of images beside their labels.
    """
    if trust_vrt:
        # GDAL registers its drivers when it is first used, which is after this.
        os.environ.update(gdal_environment(trust_vrt=True))
    kind = _kind(what)
    if kind != "dataset" and (check or output is not None or data_root is not None):
        raise GeosegError(f"--check, -o and --data-root are of a data set (a YAML file), {what} is a {kind}")
    if kind != "model" and (speed or device is not None or threads is not None):
        raise GeosegError(f"--speed, --device and --threads are of a model, {what} is a {kind}")
    match kind:
        case "model":
            content = _model_content(what, device, threads, speed=speed)
            lines = _model_lines(content)
        case "run":
            content = _run_content(what)
            lines = _run_lines(content)
        case "dataset":
            content = _data_content(what, data_root, output, check=check)
            lines = data_lines(content)
        case _:
            content = scene_content(what, model_name, trust_vrt=trust_vrt)
            lines = scene_lines(content)
    if as_json:
        click.echo(json.dumps(content, indent=2))
    else:
        echo_lines(lines)
    if check and any(problem["refused"] for problem in content["problems"]):
        raise SystemExit(_GATE_FAILED)


def _kind(what: str) -> str:
    """model, run, dataset or scene: by what lies there, else by name.

    Raises:
        GeosegError: Nothing lies there, or a folder with something else.
    """
    path = parse_place(what) if is_in_store(what) else Path(what)
    if path.is_dir():
        if (path / CARD_NAME).is_file():
            return "model"
        if (path / "plan.json").is_file() or (path / "run.json").is_file():
            return "run"
        raise GeosegError(
            f"expected a raster, a model package (a folder with {CARD_NAME}) or a RUN folder (with plan.json), got "
            f"the folder {what}"
        )
    if isinstance(path, Path) and path.suffix.lower() in _DATASETS:
        return "dataset"
    known = known_models(search_path())
    if path.exists() or os.sep in what or what.startswith(("/vsi", "<")):
        return "scene"
    if what in known:
        return "model"
    near = [*known, *(file.name for file in Path().iterdir())]
    nearest = difflib.get_close_matches(what, near, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    raise GeosegError(f"no raster, RUN folder or model is named {what!r}{hint}")


def _data_content(what: str, data_root: Path | None, output: Path | None, *, check: bool) -> dict[str, Any]:
    from geoseg.data_inspection import draw_data, inspect_data  # noqa: PLC0415  # matplotlib, for data sets alone

    path = Path(what)
    config = load_train_config(path)
    data = inspect_data(config, data_folder(data_root, path))
    folder = output
    if folder is None and not check:
        folder = Path(f"{path.stem}.inspect")
    files = () if folder is None else draw_data(folder, data)
    return {**data.to_json(), "path": what, "files": [str(file) for file in files]}


def _model_content(what: str, device: str | None, threads: int | None, *, speed: bool) -> dict[str, Any]:
    folder = Path(what) if Path(what).is_dir() else model_folder(what)
    model = load_model(folder)
    if not speed and (device is not None or threads is not None):
        raise GeosegError("--device and --threads say where --speed is measured: give --speed, too")
    measured = {"speed": measure_speed(model, device, threads).to_json()} if speed else {}
    return {
        "kind": "model",
        "path": str(folder),
        "identity": model.identity,
        "parameters": sum(tensor.numel() for tensor in model.tensors.values()),
        **model.card.model_dump(mode="json"),
        "architecture": asdict(model.card.architecture),
        **measured,
    }


def _speed_words(speed: dict[str, Any]) -> str:
    per_second, per_hour = speed["ground_mpx_per_s"], speed["ground_km2_per_h"]
    machine = f"{speed['device']}, {speed['threads']} thread(s), {speed['precision']}"
    return f"{per_second:.3g} Mpx of ground a second, {per_hour:.0f} km2 an hour: the network alone, on {machine}"


def _model_lines(model: dict[str, Any]) -> Iterator[tuple[str, object]]:
    network, imagery, weights = model["architecture"], model["imagery"], model["weights"]
    low, high = imagery["value_range"]
    yield "model", f"{model['name']} ({model['path']})"
    yield "", model["description"]
    yield "network", f"{network['name']} of width {network['width']:g}, {model['parameters']} numbers"
    yield "weights", f"{megabytes(weights['bytes'])} in {weights['dtype']}, identity {model['identity'][:12]}"
    yield (
        "imagery",
        (
            f"{', '.join(imagery['bands'])} as {imagery['dtype']} from {low:g} to {high:g}, "
            f"{imagery['ground_resolution_m']:g} m a pixel"
        ),
    )
    yield "tiles", f"{model['tile']['size_px']} px, overlapping by {model['tile']['overlap_px']} px"
    for number, label in enumerate(model["classes"]):
        layer = "no layer" if label["layer"] is None else f"layer {label['layer']}"
        yield "class" if number == 0 else "", f"{number} {label['name']} ({layer}, {label['color']})"
    yield from quality_lines(load_card(Path(model["path"])))
    if "speed" in model:
        yield "speed", _speed_words(model["speed"])
    yield "licence", model["licence"]
    for owed in model["attribution"]:
        yield "data", owed


def _run_content(what: str) -> dict[str, Any]:
    run = RunFolder(parse_place(what))
    record = open_run(what).record.to_json() if run.run_file.is_file() else None
    return {
        "kind": "run",
        "path": what,
        "status": "planned" if record is None else record["status"],
        # The record is written at the start and the end: the ledger knows what is done by now.
        "blocks_done": len(run.ledger("mosaic").done()),
        "plan": run.existing_plan() if run.plan_file.is_file() else None,
        "record": record,
    }


def _run_lines(content: dict[str, Any]) -> Iterator[tuple[str, object]]:
    record, done = content["record"], content["blocks_done"]
    notes = {
        "planned": "nothing is done yet: the same command begins it",
        "running": "at work, or its process is gone: then the same command goes on",
        "stopped": "the same command goes on",
        "incomplete": "blocks failed: the same command tries them again",
    }
    note = notes.get(content["status"])
    yield "run", f"{content['path']}, {content['status']}" + (f" ({note})" if note else "")
    if record is None:
        return
    grid, blocks = record["grid"], record["blocks"]
    yield "plan", record["plan_hash"]
    for scene in record["inputs"]:
        yield "scene", scene["path"]
    yield "model", f"{record['model']['name']} ({record['model']['path']})"
    yield "grid", f"{grid['height']} x {grid['width']} px in {parse_crs(grid['crs']).name}"
    failed = len(blocks["quarantined"])
    yield "blocks", f"{done} of {blocks['total']} done, {blocks['skipped']} of them without data; {failed} failed"
    for block in blocks["quarantined"]:
        yield "failed", f"block {block['block']}: {block['error']}"
    for output in record["outputs"]:
        features = "" if output["features"] is None else f", {output['features']} features"
        yield "output", f"{output['path']}{features}"
    for warning in record["warnings"]:
        yield "warning", warning
