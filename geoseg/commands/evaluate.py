"""`geoseg evaluate`: a model package against the labels of a split, or a run against a reference."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from geoseg.catalog import model_folder
from geoseg.commands.config_file import config_option
from geoseg.commands.labelled_data import data_root_option
from geoseg.commands.model_scores import echo_model_scores
from geoseg.commands.place import DiskPath
from geoseg.commands.score_table import echo_scores
from geoseg.config.evaluate import EvaluateConfig
from geoseg.errors import GeosegError
from geoseg.io.ledger import write_json
from geoseg.io.place import parse_place
from geoseg.labelled_data import evaluate_package
from geoseg.models.package import load_card
from geoseg.notation import class_files, value_pairs
from geoseg.run import open_run
from geoseg.scores.gates import check_classes, check_model_figures, missed, missed_gates, parse_gates
from geoseg.scores.marked import write_marked
from geoseg.scores.reference import Labels
from geoseg.scoring import ScoreOptions, score_run
from geoseg.train.metrics.tally import figure_names

_OF_MODELS = frozenset({"split", "data_root", "device", "threads"})
_OF_RUNS = frozenset(
    {"class_attribute", "values", "aoi", "boundary_m", "buffer_m", "components", "marked", "force"}
)
_GATE_FAILED = 3


@click.command("evaluate")
@click.argument("subject", metavar="MODEL|RUN")
@config_option(EvaluateConfig)
@click.option(
    "--data",
    "data_file",
    type=click.Path(path_type=Path),
    help="Of a MODEL: configuration that lists the scenes, labels and regions.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="Of a MODEL: which regions.",
)
@data_root_option
@click.option("--device", help="Of a MODEL: cpu, cuda or cuda:N. [cuda if there is one, else cpu]")
@click.option("--threads", type=click.IntRange(1), help="Of a MODEL: its CPU threads. [all cores]")
@click.option(
    "--labels",
    multiple=True,
    metavar="[CLASS=]FILE",
    help="Of a RUN: the reference, a vector file or a class raster in any CRS; a file for each class, repeated. "
    "CLASS=RASTER holds ids of the class's objects.",
)
@click.option(
    "--class-attribute", default="class", show_default=True, help="Attribute of the labels that names the class."
)
@click.option(
    "--value",
    "values",
    multiple=True,
    metavar="VALUE=CLASS",
    help="What a value of the raster or attribute means, nothing if CLASS is left out; repeated for each. "
    "[rasters: class ids from 0, from 1 where 0 is nodata]",
)
@click.option("--aoi", help="Only what lies within the polygons of this vector file counts.")
@click.option(
    "--boundary",
    "boundary_m",
    multiple=True,
    type=float,
    default=(2.0, 5.0),
    show_default=True,
    metavar="METRES",
    help="Distance at which boundaries are compared; may be repeated.",
)
@click.option(
    "--buffer", "buffer_m", type=float, default=4.0, show_default=True, metavar="METRES", help="Around roads."
)
@click.option(
    "--components",
    is_flag=True,
    help="Of a RUN: panoptic figures of connected components of its classes, not of the objects it tells apart.",
)
@click.option(
    "--fail-under",
    "least",
    multiple=True,
    metavar="NAME=VALUE",
    help="Exit with 3 if a figure is less: of a MODEL such as miou or building.iou (ece: if more), of a RUN such "
    "as miou, pq, ap50 or building.objects.f1; may be repeated.",
)
@click.option(
    "--marked",
    type=DiskPath(),
    help="A GeoPackage to write: true, false and missed objects and roads.",
)
@click.option("--force", is_flag=True, help="Replace the file of --marked if it is there.")
@click.option("-o", "--output", type=DiskPath(), metavar="FILE", help="Write the figures as JSON.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_context
def evaluate(
    context: click.Context,
    subject: str,
    data_file: Path | None,
    split: str,
    data_root: Path | None,
    device: str | None,
    threads: int | None,
    labels: tuple[str, ...],
    class_attribute: str,
    values: tuple[str, ...],
    aoi: str | None,
    boundary_m: tuple[float, ...],
    buffer_m: float,
    components: bool,
    least: tuple[str, ...],
    marked: Path | None,
    force: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Compare a MODEL with the labels of whole regions (--data), or a finished RUN with a reference (--labels).

    Of a MODEL (a name or folder), pooled over the split's regions and for each: IoU, precision, recall, F1,
    boundary IoU and boundary F1 per class; mIoU, accuracy, mean accuracy, frequency-weighted IoU; expected
    calibration error; with 95 % intervals from drawing squares of 512 px (or regions, from ten on) anew.

    Of a RUN: areas by IoU, precision, recall, F1 and boundary F1; objects by precision, recall and F1 at an IoU of
    0.5, AP, PoLiS distance, rotation and vertices; segments, pixel by pixel, by panoptic quality (PQ = SQ x RQ) per
    class, over things, stuff and all, with AP, splits and merges of things; roads, where the labels are lines, by
    APLS, completeness, correctness and quality. What counts are pixels with data in the run, of which the reference
    says anything, within --aoi; objects with less than half of their area there count neither for nor against.
    """
    if (data_file is None) == (not labels):
        raise GeosegError(
            "expected either --data (a configuration, for a MODEL) or --labels (a reference, for a RUN), got "
            f"{'neither' if data_file is None else 'both'}"
        )
    said = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise GeosegError(f"expected -o FILE in a folder that exists, got {output}")
    given = {name for name in context.params if context.get_parameter_source(name) in said}
    misplaced = sorted(given & (_OF_RUNS if data_file is not None else _OF_MODELS))
    if misplaced:
        options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
        words = "--data, of a MODEL" if data_file is not None else "--labels, of a RUN"
        raise GeosegError(f"{options[misplaced[0]]} has no meaning with {words}: leave it out")
    if data_file is not None:
        _evaluate_model(
            subject, data_file, split, data_root, device, threads, parse_gates(least), output, as_json=as_json
        )
        return
    gates = parse_gates(least)
    check_classes(gates, open_run(subject).class_names)
    if marked is not None:
        _check_marked(marked, force=force)
    scores = score_run(
        parse_place(subject),
        Labels(class_files(labels), class_attribute, value_pairs(values)),
        ScoreOptions(aoi, boundary_m, buffer_m, components),
    )
    if marked is not None:
        write_marked(marked, scores.objects, scores.lines, scores.crs)
    _give(scores.document, output, echo_scores, as_json=as_json)
    _exit_if_missed(missed_gates(scores.document, gates))


def _evaluate_model(
    model: str,
    data_file: Path,
    split: str,
    data_root: Path | None,
    device: str | None,
    threads: int | None,
    gates: Mapping[str, float],
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    folder = model_folder(model)
    if gates:
        check_model_figures(gates, figure_names(load_card(folder).labels.names))
    evaluation = evaluate_package(folder, data_file, split, data_root, device, threads)
    document = {"model": str(folder), **evaluation.to_json()}
    _give(document, output, echo_model_scores, as_json=as_json)
    _exit_if_missed(missed(evaluation.figures(), gates))


def _give(
    document: dict[str, Any], output: Path | None, echo: Callable[[dict[str, Any]], None], *, as_json: bool
) -> None:
    if output is not None:
        write_json(output, document)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        echo(document)


def _exit_if_missed(failed: Sequence[str]) -> None:
    for words in failed:
        click.echo(f"failed   {words}", err=True)
    if failed:
        raise SystemExit(_GATE_FAILED)


def _check_marked(path: Path, *, force: bool) -> None:
    if path.suffix.lower() != ".gpkg" or path.is_dir():
        raise GeosegError(f"expected --marked FILE.gpkg, got {path}")
    if not path.parent.is_dir():
        raise GeosegError(f"expected --marked in a folder that exists, there is no {path.parent}: make it first")
    if path.exists() and not force:
        raise GeosegError(f"{path} is there already: name another file, or replace it with --force")
