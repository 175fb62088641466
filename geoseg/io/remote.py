"""Rasters that are not on this machine: opened at their address, and never taken for whole where they are not.

GDAL takes an answer that was cut short or failed for the end of the file, says nothing where a mask's directory
was meant to be, remembers it, and follows redirects wherever they lead. So from web servers geoseg asks itself, in
parts (`geoseg.io.parts`), and gives GDAL the bytes. For clouds GDAL signs the requests, and so makes them: what it
reports while it opens a file is an error, and a handle that failed is given up for a new one, with nothing kept of
the old.
"""

from collections.abc import Callable
from typing import Any, Self, TypeVar

from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader

from geoseg.errors import SceneError
from geoseg.io.addresses import parse_address, shown
from geoseg.io.answers import RemoteError
from geoseg.io.identity import Identity, head_of, remember, web_identity
from geoseg.io.openings import layout_of, open_in_cloud, open_on_web
from geoseg.io.parts import CHUNK_BYTES, RemoteFile
from geoseg.io.turns import turn

_Result = TypeVar("_Result")

CheckHeader = Callable[[str, DatasetReader, int | None], None]
"""Raise what is wrong with an open raster, given what it is called and its file's bytes, where they are known."""


class RemoteDataset:
    """A raster at an address, with the attributes and methods of rasterio's DatasetReader.

    After a reading that failed the next one begins with a new handle. Not thread-safe.

    Args:
        text: The address.
        check: Called whenever the file was opened.

    Raises:
        SceneError: It is no address that is read, the server does not answer, or what lies there is no raster.
    """

    def __init__(self, text: str, check: CheckHeader) -> None:
        self._address = parse_address(text)
        self.name = shown(text)
        self.files = [self.name]
        self._check = check
        self._file: RemoteFile | None = None
        self._version: object = None
        self._dataset: DatasetReader | None = None
        self._current()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # rasterio's own
        return getattr(self._current(), name)

    def close(self) -> None:
        """Close the file."""
        dataset, self._dataset, self._file = self._dataset, None, None
        if dataset is not None:
            with turn():
                dataset.close()

    def read(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # rasterio's own
        """Pixels, as rasterio's DatasetReader gives them."""
        return self._whole(lambda dataset: dataset.read(*arguments, **options))

    def read_masks(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # rasterio's own
        """Masks, likewise."""
        return self._whole(lambda dataset: dataset.read_masks(*arguments, **options))

    def dataset_mask(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # rasterio's own
        """The mask of all bands, likewise."""
        return self._whole(lambda dataset: dataset.dataset_mask(*arguments, **options))

    def _whole(self, read: Callable[[DatasetReader], _Result]) -> _Result:
        """What was read, if all of it came.

        Raises:
            RemoteError: It did not.
            RasterioIOError: It did, and cannot be decoded.
        """
        dataset = self._current()
        try:
            result = read(dataset)
            self._refuse_failure()
        except RasterioIOError as error:
            self._refuse_failure()
            self.close()
            if self._address.is_web:
                raise
            raise RemoteError(
                f"{self.name} cannot be read: the cloud does not send that part of it, or the file is cut short or "
                "damaged; try again later"
            ) from error
        return result

    def _refuse_failure(self) -> None:
        failure = None if self._file is None else self._file.failure
        if failure is not None:
            self.close()
            raise failure

    def _current(self) -> DatasetReader:
        if self._dataset is None:
            version = self._open_web() if self._address.is_web else self._open_cloud()
            if self._version not in (None, version):
                self.close()
                raise RemoteError(f"{self.name} changed while it was read: expected the file of before")
            self._version = version
        return self._dataset

    def _open_web(self) -> Identity:
        head = head_of(self._address, CHUNK_BYTES)
        identity = remember(self._address.text, web_identity(self._address, head))
        file = RemoteFile(self._address, head)
        dataset = open_on_web(self.name, file, head.body[:64])
        self._accept(dataset, head.size, file)
        return identity

    def _open_cloud(self) -> tuple[Any, ...]:
        dataset, layout = open_in_cloud(self._address)
        self._accept(dataset, None, None)
        return layout

    def _accept(self, dataset: DatasetReader, size: int | None, file: RemoteFile | None) -> None:
        """Take a dataset for ours if its header is whole and nothing is wrong with it."""
        self._dataset, self._file = dataset, file
        try:
            layout_of(dataset)  # what GDAL reads only when it is asked for
            self._refuse_failure()
            self._check(self.name, dataset, size)
            self._refuse_failure()
        except (SceneError, RasterioIOError):
            self.close()
            raise
