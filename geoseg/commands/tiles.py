"""`geoseg tiles`: labelled scenes as chips, or the windows that would be worth labelling."""

import json
from pathlib import Path

import click

from geoseg.catalog import load_model
from geoseg.commands.labelled_data import data_root_option
from geoseg.commands.place import DiskPath
from geoseg.config import load_train_config
from geoseg.errors import GeosegError
from geoseg.labelled_data import data_folder
from geoseg.threads import torch_threads
from geoseg.tile_export import ChipOptions, ExportedTiles, Split, export_tiles
from geoseg.uncertain_tiles import export_uncertain

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
_DATASETS = frozenset({".yaml", ".yml"})


@click.command("tiles")
@click.argument("data", metavar="DATASET|SCENE...", nargs=-1, required=True)
@click.option("-o", "--output", type=DiskPath(), required=True, help="Folder to write, new or empty.")
@click.option("--size", "size_px", type=int, default=512, show_default=True, metavar="PX", help="Side of a chip.")
@click.option(
    "--overlap", "overlap_px", type=int, default=0, show_default=True, metavar="PX", help="What neighbours share."
)
@click.option(
    "--min-labelled",
    type=float,
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="Least share of a chip that is labelled; with --uncertain, that holds data.",
)
@click.option(
    "--split",
    "splits",
    type=click.Choice(_SPLITS),
    multiple=True,
    help="Of a DATASET: which regions; may be repeated. [all; with --uncertain train]",
)
@click.option("--uncertain", type=int, metavar="N", help="Only the N windows whose labels would help --model most.")
@click.option("--model", "model_name", help="Of --uncertain: the model, a name or folder.")
@data_root_option
@click.option("--device", help="Of --uncertain: cpu, cuda or cuda:N. [cuda if there is one, else cpu]")
@click.option("--threads", type=click.IntRange(1), help="Of --uncertain: CPU threads of the model. [all cores]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def tiles(
    data: tuple[str, ...],
    output: Path,
    size_px: int,
    overlap_px: int,
    min_labelled: float,
    splits: tuple[Split, ...],
    uncertain: int | None,
    model_name: str | None,
    data_root: Path | None,
    device: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Write the chips of a DATASET (the YAML of a training): images/ and labels/ with a folder for each split.

    Chips are GeoTIFFs in their place on earth, with the pixels that training sees; 255 in labels is not known.
    classes.json says what the labels mean, data.yaml is what a configuration says to train on them.

    With --uncertain N --model MODEL, of a DATASET or of SCENEs without labels: the N windows of the highest mean
    entropy of the model's probabilities, spread over the ground, and windows.geojson with their scores.
    """
    if (uncertain is None) != (model_name is None):
        raise GeosegError("--uncertain N and --model MODEL go together: give both, or neither")
    if uncertain is None and (device is not None or threads is not None):
        raise GeosegError("--device and --threads are of --uncertain: leave them out")
    chosen = splits or (_SPLITS if uncertain is None else ("train",))
    options = ChipOptions(size_px, overlap_px, min_labelled, tuple(one for one in _SPLITS if one in chosen))
    described = Path(data[0]).suffix.lower() in _DATASETS
    if described and len(data) > 1:
        raise GeosegError(
            f"expected one DATASET, or SCENEs, got {len(data)} arguments of which the first is {data[0]}"
        )
    if not described and (splits or data_root is not None):
        raise GeosegError("--split and --data-root are of a DATASET (a YAML file): leave them out")
    if not described and uncertain is None:
        raise GeosegError(
            f"expected a DATASET (a YAML file with labels), got {data[0]}; of scenes without labels only the most "
            "uncertain windows can be written: --uncertain N --model MODEL"
        )
    config = load_train_config(Path(data[0])) if described else None
    root = data_folder(data_root, Path(data[0])) if described else Path()
    exported: ExportedTiles
    if uncertain is not None and model_name is not None:
        model = load_model(model_name)
        with torch_threads(threads):
            exported = export_uncertain(config or data, root, model, device, uncertain, output, options)
    else:
        assert config is not None
        exported = export_tiles(config, root, output, options)
    if as_json:
        click.echo(json.dumps(exported.to_json(), indent=2))
        return
    for group, count in sorted(exported.chips.items()):
        click.echo(f"{output}: {count} chip(s) of {group}")
