"""`geoseg jobs`: what becomes of the jobs of a Ray cluster."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from geoseg.cluster.dashboard import dashboard_at
from geoseg.cluster.submission import Jobs, is_over
from geoseg.commands.dashboard_options import dashboard_options
from geoseg.commands.submit import follow

if TYPE_CHECKING:
    from ray.job_submission import JobDetails


@click.group("jobs", context_settings={"help_option_names": ["-h", "--help"]})
def jobs() -> None:
    """Look after the jobs of a Ray cluster."""


@jobs.command("list")
@dashboard_options
@click.option("--json", "as_json", is_flag=True, help="As one JSON document.")
def list_jobs(address: str, insecure: bool, as_json: bool) -> None:
    """List the jobs, the last one first."""
    found = Jobs(dashboard_at(address, insecure=insecure)).all()
    if as_json:
        click.echo(json.dumps([_document(job) for job in found], indent=2))
        return
    for job in found:
        one = _document(job)
        words = (one["job"], one["status"], one["started"] or "-", one["kind"] or "-", one["output"] or "")
        click.echo("  ".join(str(word) for word in words).rstrip())


@jobs.command("status")
@click.argument("name", metavar="JOB")
@dashboard_options
@click.option("--json", "as_json", is_flag=True, help="As one JSON document.")
def status(name: str, address: str, insecure: bool, as_json: bool) -> None:
    """Say how a JOB stands."""
    one = _document(Jobs(dashboard_at(address, insecure=insecure)).job(name))
    if as_json:
        click.echo(json.dumps(one, indent=2))
        return
    for key, value in one.items():
        if value is not None:
            click.echo(f"{key:9} {value}")


@jobs.command("logs")
@click.argument("name", metavar="JOB")
@dashboard_options
@click.option("--follow", "to_the_end", is_flag=True, help="Go on until it ends; its exit code is this command's.")
def logs(name: str, address: str, insecure: bool, to_the_end: bool) -> None:
    """Print what a JOB wrote."""
    dashboard = dashboard_at(address, insecure=insecure)
    there = Jobs(dashboard)
    if to_the_end:
        raise SystemExit(follow(there, name, dashboard.address))
    click.echo(there.log(name), nl=False)


@jobs.command("cancel")
@click.argument("name", metavar="JOB")
@dashboard_options
def cancel(name: str, address: str, insecure: bool) -> None:
    """End a JOB; what it has done stays, and submitted again it goes on."""
    there = Jobs(dashboard_at(address, insecure=insecure))
    stopped = there.cancel(name)
    click.echo(f"{name}: cancelled" if stopped else f"{name}: {there.job(name).status}, there is nothing to cancel")


def _document(job: "JobDetails") -> dict[str, str | int | None]:
    said = job.metadata or {}
    return {
        "job": job.submission_id,
        "status": str(job.status),
        "kind": said.get("kind"),
        "output": said.get("output"),
        "started": _time(job.start_time),
        "ended": _time(job.end_time),
        "exit_code": job.driver_exit_code if is_over(job) else None,
        "geoseg": said.get("geoseg"),
    }


def _time(ms: int | None) -> str | None:
    return None if not ms else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
