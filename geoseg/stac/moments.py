"""When something is from, as STAC wants it: a moment, or a span between two."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

ANY_TIME = ("1858-01-01T00:00:00Z", "2200-01-01T00:00:00Z")
"""What stands for an unknown date, since STAC asks for one: no picture from the air is older."""


def moments(dates: Iterable[str | None]) -> dict[str, Any]:
    """`datetime`, or `start_datetime` and `end_datetime` with a `datetime` of null, of what has several dates.

    Args:
        dates: ISO 8601 date-times, or None where nothing is known; without a time zone they are taken for UTC, as
            readers of STAC do.

    Returns:
        The span of the dates that are known; any time (see `ANY_TIME`) where none is.
    """
    known = sorted(_in_utc(date) for date in dates if date is not None)
    if not known:
        return {"datetime": None, "start_datetime": ANY_TIME[0], "end_datetime": ANY_TIME[1]}
    first, last = known[0], known[-1]
    if first == last:
        return {"datetime": _text(first)}
    return {"datetime": None, "start_datetime": _text(first), "end_datetime": _text(last)}


def _in_utc(date: str) -> datetime:
    found = datetime.fromisoformat(date)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
