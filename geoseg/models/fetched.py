"""Model packages in an object store, copied to this machine the first time that they are named."""

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from geoseg.errors import GeosegError, ModelError, StoppedError
from geoseg.io.bucket import BucketPath
from geoseg.io.place import is_in_store, parse_place
from geoseg.models.package import CARD_NAME, WEIGHTS_NAME


def cache_folder() -> Path:
    """Where copies are kept: below XDG_CACHE_HOME, or .cache in the user's home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geoseg" / "models"


def package_folder(path: str) -> Path:
    """The folder of a package on this machine.

    A copy is named by the sha256 of its card, which is asked for each time: a package that was replaced is another.

    Args:
        path: A folder, which is given back, or an address in an object store.

    Raises:
        ModelError: There is no package, or it cannot be read or kept.
    """
    if not is_in_store(path):
        return Path(path)
    try:
        place = parse_place(path)
        assert isinstance(place, BucketPath)
        card = (place / CARD_NAME).read_bytes()
        folder = cache_folder() / hashlib.sha256(card).hexdigest()
        if not (folder / CARD_NAME).is_file():
            _fetch(place, card, folder)
    except FileNotFoundError as error:
        raise ModelError(
            f"expected a model package, a folder with {CARD_NAME} and {WEIGHTS_NAME}, got {path}"
        ) from error
    except StoppedError as error:
        raise ModelError(str(error)) from error
    except OSError as error:
        raise ModelError(
            f"{path} cannot be kept in {cache_folder()} ({error.strerror}): set XDG_CACHE_HOME to another folder"
        ) from error
    except GeosegError as error:
        raise ModelError(f"expected a model package: {error}") from error
    return folder


def _fetch(place: BucketPath, card: bytes, folder: Path) -> None:
    """Copy a package, so that its folder is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".fetched.", suffix=".partial", dir=folder.parent) as name:
        part = Path(name) / folder.name
        part.mkdir()
        (place / WEIGHTS_NAME).fetch(part / WEIGHTS_NAME)
        (part / CARD_NAME).write_bytes(card)
        try:
            part.rename(folder)
        except OSError:
            # Another process was first; the same card names the same weights.
            if not (folder / CARD_NAME).is_file():
                raise
