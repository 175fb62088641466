"""`geoseg weak-labels`: labels of pixels from labels of images."""

import json
from pathlib import Path

import click

from geoseg.commands.place import DiskPath
from geoseg.train.activation_maps import Evidence
from geoseg.weak_labels import write_weak_labels


@click.command("weak-labels")
@click.argument("images", type=click.Path(path_type=Path))
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    required=True,
    help="YAML file of a training, for its classes, imagery and crops.",
)
@click.option("-o", "--output", type=DiskPath(), required=True, help="Folder of the label rasters to write.")
@click.option(
    "--iterations", type=click.IntRange(1), default=400, show_default=True, help="Of the classifier's training."
)
@click.option(
    "--least",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.4,
    show_default=True,
    help="Share of its greatest value in the image that a class's map must have at a pixel.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="By how much of that it must be ahead of the next class.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads. [all cores]")
def weak_labels(
    images: Path,
    config_file: Path,
    output: Path,
    iterations: int,
    least: float,
    margin: float,
    seed: int,
    threads: int | None,
) -> None:
    """Label the pixels of IMAGES of which only the classes that they hold are known.

    IMAGES is a CSV file with the columns image (relative to it) and classes (names, with ; between them). A
    classifier learns to tell what is in crops of them, and its class activation maps say where (Zhou et al. 2016);
    what they do not tell has no data. Images no larger than training.crop_px are seen whole.
    """
    written = write_weak_labels(
        config_file,
        images,
        output,
        iterations=iterations,
        evidence=Evidence(least, margin),
        seed=seed,
        threads=threads,
    )
    click.echo(f"{written.folder}: {written.labelled:.0%} of the pixels are labelled (loss {written.loss:.3f})")
    values = json.dumps({str(number): name for number, name in enumerate(written.names)})
    click.echo(f"in data: {{image: IMAGES, labels: {output}/{{stem}}.tif, split: train, values: {values}}}")
