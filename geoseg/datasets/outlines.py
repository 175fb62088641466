"""Outlines in pixel coordinates, from the numbers that annotation formats keep of them."""

from collections.abc import Sequence

import numpy as np
import shapely
import shapely.affinity
from numpy.typing import NDArray

from geoseg.errors import SceneError

_FURTHEST_PX = 2.0**24
"""A coordinate beyond this is no place on an image."""

_QUARTER_SIDES = 64
"""Sides of a quarter of a circle: an outline of 256 sides is off by less than 1e-4 of its radius."""


def places(numbers: object, where: str) -> NDArray[np.float64]:
    """Places (n, 2) as x, y, from a list of pairs.

    Raises:
        SceneError: They are no pairs of finite numbers, or lie millions of pixels away.
    """
    try:
        places_xy = np.asarray(numbers, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise SceneError(f"{where}: expected pairs of numbers as places, got something else ({error})") from error
    if places_xy.ndim != 2 or places_xy.shape[1] != 2:
        raise SceneError(f"{where}: expected places of two numbers, x and y, got an array of {places_xy.shape}")
    if not np.isfinite(places_xy).all() or np.abs(places_xy).max(initial=0) > _FURTHEST_PX:
        raise SceneError(f"{where}: expected places near the image, got one that is not finite or beyond 2^24 px")
    return places_xy


def polygon(outer: object, holes: Sequence[object], where: str) -> shapely.Polygon:
    """A polygon with holes; one that crosses itself is filled by the even-odd rule.

    Args:
        outer: Places (n, 2), at least three; closed or not.
        holes: Likewise, any number.
        where: The annotation, for messages.

    Raises:
        SceneError: A ring has fewer than three places, or they are none.
    """
    rings = [places(ring, where) for ring in (outer, *holes)]
    for ring_xy in rings:
        if len(ring_xy) < 3:
            raise SceneError(f"{where}: expected a polygon of at least three places, got {len(ring_xy)}")
    return shapely.Polygon(rings[0], rings[1:])


def box(corners: object, where: str, rotation_deg: float = 0) -> shapely.Polygon:
    """A rectangle.

    Args:
        corners: Two opposite corners (2, 2).
        where: The annotation, for messages.
        rotation_deg: How far it is turned about its middle, clockwise on the screen.

    Raises:
        SceneError: They are no two places.
    """
    corners_xy = _two(corners, "two opposite corners of a rectangle", where)
    (left, top), (right, bottom) = corners_xy.min(0), corners_xy.max(0)
    # y runs down, so that shapely's counter-clockwise is clockwise on the screen.
    return shapely.affinity.rotate(shapely.box(left, top, right, bottom), rotation_deg, "center")


def circle(centre_and_edge: object, where: str) -> shapely.Polygon:
    """A circle, of 256 sides.

    Args:
        centre_and_edge: Its middle and a place on it (2, 2).
        where: The annotation, for messages.

    Raises:
        SceneError: They are no two places.
    """
    centre_xy, edge_xy = _two(centre_and_edge, "the middle of a circle and a place on it", where)
    radius_px = float(np.hypot(*(edge_xy - centre_xy)))
    return ellipse(float(centre_xy[0]), float(centre_xy[1]), radius_px, radius_px, 0, where)


def ellipse(
    x: float, y: float, radius_x_px: float, radius_y_px: float, rotation_deg: float, where: str
) -> shapely.Polygon:
    """An ellipse, of 256 sides.

    Args:
        x: Of its middle.
        y: Likewise.
        radius_x_px: Along x, before it is turned.
        radius_y_px: Along y.
        rotation_deg: How far it is turned about its middle, clockwise on the screen.
        where: The annotation, for messages.

    Raises:
        SceneError: A number is not finite, or a radius below 0.
    """
    places([(x, y), (radius_x_px, radius_y_px)], where)
    if min(radius_x_px, radius_y_px) < 0:
        raise SceneError(f"{where}: expected radii of at least 0, got {radius_x_px:g} and {radius_y_px:g}")
    angles = np.arange(4 * _QUARTER_SIDES) * (np.pi / 2 / _QUARTER_SIDES)
    ring_xy = np.stack((x + radius_x_px * np.cos(angles), y + radius_y_px * np.sin(angles)), 1)
    return shapely.affinity.rotate(shapely.Polygon(ring_xy), rotation_deg, (x, y))


def line(along: object, width_px: float, where: str) -> tuple[shapely.Polygon, ...]:
    """The pixels within half a width of a line; its ends are round, so that lines that meet leave no gap.

    Args:
        along: Places (n, 2), at least two.
        width_px: The whole width.
        where: The annotation, for messages.

    Raises:
        SceneError: There are fewer than two places.
    """
    along_xy = places(along, where)
    if len(along_xy) < 2:
        raise SceneError(f"{where}: expected a line of at least two places, got {len(along_xy)}")
    band = shapely.LineString(along_xy).buffer(width_px / 2)
    return tuple(part for part in shapely.get_parts(band) if not part.is_empty)


def _two(numbers: object, what: str, where: str) -> NDArray[np.float64]:
    places_xy = places(numbers, where)
    if len(places_xy) != 2:
        raise SceneError(f"{where}: expected {what}, got {len(places_xy)} places")
    return places_xy
