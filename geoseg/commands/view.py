"""`geoseg view`: a run in the browser."""

import webbrowser
from pathlib import Path

import click

from geoseg.commands.place import COPIED_HERE
from geoseg.view import viewing


@click.command("view")
@click.argument("run_path", metavar="RUN", type=COPIED_HERE)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="To listen on. [any that is free]"
)
@click.option("--no-browser", is_flag=True, help="Say the address, and open no browser.")
def view(run_path: Path, port: int, no_browser: bool) -> None:
    """Show RUN, a finished run, on a map in the browser, with all its objects however many, until Ctrl-C.

    It is served on this machine's loopback address alone, and no network is used. RUN/report.html is the same page
    without a server, with the largest objects of a large run.
    """
    with viewing(run_path, port) as shown:
        click.echo(f"serving  {shown.server.address} from {shown.drawn_from}; Ctrl-C ends it")
        if not no_browser and not webbrowser.open(shown.server.address):
            click.echo("no browser could be opened: open the address in one", err=True)
        shown.server.serve_forever()
