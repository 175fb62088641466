"""Files whose bytes cannot be read, said in words."""

from collections.abc import Iterator
from contextlib import contextmanager

from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import SceneError
from geoseg.io.formats import strictly
from geoseg.io.remote import RemoteDataset


class DamagedError(SceneError):
    """The file's bytes cannot be read there, whatever is asked of them."""


@contextmanager
def damage_named(dataset: DatasetReader | RemoteDataset, path: str, window: RasterioWindow) -> Iterator[None]:
    """Say in words where a file cannot be read."""
    try:
        with strictly(dataset.driver):
            yield
    except RasterioIOError as error:
        raise DamagedError(
            f"{path} cannot be read in rows {window.row_off} to {window.row_off + window.height}, "
            f"columns {window.col_off} to {window.col_off + window.width}: "
            "the file is cut short or damaged; copy or download it again"
        ) from error
