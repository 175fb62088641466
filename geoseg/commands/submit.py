"""`geoseg submit`: a configuration to a job on a Ray cluster, which is followed to its end."""

import shlex
import tempfile
from pathlib import Path

import click

from geoseg.cluster.dashboard import dashboard_at
from geoseg.cluster.parcel import CONFIG_NAME, Parcel, pack
from geoseg.cluster.submission import Jobs, exit_code
from geoseg.commands.dashboard_options import dashboard_options
from geoseg.progress import relayed_progress

_INTERRUPTED = 130


@click.command("submit")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("options", nargs=-1, metavar="[-- OPTIONS]")
@dashboard_options
@click.option(
    "--python", default="python", show_default=True, metavar="FILE", help="The cluster's Python that has geoseg."
)
@click.option("--detach", is_flag=True, help="Do not follow the job.")
@click.pass_context
def submit(
    context: click.Context,
    config: Path,
    options: tuple[str, ...],
    address: str,
    insecure: bool,
    python: str,
    detach: bool,
) -> None:
    """Run what CONFIG asks for (of kind map, train, evaluate or export) as a job on a Ray cluster.

    The configuration, its area of interest and its model (up to 100 MB each) are uploaded; scenes, labels and what
    is written must be named as all nodes see them, by whole paths or addresses. OPTIONS of the command go before
    the configuration, such as `-- --min-area 50`.

    The job is called HASH-ATTEMPT, by what it does: submitted again while it runs it is followed, afterwards it
    goes on where it stopped. Its exit code is this command's. Ctrl-C leaves it running.
    """
    dashboard = dashboard_at(address, insecure=insecure)
    with tempfile.TemporaryDirectory(prefix="geoseg-submit-") as name:
        folder = Path(name)
        parcel = pack(config, options, folder)
        _refuse_options(context.find_root(), parcel, folder)
        jobs = Jobs(dashboard)
        job = jobs.running(parcel)
        if job is None:
            job = jobs.submit(parcel, folder, python)
            click.echo(f"job      {job} at {dashboard.address}", err=True)
        else:
            click.echo(f"job      {job} at {dashboard.address} is running already", err=True)
    if detach:
        click.echo(f"follow it with: {_command('logs --follow', job, dashboard.address)}", err=True)
        return
    raise SystemExit(follow(jobs, job, dashboard.address))


def follow(jobs: Jobs, job: str, address: str) -> int:
    """Show a job until it ends; returns its exit code, or that of an interruption, which the job does not notice.

    Args:
        jobs: Of its cluster.
        job: Its name.
        address: For messages.

    Raises:
        GeosegError: The cluster could not run it.
        StoppedError: It was ended from outside, or the cluster does not answer any more.
    """
    try:
        with relayed_progress() as show:
            ended = jobs.follow(job, show)
    except KeyboardInterrupt:
        click.echo(
            f"the job goes on; follow it with: {_command('logs --follow', job, address)}; "
            f"end it with: {_command('cancel', job, address)}",
            err=True,
        )
        return _INTERRUPTED
    return exit_code(ended)


def _refuse_options(root: click.Context, parcel: Parcel, folder: Path) -> None:
    """Have the command read its options and configuration here, so that what it would refuse is not sent."""
    assert isinstance(root.command, click.Group)
    command = root.command.get_command(root, parcel.kind)
    assert command is not None
    words = [str(folder / CONFIG_NAME) if word == CONFIG_NAME else word for word in parcel.words[1:]]
    command.make_context(parcel.kind, words)


def _command(what: str, job: str, address: str) -> str:
    return shlex.join(["geoseg", "jobs", *what.split(), job, "--address", address])
