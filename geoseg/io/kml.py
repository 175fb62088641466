"""Polygons from KML and KMZ: elements are told by expat one by one, and what leads to no polygon is passed over."""

import re
import zlib
from pathlib import Path
from typing import IO
from xml.parsers import expat
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import GeosegError
from geoseg.io.formats import CONVERT_VECTOR, VECTOR_FORMATS

_MOST_BYTES = 128 * 2**20
"""A KMZ of a few kB may unpack to any length."""

_PIECE_BYTES = 2**20
_ENCRYPTED = 1

_FEATURES = frozenset({"Document", "Folder", "Placemark", "NetworkLink"})
_GEOMETRIES = frozenset(
    {"Polygon", "MultiGeometry", "Point", "LineString", "LinearRing", "Track", "MultiTrack", "Model"}
)
_HOLDERS = ("Placemark", "MultiGeometry")
_OPENED = {
    "": frozenset({"kml"}),
    "kml": _FEATURES,
    "Document": _FEATURES,
    "Folder": _FEATURES,
    "Placemark": _GEOMETRIES,
    "MultiGeometry": _GEOMETRIES,
    "Polygon": frozenset({"outerBoundaryIs", "innerBoundaryIs"}),
    "outerBoundaryIs": frozenset({"LinearRing"}),
    "innerBoundaryIs": frozenset({"LinearRing"}),
    "LinearRing": frozenset({"coordinates"}),
    "coordinates": frozenset[str](),
}
"""Which elements are looked at, by what they stand in: legends, views and styles hold coordinates of their own."""


def kml_polygons(path: Path) -> tuple[list[shapely.Polygon], set[str]]:
    """The polygons of all placemarks of a KML file, whatever folders they lie in.

    Args:
        path: The file. Entities are refused with the DOCTYPE that declares them, links are not followed.

    Returns:
        The polygons, in longitude and latitude on WGS 84 (heights are left out), and what kinds of geometries and
        links to others stand beside them.

    Raises:
        GeosegError: It cannot be read, is no KML, is damaged or longer than 128 MiB.
    """
    try:
        with path.open("rb") as stream:
            return _parsed(path, stream)
    except OSError as error:
        raise GeosegError(f"{path} cannot be read ({error.strerror}): expected KML") from error


def kmz_polygons(path: Path) -> tuple[list[shapely.Polygon], set[str]]:
    """The polygons of a KMZ: of its doc.kml, or of the only .kml in it.

    Args:
        path: The file; nothing else in it is unpacked.

    Returns:
        As `kml_polygons` does.

    Raises:
        GeosegError: It is damaged or encrypted, holds no KML or several; or as with `kml_polygons`.
    """
    try:
        with ZipFile(path) as archive:
            names = [name for name in archive.namelist() if _is_kml(name)]
            inside = "doc.kml" if "doc.kml" in names else "".join(names[:1])
            if not inside or (inside != "doc.kml" and len(names) > 1):
                raise GeosegError(
                    f"{path}: expected a KMZ with a doc.kml, got a ZIP archive with {len(names)} files of KML: "
                    "unpack it and name the file that you mean"
                )
            entry = archive.getinfo(inside)
            if entry.flag_bits & _ENCRYPTED or entry.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
                raise GeosegError(
                    f"{path}: expected a KMZ that is deflated, {inside} is encrypted or packed in another way: "
                    "unpack it and name that file"
                )
            with archive.open(entry) as stream:
                return _parsed(path, stream)
    # A name that is not what its flags say is a ValueError.
    except (BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise GeosegError(f"{path} cannot be read as KMZ ({error}): copy or export it again") from error


def _is_kml(name: str) -> bool:
    # macOS packs what it knows of each file under the same name.
    return name.lower().endswith(".kml") and not name.startswith("__MACOSX/")


def _parsed(path: Path, stream: IO[bytes]) -> tuple[list[shapely.Polygon], set[str]]:
    found = _Placemarks(path)
    total = 0
    try:
        while piece := stream.read(_PIECE_BYTES):
            total += len(piece)
            if total > _MOST_BYTES:
                raise GeosegError(
                    f"{path}: expected KML of at most {_MOST_BYTES >> 20} MiB, got more: {CONVERT_VECTOR}"
                )
            found.parser.Parse(piece, False)
        found.parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: encodings that Python lacks
        raise GeosegError(f"{path} cannot be read as KML ({error}): copy or export it again") from error
    return found.polygons, found.beside


class _Placemarks:
    """What expat tells of a document, kept as far as polygons need it."""

    def __init__(self, path: Path) -> None:
        self.polygons: list[shapely.Polygon] = []
        self.beside: set[str] = set()
        # Prefixes are cut off by hand: files in use name some that they do not declare.
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self._path = path
        self._open = [""]
        self._passed_over = 0
        self._text: list[str] = []
        self._rings: dict[str, list[NDArray[np.float64]]] = {}

    def _doctype(self, *_: object) -> None:
        raise GeosegError(
            f"{self._path} has a DOCTYPE, which may declare entities without end: expected KML without one; "
            "delete it, or export the file again"
        )

    def _start(self, name: str, _: dict[str, str]) -> None:
        local = name.rpartition(":")[2]
        parent = self._open[-1]
        if parent == "" and local != "kml":
            raise GeosegError(
                f"{self._path}: expected {VECTOR_FORMATS}, got XML with the root <{name[:80]}>: {CONVERT_VECTOR}"
            )
        if self._passed_over or local not in _OPENED[parent]:
            self._passed_over += 1
        elif local == "NetworkLink" or (parent in _HOLDERS and local not in {"Polygon", "MultiGeometry"}):
            self.beside.add(local)
            self._passed_over += 1
        else:
            self._open.append(local)
            if local == "Polygon":
                self._rings = {"outerBoundaryIs": [], "innerBoundaryIs": []}
            self._text = []

    def _characters(self, text: str) -> None:
        if self._open[-1] == "coordinates" and not self._passed_over:
            self._text.append(text)

    def _end(self, _: str) -> None:
        if self._passed_over:
            self._passed_over -= 1
            return
        closed = self._open.pop()
        try:
            if closed == "coordinates":
                self._rings[self._open[-2]].append(_ring("".join(self._text)))
            elif closed == "Polygon":
                outer, inner = self._rings["outerBoundaryIs"], self._rings["innerBoundaryIs"]
                if len(outer) != 1:
                    raise ValueError(f"got {len(outer)} outer rings")  # noqa: TRY301  # of the same message
                self.polygons.append(shapely.Polygon(outer[0], inner))
        except (ValueError, shapely.errors.ShapelyError) as error:
            raise GeosegError(
                f"{self._path}, line {self.parser.CurrentLineNumber}: expected a Polygon with one outer ring of "
                f"longitude,latitude pairs, three different ones at least ({error}): export the file again"
            ) from error


def _ring(text: str) -> NDArray[np.float64]:
    numbers = (number for found in re.finditer(r"\S+", text) for number in _place(found[0]))
    places_xy = np.fromiter(numbers, np.float64).reshape(-1, 2)
    if not np.isfinite(places_xy).all():
        raise ValueError("got a number that is not finite")
    return places_xy


def _place(text: str) -> tuple[float, float]:
    longitude, latitude, *_ = map(float, text.split(","))
    return longitude, latitude
