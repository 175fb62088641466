"""A made-up world in the files that the committed configurations name: the same layout and CRSs, but small.

The imagery is bright roofs, grey roads, green and blue ground on brown: enough for a network to learn something
from in a few steps, and free to ship.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

BUILDING, ROAD, VEGETATION, WATER, OTHER = range(5)
_COLORS = np.array([[205, 190, 185], [120, 120, 122], [70, 115, 60], [40, 70, 110], [165, 140, 105]], np.float32)
_LOT_PX = 24


def world(seed: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image (band, row, column) in red, green and blue, and class ids (row, column)."""
    rng = np.random.default_rng(seed)
    ids_hw = np.full((height, width), OTHER, np.uint8)
    for row in range(0, height, _LOT_PX):
        for col in range(0, width, _LOT_PX):
            lot = ids_hw[row : row + _LOT_PX, col : col + _LOT_PX]
            match rng.integers(5):
                case 0 | 1:
                    lot[5:18, 4 : int(rng.integers(12, 21))] = BUILDING
                case 2:
                    lot[:] = VEGETATION
                case 3 if rng.random() < 0.4:
                    lot[:] = WATER
                case _:
                    pass
    for at in range(_LOT_PX * 2, height, _LOT_PX * 5):
        ids_hw[at : at + 8] = ROAD
    for at in range(_LOT_PX * 3, width, _LOT_PX * 6):
        ids_hw[:, at : at + 8] = ROAD
    image_chw = _COLORS[ids_hw].transpose(2, 0, 1) + rng.normal(0, 9, (3, height, width))
    return np.clip(image_chw, 0, 255).astype(np.uint8), ids_hw


def write(
    path: Path, bands_chw: NDArray[np.uint8], crs: str, transform: Affine, *, nodata: int | None = None
) -> None:
    """A GeoTIFF, in colours where it has at least three bands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands_chw.shape
    photometric = {} if count < 3 else {"photometric": "RGB"}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype="uint8",
        crs=crs,
        transform=transform,
        nodata=nodata,
        **photometric,
    ) as dataset:
        dataset.write(bands_chw)


def boxes(ids_hw: NDArray[np.uint8], class_id: int) -> list[tuple[int, int, int, int]]:
    """(row, column, row stop, column stop) of what each lot holds of a class."""
    found = []
    for row in range(0, ids_hw.shape[0], _LOT_PX):
        for col in range(0, ids_hw.shape[1], _LOT_PX):
            rows, cols = np.nonzero(ids_hw[row : row + _LOT_PX, col : col + _LOT_PX] == class_id)
            if len(rows):
                found.append(
                    (
                        row + int(rows.min()),
                        col + int(cols.min()),
                        row + int(rows.max()) + 1,
                        col + int(cols.max()) + 1,
                    )
                )
    return found


def lonlat(points: Sequence[tuple[float, float]], crs: str, transform: Affine) -> list[list[float]]:
    """Pixel coordinates (column, row) as longitude and latitude."""
    move = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    return [list(move.transform(*(transform @ point))) for point in points]


def features(path: Path, kind: str, parts: Sequence[list[list[float]]]) -> None:
    """A GeoJSON file of polygons or lines in longitude and latitude, with a number each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = [
        {
            "type": "Feature",
            "properties": {"number": number},
            "geometry": {"type": kind, "coordinates": [part] if kind == "Polygon" else part},
        }
        for number, part in enumerate(parts)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": found}))


def write_mbrsc(root: Path) -> None:
    """Five classes as rasters (1 to 5, 0 ignored) at 1 m, with the regions of a train and a test split."""
    crs = "EPSG:32640"
    regions = []
    for number, name in enumerate(("t78", "t4", "t6", "t13", "t2")):
        height, width = (192, 400) if name == "t78" else (160, 168)
        transform = Affine(1, 0, 320000 + 2000 * number, 0, -1, 2770000)
        image_chw, ids_hw = world(number, height, width)
        write(root / f"mbrsc/{name}_image.tif", image_chw, crs, transform)
        labels_chw = ids_hw[None] + np.uint8(1)
        write(root / f"mbrsc/{name}_label.tif", labels_chw, crs, transform, nodata=0)
        if name == "t78":  # a part of split train, by someone whose hand was two pixels off
            second = root / "mbrsc/t78_overlap_second_annotation.tif"
            write(second, labels_chw[:, 38:148, 22:180], crs, transform @ Affine.translation(20, 40), nodata=0)
    for split, cols in (("train", (0, 200)), ("test", (220, 400))):
        west, east = 320000 + cols[0], 320000 + cols[1]
        ring = [[west, 2770000], [east, 2770000], [east, 2769808], [west, 2769808], [west, 2770000]]
        properties = {"split": split, "raster": "mbrsc/t78_image.tif"}
        geometry = {"type": "Polygon", "coordinates": [ring]}
        regions.append({"type": "Feature", "properties": properties, "geometry": geometry})
    system = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32640"}}
    document = {"type": "FeatureCollection", "crs": system, "features": regions}
    (root / "mbrsc/splits.geojson").write_text(json.dumps(document))


def write_oam(root: Path) -> None:
    """Buildings as polygons in longitude and latitude over drone imagery in web mercator."""
    crs, pixel = "EPSG:3857", 0.14929107086948487
    for number, name in enumerate(("zanzibar_a", "zanzibar_b", "kampala_a", "kampala_b")):
        transform = Affine(pixel, 0, 4364000 + 3000 * number, 0, -pixel, -690000)
        image_chw, ids_hw = world(20 + number, 192, 240)
        # As large in metres as elsewhere: four pixels for each of the world's.
        image_chw = image_chw.repeat(4, 1).repeat(4, 2)
        write(root / f"oam_buildings/{name}_image.tif", image_chw, crs, transform)
        roofs = [
            lonlat(
                [
                    (4 * left, 4 * top),
                    (4 * left, 4 * bottom),
                    (4 * right, 4 * bottom),
                    (4 * right, 4 * top),
                    (4 * left, 4 * top),
                ],
                crs,
                transform,
            )
            for top, left, bottom, right in boxes(ids_hw, BUILDING)
        ]
        features(root / f"oam_buildings/{name}_buildings.geojson", "Polygon", roofs)


def write_massachusetts(root: Path) -> None:
    """Buildings as polygons of a GeoPackage, in the CRS of aerial imagery of 1 m."""
    crs = "EPSG:26986"
    for number, name in enumerate(("ma_22978945", "ma_23429155")):
        transform = Affine(1, 0, 228000 + 4000 * number, 0, -1, 900000)
        image_chw, ids_hw = world(30 + number, 160, 240)
        write(root / f"amber_nrcan/{name}_image.tif", image_chw, crs, transform)
        roofs = [
            shapely.box(*(transform @ (left, bottom)), *(transform @ (right, top)))
            for top, left, bottom, right in boxes(ids_hw, BUILDING)
        ]
        frame = geopandas.GeoDataFrame(geometry=roofs, crs=crs)
        frame.to_file(root / f"amber_nrcan/{name}_buildings.gpkg", driver="GPKG")


def write_vegas(root: Path) -> None:
    """Roads as lines over an image in degrees."""
    crs, pixel = "EPSG:4326", 2.7e-06
    transform = Affine(pixel, 0, -115.2, 0, -pixel, 36.2)
    image_chw, _ = world(40, 480, 480)
    write(root / "spacenet/vegas_roads_image.tif", image_chw, crs, transform)
    across = [[(0, at + 4), (480, at + 4)] for at in range(_LOT_PX * 2, 480, _LOT_PX * 5)]
    along = [[(at + 4, 0), (at + 4, 480)] for at in range(_LOT_PX * 3, 480, _LOT_PX * 6)]
    lines = [lonlat([(float(x), float(y)) for x, y in line], crs, transform) for line in across + along]
    features(root / "spacenet/vegas_roads.geojson", "LineString", lines)


def write_naip(root: Path) -> None:
    """Vegetation as chips of class rasters (1 where there is some), with a near-infrared band."""
    cities = ("long_beach", "claremont", "riverside", "palm_springs", "santa_monica", "chico")
    for place, city in enumerate(cities):
        for number in range(2):
            transform = Affine(0.6, 0, 380000 + 9000 * place + 400 * number, 0, -0.6, 3760000)
            image_chw, ids_hw = world(60 + 2 * place + number, 128, 128)
            near_infrared_hw = np.where(ids_hw == VEGETATION, 210, 60).astype(np.uint8)
            bands_chw = np.concatenate([image_chw, near_infrared_hw[None]])
            write(root / f"naip_ca/image/{city}_2020_{number}.tif", bands_chw, "EPSG:26911", transform)
            mask_chw = (ids_hw == VEGETATION).astype(np.uint8)[None]
            write(root / f"naip_ca/veg_ndvi/{city}_2020_{number}.tif", mask_chw, "EPSG:26911", transform)


def write_world(root: Path) -> Path:
    """All of it; returns the data root."""
    write_mbrsc(root)
    write_oam(root)
    write_massachusetts(root)
    write_vegas(root)
    write_naip(root)
    return root
