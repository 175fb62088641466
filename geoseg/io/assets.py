"""Which files of a STAC item hold the bands that a model expects."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import pystac

from geoseg.errors import SceneError

RASTER_SUFFIXES = frozenset({".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg"})

_MEDIA_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/jp2", "image/png", "image/jpeg", "image/x.geotiff")
_PICTURES = frozenset({"thumbnail", "overview"})
_USUAL_KEYS = ("image", "visual")
_MOST_LISTED = 30

Assets = Mapping[str, pystac.Asset]


def choose_assets(item: pystac.Item, asked: tuple[str, ...] | None, bands: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of an item's assets: one with all bands, or one per band in their order.

    Args:
        item: The item.
        asked: Keys of assets, or roles, as the user named them, or None to go by what the item says.
        bands: What the model calls its bands, in its order.

    Raises:
        SceneError: There are no such assets, or nothing tells which they are.
    """
    if asked is not None:
        if len(asked) not in {1, len(bands)}:
            raise SceneError(
                f"--assets expects one key, or one for each of {', '.join(bands)}; it names {len(asked)}"
            )
        return tuple(_named(item, name) for name in asked)
    rasters = {
        key: asset for key, asset in item.assets.items() if _is_raster(asset) and not _PICTURES & set(_roles(asset))
    }
    return (
        _together(item, rasters, bands)
        or _apart(item, rasters, bands)
        or _only(key for key, asset in rasters.items() if "data" in _roles(asset))
        or tuple(key for key in _USUAL_KEYS if key in rasters)[:1]
        or _nothing(item, f"nothing tells which of them hold {', '.join(bands)}")
    )


def _named(item: pystac.Item, name: str) -> str:
    if name in item.assets:
        return name
    found = [key for key, asset in item.assets.items() if name in _roles(asset)]
    if len(found) != 1:
        _nothing(item, f"{len(found)} of them have the key or role {name!r}")
    return found[0]


def _together(item: pystac.Item, rasters: Assets, bands: tuple[str, ...]) -> tuple[str, ...]:
    """The first file that holds all bands."""
    other_order = ""
    for key, asset in rasters.items():
        names = [_names(band) for band in _bands(asset)]
        if not all(any(band in there for there in names) for band in bands):
            continue
        if len(names) >= len(bands) and all(band in there for band, there in zip(bands, names, strict=False)):
            return (key,)
        other_order = other_order or key
    if other_order and len(bands) > 1:
        _nothing(
            item,
            f"{other_order!r} holds {', '.join(bands)} in another order: name it with --assets {other_order}, and "
            "its bands in the model's order with --bands",
        )
    return ()


def _apart(item: pystac.Item, rasters: Assets, bands: tuple[str, ...]) -> tuple[str, ...]:
    """One file for each band, by its key or by what the one band in it is called."""
    found: list[str] = []
    for band in bands:
        if band in rasters:
            found.append(band)
            continue
        holding = [
            key for key, asset in rasters.items() if len(_bands(asset)) == 1 and band in _names(_bands(asset)[0])
        ]
        if len(holding) > 1:
            _nothing(item, f"{len(holding)} of them are called {band}")
        found += holding
    return tuple(found) if len(found) == len(bands) else ()


def _only(keys: Iterable[str]) -> tuple[str, ...]:
    """The one that there is, if there is one alone."""
    found = tuple(keys)
    return found if len(found) == 1 else ()


def _nothing(item: pystac.Item, why: str) -> tuple[str, ...]:
    keys = list(item.assets)
    listed = ", ".join(f"{key} ({', '.join(_roles(item.assets[key])) or 'no role'})" for key in keys[:_MOST_LISTED])
    more = f" and {len(keys) - _MOST_LISTED} more" if len(keys) > _MOST_LISTED else ""
    raise SceneError(
        f"STAC item {item.id} has the assets {listed or '(none)'}{more}; {why}: choose with --assets KEY, or one "
        "KEY per band, with commas"
    )


def _is_raster(asset: pystac.Asset) -> bool:
    kind = (asset.media_type or "").lower() if isinstance(asset.media_type, str | None) else ""
    suffix = PurePosixPath(re.split(r"[?#]", str(asset.href))[0]).suffix.lower()
    return kind.startswith(_MEDIA_TYPES) or (not kind.startswith("image/") and suffix in RASTER_SUFFIXES)


def _roles(asset: pystac.Asset) -> list[str]:
    return [role for role in asset.roles or () if isinstance(role, str)]


def _bands(asset: pystac.Asset) -> list[Mapping[str, Any]]:
    for field in ("bands", "eo:bands"):
        bands = asset.extra_fields.get(field)
        if isinstance(bands, list) and bands:
            return [band if isinstance(band, dict) else {} for band in bands]
    return []


def _names(band: Mapping[str, Any]) -> set[str]:
    names = (band.get(field) for field in ("eo:common_name", "common_name", "name"))
    return {name.lower() for name in names if isinstance(name, str)}
