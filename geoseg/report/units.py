"""Numbers with units, for people to read."""

from collections.abc import Callable

_NARROW = "\N{NARROW NO-BREAK SPACE}"


def area(area_m2: float) -> str:
    """An area in m², ha or km², with three digits that count.

    Args:
        area_m2: Square metres.
    """
    if area_m2 >= 1e6:
        return f"{_digits(area_m2 / 1e6)}{_NARROW}km²"
    if area_m2 >= 1e4:
        return f"{_digits(area_m2 / 1e4)}{_NARROW}ha"
    return f"{_digits(area_m2)}{_NARROW}m²"


def length(length_m: float) -> str:
    """A length in m or km, with three digits that count.

    Args:
        length_m: Metres.
    """
    if length_m >= 1e3:
        return f"{_digits(length_m / 1e3)}{_NARROW}km"
    return f"{_digits(length_m)}{_NARROW}m"


def count(number: int) -> str:
    """A whole number, its digits in threes.

    Args:
        number: How many.
    """
    return f"{number:,}".replace(",", _NARROW)


def seconds(duration_s: float) -> str:
    """A duration in seconds, minutes or hours.

    Args:
        duration_s: Seconds.
    """
    if duration_s < 60:
        return f"{duration_s:.1f}{_NARROW}s"
    minutes, rest = divmod(round(duration_s), 60)
    if minutes < 60:
        return f"{minutes}{_NARROW}min {rest}{_NARROW}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{_NARROW}h {minutes}{_NARROW}min"


def share(part: float) -> str:
    """A share in per cent.

    Args:
        part: 0 to 1.
    """
    if 0 < part < 0.001:
        return f"<{_NARROW}0.1{_NARROW}%"
    return f"{100 * part:.1f}{_NARROW}%"


def _digits(number: float) -> str:
    if number >= 1000:
        return count(round(number))
    return f"{number:.3g}"


FILTERS: dict[str, Callable[..., str]] = {"count": count, "seconds": seconds, "share": share}
"""Those that the template has, by the names that it has for them."""
