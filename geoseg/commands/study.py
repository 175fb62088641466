"""`geoseg study`: many training runs from one configuration, and a table of what came of them."""

import json
from pathlib import Path

import click

from geoseg.commands.labelled_data import data_root_option
from geoseg.commands.place import DiskPath
from geoseg.commands.text import echo_table, printable
from geoseg.study import conduct_study

_INCOMPLETE = 1


@click.command("study")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    required=True,
    help="YAML file of a study: a base configuration, and what differs from it in each run.",
)
@click.option(
    "-o",
    "--output",
    type=DiskPath(),
    required=True,
    help="Folder of the STUDY: a model for each run, and table.md, table.csv, table.json.",
)
@data_root_option
@click.option(
    "--only", metavar="RUN,RUN", help="Train these runs alone. The table has all that are finished. [all]"
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs that train at a time.")
@click.option("--device", help="cpu, cuda or cuda:N. [cuda if there is one, else cpu]")
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="CPU threads of each training, and of the model that is timed. [all cores, divided among the jobs]",
)
@click.option("--json", "as_json", is_flag=True, help="Write the table as JSON.")
def study(
    config_file: Path,
    output: Path,
    data_root: Path | None,
    only: str | None,
    jobs: int,
    device: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Train the runs of a study and compare them on their validation regions.

    Each run is a `geoseg train` in a process of its own, which leaves STUDY/RUN, STUDY/RUN.training and
    STUDY/RUN.log. The same command goes on where it stopped: finished runs stay as they are, interrupted ones are
    resumed. A run that fails is named, the others go on, and the exit code is 1.

    Entries of split test are left out: the runs are chosen among, and no choice may see a test.
    """
    names = None if only is None else [name.strip() for name in only.split(",")]
    conducted = conduct_study(
        config_file,
        output,
        data_root,
        threads=threads,
        jobs=jobs,
        device=device,
        only=names,
        tell=lambda line: click.echo(printable(line), err=True),
    )
    table = conducted.table
    if as_json:
        click.echo(json.dumps(table.to_json(), indent=2))
    else:
        header, *rows = table.cells()
        echo_table(header, rows)
        click.echo(f"table: {', '.join(str(path) for path in conducted.files)}")
    for name, why in table.failed.items():
        click.echo(f"failed   {printable(name)}: {printable(why)}", err=True)
    if table.failed:
        raise SystemExit(_INCOMPLETE)
