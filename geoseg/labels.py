"""What a model tells apart: its classes, in order, with the layer that each one becomes."""

import re
from dataclasses import dataclass
from typing import Literal

NODATA_CLASS = 255
"""Class value of a pixel without data, in mosaics and label rasters alike."""

NO_OBJECT_CLASS = 254
"""What stands for the class of a pixel with data that no layer's object holds, while objects are outlined."""

Activation = Literal["softmax", "sigmoid"]
"""What makes probabilities of a network's logits: softmax where its classes exclude each other, else sigmoid."""

_SLUG = re.compile(r"[a-z][a-z0-9_]{0,62}")

_RESERVED = ("gpkg", "sqlite", "rtree")
"""How the names of a GeoPackage's own tables begin."""


@dataclass(frozen=True, slots=True)
class LabelClass:
    """One class.

    Attributes:
        name: Lower-case identifier ("building").
        layer: The vector layer and file that its objects go to ("buildings"), or None for no layer.
        kind: "thing" for countable objects, "stuff" for the rest (Kirillov et al., CVPR 2019).
        color: "#rrggbb", for pictures and colour tables.
    """

    name: str
    layer: str | None
    kind: Literal["thing", "stuff"]
    color: str

    def __post_init__(self) -> None:
        # Names become file names and Zarr keys, so nothing but a slug may pass.
        for what, value in (("class name", self.name), ("layer name", self.layer)):
            if value is not None and not _SLUG.fullmatch(value):
                raise ValueError(f"{what} must be lower-case letters, digits and _, got {value!r}")
        if self.layer is not None and self.layer.startswith(_RESERVED):
            raise ValueError(f"layer names that begin with {', '.join(_RESERVED)} are SQLite's, got {self.layer!r}")
        if not re.fullmatch(r"#[0-9a-f]{6}", self.color):
            raise ValueError(f"color must be #rrggbb in lower case, got {self.color!r}")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green, blue, each 0 to 255."""
        red, green, blue = bytes.fromhex(self.color[1:])
        return red, green, blue


_ROADS = ("road", "roads")
"""What a class is called whose objects are a network."""


@dataclass(frozen=True, slots=True)
class Network:
    """The layers of a network, besides the objects of its class.

    Attributes:
        class_id: The class.
        lines: The layer of centre-lines ("road_lines").
        nodes: The layer of junctions and dead ends ("road_nodes").
    """

    class_id: int
    lines: str
    nodes: str

    @property
    def layers(self) -> tuple[str, str]:
        """Their names."""
        return self.lines, self.nodes


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The classes of a model; a class's id is its position, from 0."""

    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.classes) <= NO_OBJECT_CLASS:
            raise ValueError(f"expected 2 to {NO_OBJECT_CLASS} classes, got {len(self.classes)}")
        if len(set(self.names)) != len(self.classes):
            raise ValueError(f"class names must differ, got {', '.join(self.names)}")
        layers = [layer for _, layer in self.layers]
        if len(set(layers)) != len(layers):
            raise ValueError(f"layer names must differ, got {', '.join(layers)}")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by id."""
        return tuple(label.name for label in self.classes)

    @property
    def layers(self) -> tuple[tuple[int, str], ...]:
        """(class id, layer name) of every class that has a layer."""
        return tuple((i, label.layer) for i, label in enumerate(self.classes) if label.layer is not None)

    @property
    def network(self) -> Network | None:
        """The layers of the network of the class called road or roads, by the name of its layer ("roads").

        None where no class is called so or has a layer, or where others have layers of these names.
        """
        taken = {layer for _, layer in self.layers}
        for class_id, layer in self.layers:
            stem = layer.removesuffix("s")
            found = Network(class_id, f"{stem}_lines", f"{stem}_nodes")
            if self.names[class_id] in _ROADS and taken.isdisjoint(found.layers):
                return found
        return None
