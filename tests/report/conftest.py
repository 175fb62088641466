"""A RUN folder made by hand, as far as its page goes: no scene is mapped."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image

from geoseg.io.layers import NO_OUTCOME, Features
from geoseg.io.run_folder import RunFolder
from geoseg.report.shown_features import packed_features

HANDMADE = Callable[..., RunFolder[Path]]

CARD = Path(__file__).parents[2] / "geoseg" / "bundled" / "mbrsc" / "card.json"
HEX = "0123456789abcdef" * 4
LAYER_OPTIONS = {
    "min_area_m2": {"building": 0, "road": 0},
    "min_hole_m2": {"building": 0, "road": 0},
    "simplify_m": 0,
    "smooth": False,
    "regularize": [],
    "network": False,
    "thresholds": {},
    "classes": ["building", "road"],
}
LAYERS = {"buildings": ("building", "#d7301f"), "roads": ("road", "#636363")}


def features(count: int) -> Features:
    """Squares of 20 m and less, in a row."""
    ids = np.arange(1, count + 1)
    sides = np.linspace(20, 10, count)
    boxes = shapely.box(320_000 + 30.0 * ids, 2_770_000, 320_000 + 30.0 * ids + sides, 2_770_000 + sides)
    ones = np.ones(count)
    none = np.full(count, NO_OUTCOME, np.uint8)
    return Features(ids, 0 * ids, np.zeros(count, np.uint8), ones / 2, sides**2, 4 * sides, boxes, 0 * ids, none)


@pytest.fixture
def handmade(tmp_path: Path) -> HANDMADE:
    """Makes a run of five objects in each of two layers.

    Takes the `scene`'s name, what else the `card` says, how many objects are `unseen` besides, and its `outputs`.
    """

    def make(
        scene: str = "scene.tif",
        card: dict[str, Any] | None = None,
        unseen: int = 0,
        outputs: tuple[dict[str, Any], ...] = (),
        **record: Any,  # noqa: ANN401  # any part of run.json
    ) -> RunFolder[Path]:
        folder = RunFolder(tmp_path / "run")
        folder.write_plan({"scenes": [{"name": scene, "date": None}]})
        folder.write_record(
            {
                "version": 3,
                "status": "complete",
                "plan_hash": HEX,
                "argv": [],
                "inputs": [],
                "model": {"name": "mbrsc", "path": "mbrsc", "identity": HEX},
                "grid": {
                    "crs": "EPSG:32640",
                    "transform": [1, 0, 320000, 0, -1, 2770100],
                    "height": 99,
                    "width": 200,
                },
                "classes": ["building", "road"],
                "layers": LAYER_OPTIONS,
                "blocks": {"total": 1, "done": 1, "skipped": 0, "quarantined": []},
                "stages": {"mosaic": {"seconds": 2.0}},
                "outputs": list(outputs),
                "warnings": [],
                "versions": {"geoseg": "0"},
                "machine": {"system": "", "workers": 1, "numerics": []},
                **record,
            }
        )
        rows = packed_features(features(5), "EPSG:32640", 55.2, 6, [(scene, None)])
        layers = [
            {
                "name": name,
                "class": class_name,
                "color": color,
                "count": 5 + unseen,
                "area_m2": 1e3,
                "listed": 5,
            }
            for name, (class_name, color) in LAYERS.items()
        ]
        network = {"name": "road_lines", "class": "road", "color": "#e69f00", "count": 7, "listed": 7}
        layers.append({**network, "length_m": 1234.5})
        corners = [[55.21, 25.04], [55.23, 25.04], [55.23, 25.02], [55.21, 25.02]]
        shares = {"building": 0.25, "road": 0.75}
        said = {"corners": corners, "layers": layers, "shares": shares, "ground_m": [1, 1], "digits": 6}
        picture = io.BytesIO()
        Image.new("RGBA", (4, 4), "#d7301f").save(picture, "WEBP")
        parts = {
            "map.json": json.dumps(said).encode(),
            "features.json": json.dumps([rows, rows, []]).encode(),
            "card.json": json.dumps(json.loads(CARD.read_text()) | (card or {})).encode(),
            "scene.webp": picture.getvalue(),
            "classes.webp": picture.getvalue(),
        }
        place = folder.path / "ledger" / "page" / "parts"
        place.mkdir(parents=True)
        files = {}
        for name, content in parts.items():
            (place / name).write_bytes(content)
            files[f"ledger/page/parts/{name}"] = hashlib.sha256(content).hexdigest()
        folder.ledger("page").commit("all", {"files": files})
        return folder

    return make
