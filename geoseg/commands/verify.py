"""`geoseg verify`: hash a run again and compare it with its markers."""

import json
import shlex

import click

from geoseg.commands.place import RunPlace
from geoseg.io.place import Place
from geoseg.verify import Verification, mend_run, verify_run

_SHOWN = 20
"""Most differences, and most blocks of a kind, that are named one by one; --json names all."""


@click.command("verify")
@click.argument("run_path", metavar="RUN", type=RunPlace())
@click.option("--mend", is_flag=True, help="Forget what differs, so that the same geoseg map does it again.")
@click.option("--json", "as_json", is_flag=True, help="Print all that was found as one document on stdout.")
def verify(run_path: Place, mend: bool, as_json: bool) -> None:
    """Hash every file of RUN again: exit 0 if all is as it was written, 3 if a file differs, 1 if blocks lack.

    Names the files that differ, and on what hardware, precision and threads the blocks were computed.
    """
    found = verify_run(run_path)
    if as_json:
        click.echo(json.dumps(_document(found), indent=2))
    else:
        _tell(found)
    if found.differences and mend:
        units = mend_run(run_path)
        click.echo(f"mended   {units} unit(s) of work are to be done again: repeat the run's geoseg map", err=True)
    elif found.differences:
        click.echo(
            f"to mend  geoseg verify {shlex.quote(str(run_path))} --mend, then the run's geoseg map again", err=True
        )
    if found.differences:
        raise SystemExit(3)
    if found.missing_blocks:
        raise SystemExit(1)


def _document(found: Verification) -> dict[str, object]:
    return {
        "files": found.files,
        "differences": [
            {
                "path": one.path,
                "expected": one.expected,
                "found": one.found,
                "unit": None if one.unit is None else " ".join(one.unit),
                "damage": one.damage,
            }
            for one in found.differences
        ],
        "missing_blocks": found.missing_blocks,
        "numerics": [{**numerics, "blocks": list(keys)} for numerics, keys in found.numerics],
    }


def _tell(found: Verification) -> None:
    for difference in found.differences[:_SHOWN]:
        click.echo(f"differs  {difference.line()}")
    if len(found.differences) > _SHOWN:
        click.echo(f"differs  {len(found.differences) - _SHOWN} more (--json names all)")
    for numerics, keys in found.numerics:
        words = ", ".join(f"{name} {value}" for name, value in numerics.items())
        named = ""
        if len(found.numerics) > 1:
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            named = f": {', '.join(keys[:_SHOWN])}{more}"
        click.echo(f"blocks   {len(keys)} on {words}{named}")
    if found.missing_blocks:
        click.echo(f"missing  {found.missing_blocks} block(s) are not done: geoseg map goes on with them")
    verdict = "as they were written" if not found.differences else "as they were written, the others are not"
    click.echo(f"verified {found.files} file(s) are {verdict}")
