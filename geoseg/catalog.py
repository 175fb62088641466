"""Which model package a name means, and where packages that do not come with geoseg are looked for."""

import os
from pathlib import Path

from geoseg.io.place import is_in_store
from geoseg.models.fetched import package_folder
from geoseg.models.package import LoadedModel, find_model, load_package

DEFAULT_MODEL = "mbrsc"
"""The model that maps when none is named."""


def search_path() -> tuple[Path, ...]:
    """The folders of the variable GEOSEG_MODEL_PATH, in its order."""
    return tuple(Path(folder) for folder in os.environ.get("GEOSEG_MODEL_PATH", "").split(os.pathsep) if folder)


def model_folder(model: str | os.PathLike[str]) -> Path:
    """The folder of a package.

    Args:
        model: As `--model`: the name of a package that comes with geoseg or lies in one of the folders of
            GEOSEG_MODEL_PATH, or (with a path separator, or as a `Path`) its folder. Of an address with s3://,
            gs:// or az:// it is that of a copy.

    Raises:
        ModelError: There is no such package; it lists the names that there are.
    """
    if isinstance(model, str) and is_in_store(model):
        return package_folder(model)
    return find_model(model if isinstance(model, str) else str(Path.cwd() / model), search_path())


def load_model(model: str | os.PathLike[str]) -> LoadedModel:
    """Read and verify a model package.

    `.card` says what it is, what it expects and how well it does; `.build()` makes the network, which takes
    normalized images (N, bands, H, W), see `.imagery`, and gives logits (N, classes, H, W).

    Args:
        model: A name, a folder or an address, as `--model` of `geoseg map`.

    Raises:
        ModelError: There is no such package, or its files do not belong together; nothing of it is used then.
    """
    return load_package(model_folder(model))
