"""The model package: a folder with `card.json` and `weights.safetensors`, which carries all of a model.

A package is data only: nothing in it is unpickled, imported or executed.
"""

import contextlib
import difflib
import errno
import hashlib
import math
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor, nn

import geoseg
from geoseg.errors import ModelError, StoppedError
from geoseg.imagery import Imagery
from geoseg.labels import LabelSet
from geoseg.models.card import (
    FORMAT_VERSION,
    Card,
    CardDraft,
    SplitMetrics,
    TileDefaults,
    WeightsDtype,
    WeightsFile,
)
from geoseg.models.weights import build_from, decode, encode, load_state, tensor_shapes

__all__ = [
    "Card",
    "CardDraft",
    "LoadedModel",
    "SplitMetrics",
    "TileDefaults",
    "WeightsFile",
    "find_model",
    "known_models",
    "load_card",
    "load_package",
    "load_state",
    "save_package",
]

CARD_NAME = "card.json"
"""The file with the card."""

WEIGHTS_NAME = "weights.safetensors"
"""The file with the weights."""

_MAX_CARD_BYTES = 2**20
_MAX_HEADER_BYTES = 2**20  # a safetensors header names each tensor in about 100 bytes


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A verified model package in memory.

    Attributes:
        card: The card.
        labels: The classes that the model tells apart.
        imagery: The pixels that it expects.
        identity: A sha256 of all that a map depends on (see `Card.identity`).
        tensors: The weights by name, in the number format of the file.
    """

    card: Card
    labels: LabelSet
    imagery: Imagery
    identity: str
    tensors: Mapping[str, Tensor] = field(repr=False, compare=False)

    def build(self) -> nn.Module:
        """The network, in float32 on the CPU, in evaluation mode; each call makes a new one.

        It takes normalized images, float32 (N, bands, H, W) of any size, and gives logits (N, classes, H, W).
        """
        return build_from(self.tensors, self.card.architecture)


def save_package(folder: Path, draft: CardDraft, network: nn.Module, dtype: WeightsDtype = "float16") -> Card:
    """Write a model package, or replace one.

    Each file appears whole or not at all, the card last; a package that was replaced halfway does not match
    its own checksum, and is refused on loading.

    Args:
        folder: The package; it is created where missing.
        draft: The card without what the weights file determines.
        network: The trained network, of the draft's architecture.
        dtype: Number format of the stored weights.

    Returns:
        The card as written.

    Raises:
        ModelError: The network is not of the draft's architecture, a weight does not fit the number format,
            or the folder cannot be written.
        StoppedError: The disk is full.
    """
    data = encode(network, draft.architecture, dtype)
    weights = WeightsFile(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), dtype=dtype)
    said = {name: getattr(draft, name) for name in CardDraft.model_fields}
    text = Card(**said, format_version=FORMAT_VERSION, weights=weights).to_json().encode()
    card = _parse_card(text)  # what cannot be loaded is not written
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_whole(folder / WEIGHTS_NAME, data)
        _write_whole(folder / CARD_NAME, text)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoppedError(f"the disk is full: the model package {folder} was not written") from error
        raise ModelError(f"the model package {folder} cannot be written: {error.strerror}") from error
    return card


def load_package(folder: Path) -> LoadedModel:
    """Read and verify a model package.

    Args:
        folder: The package.

    Raises:
        ModelError: It is no package, or its files do not belong together; nothing of it is used then.
    """
    card = load_card(folder)
    try:
        data = _read_weights(folder / WEIGHTS_NAME, card)
        tensors = decode(data, card.architecture, card.weights.dtype)
    except ModelError as error:
        raise ModelError(f"model package {folder}: {error}") from error
    except OSError as error:
        raise ModelError(f"the model package {folder} cannot be read: {error.strerror}") from error
    return LoadedModel(card, card.labels, card.imagery, card.identity, tensors)


def load_card(folder: Path) -> Card:
    """Read and verify the card of a model package alone; of its weights it says what they must be.

    Args:
        folder: The package.

    Raises:
        ModelError: It is no package, or its card is none.
    """
    if not (folder / CARD_NAME).is_file():
        raise ModelError(f"expected a model package, a folder with {CARD_NAME}, got {folder}")
    try:
        return _parse_card(_read_at_most(folder / CARD_NAME, _MAX_CARD_BYTES))
    except ModelError as error:
        raise ModelError(f"model package {folder}: {error}") from error
    except OSError as error:
        raise ModelError(f"the model package {folder} cannot be read: {error.strerror}") from error


def known_models(search: Sequence[Path]) -> dict[str, Path]:
    """The packages that have a name: those that come with geoseg, then those in the given folders.

    Args:
        search: Folders that hold packages; one that does not exist holds none. Where two packages have the
            same folder name, the first is meant.

    Returns:
        Folders by name.
    """
    known: dict[str, Path] = {}
    for folder in (Path(geoseg.__file__).parent / "bundled", *search):
        if folder.is_dir():
            for package in sorted(folder.iterdir()):
                if (package / CARD_NAME).is_file():
                    known.setdefault(package.name, package)
    return known


def find_model(name_or_path: str, search: Sequence[Path]) -> Path:
    """The folder of a model package.

    A value with a path separator, or one that starts with a dot, is a path. Anything else is the name of a
    package that comes with geoseg or lies in one of the folders. Nothing else is searched or downloaded.

    Args:
        name_or_path: What the user wrote.
        search: Folders that hold packages.

    Raises:
        ModelError: There is no such package; it lists the names that there are.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name_or_path):
        raise ModelError(
            "models are not downloaded from the web: give a name, a folder, or s3://, gs:// or az://BUCKET/FOLDER "
            f"instead of {name_or_path!r}"
        )
    separators = [separator for separator in (os.sep, os.altsep) if separator]
    if name_or_path.startswith(".") or any(separator in name_or_path for separator in separators):
        path = Path(name_or_path)
        if not (path / CARD_NAME).is_file():
            raise ModelError(f"expected a model package, a folder with {CARD_NAME}, got {name_or_path!r}")
        return path
    known = known_models(search)
    if name_or_path in known:
        return known[name_or_path]
    names = ", ".join(known) or "none (set GEOSEG_MODEL_PATH to folders that hold model packages)"
    nearest = difflib.get_close_matches(name_or_path, known, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    raise ModelError(f"no model is named {name_or_path!r}; known models: {names}{hint}")


def _parse_card(text: bytes) -> Card:
    """The card, if it is one."""
    if len(text) > _MAX_CARD_BYTES:
        raise ModelError(f"expected a {CARD_NAME} of at most {_MAX_CARD_BYTES} bytes, got {len(text)}")
    try:
        return Card.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise ModelError(f"{CARD_NAME} is no valid card: {_first_problem(error)}") from error
    except TypeError as error:
        # numpy's word for a data type that it does not know.
        raise ModelError(f"{CARD_NAME} is no valid card: {error}") from error


def _read_weights(path: Path, card: Card) -> bytes:
    """The weights file, if it is what the card says; read only if its size can be right."""
    numbers = sum(math.prod(shape) for shape in tensor_shapes(card.architecture).values())
    payload_bytes = numbers * {"float16": 2, "float32": 4}[card.weights.dtype]
    if not payload_bytes < card.weights.bytes <= payload_bytes + _MAX_HEADER_BYTES:
        raise ModelError(
            f"the network has {numbers} weights, {payload_bytes} bytes in {card.weights.dtype}; "
            f"the card says {card.weights.bytes} bytes"
        )
    if not path.is_file() or path.stat().st_size != card.weights.bytes:
        raise ModelError(f"expected {path.name} of {card.weights.bytes} bytes: fetch the package again")
    data = _read_at_most(path, card.weights.bytes)
    if hashlib.sha256(data).hexdigest() != card.weights.sha256:
        raise ModelError(f"{path.name} is damaged or of another model (sha256 differs): fetch the package again")
    return data


def _read_at_most(path: Path, limit_bytes: int) -> bytes:
    """A file that may not be larger than a limit."""
    with path.open("rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise ModelError(f"expected {path.name} of at most {limit_bytes} bytes")
    return data


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, and a crash leaves one of the two."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def _first_problem(error: ValidationError) -> str:
    """The first of pydantic's findings in one printable line, with its place in the card."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    place = ".".join(str(part) for part in problems[0]["loc"])
    words = f"{place}: {problems[0]['msg']}" if place else problems[0]["msg"]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return "".join(char if char.isprintable() else "?" for char in words[:300]) + more
