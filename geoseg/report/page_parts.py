"""What a run leaves for its page: pictures, features and the model's card, in files that a marker vouches for."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from geoseg.errors import RunFolderError
from geoseg.io.place import Place, file_sha256
from geoseg.io.run_folder import RunFolder
from geoseg.models.card import Card

MAP_FILE = "map.json"
FEATURES_FILE = "features.json"
CARD_FILE = "card.json"
SCENE_FILE = "scene.webp"
CLASSES_FILE = "classes.webp"


@dataclass(frozen=True, slots=True)
class PageParts:
    """The parts of a page.

    Attributes:
        map: Corners of the pictures (longitude and latitude), layers, shares of the classes.
        features: JSON of the features of each layer that are shown; as objects they would take much memory.
        card: The model's.
        scene: The scene as a data URI; None where it could not be read.
        classes: The classes as a data URI.
    """

    map: dict[str, Any]
    features: str
    card: Card
    scene: str | None
    classes: str


def page_parts(run: RunFolder) -> PageParts:
    """The parts that a run left.

    Args:
        run: The RUN folder.

    Raises:
        RunFolderError: They are missing, or damaged.
    """
    ledger = run.ledger("page")
    files: dict[str, Place] = {}
    for _, marker in ledger.records():
        for name, sha256 in marker["files"].items():
            path = run.path / name
            if not path.is_file() or file_sha256(path) != sha256:
                raise RunFolderError(
                    f"{path} is missing or damaged: repeat the geoseg map command of {run.path}, which mends it"
                )
            files[path.name] = path
    if not files:
        raise RunFolderError(
            f"{run.path} has nothing to make a page of, it is not finished or of an earlier geoseg: repeat its "
            "geoseg map command, which finds the rest done"
        )
    return PageParts(
        map=json.loads(files[MAP_FILE].read_text()),
        features=files[FEATURES_FILE].read_bytes().decode(),
        card=Card.model_validate_json(files[CARD_FILE].read_bytes()),
        scene=_data_uri(files[SCENE_FILE]) if SCENE_FILE in files else None,
        classes=_data_uri(files[CLASSES_FILE]),
    )


def _data_uri(file: Place) -> str:
    return f"data:image/webp;base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"
