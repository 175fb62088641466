"""A bucket as object stores have them, on a server of this machine's own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from moto.server import ThreadedMotoServer
from pyarrow.fs import S3FileSystem

from geoseg.io.bucket import BucketPath
from geoseg.io.stores import open_store

_KEYS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_REGION": "us-east-1"}


@dataclass(frozen=True, slots=True)
class BucketServer:
    """A server with one bucket.

    Attributes:
        address: Of the server, http://HOST:PORT.
        bucket: The bucket's name.
    """

    address: str
    bucket: str = "geoseg-test"

    @property
    def environment(self) -> dict[str, str]:
        """For processes that are to find it."""
        return {"AWS_ENDPOINT_URL": self.address, **_KEYS}

    def files(self) -> S3FileSystem:
        """What is there, by paths that begin with the bucket's name."""
        return S3FileSystem(
            access_key=_KEYS["AWS_ACCESS_KEY_ID"],
            secret_key=_KEYS["AWS_SECRET_ACCESS_KEY"],
            region=_KEYS["AWS_REGION"],
            endpoint_override=self.address,
            allow_bucket_creation=True,
        )

    def folder(self, key: str) -> BucketPath:
        """What would be a folder of the bucket."""
        return BucketPath("s3", self.bucket, key)


@contextmanager
def bucket_server() -> Iterator[BucketServer]:
    """A server with an empty bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        made = BucketServer(f"http://127.0.0.1:{port}")
        made.files().create_dir(made.bucket)
        yield made
    finally:
        server.stop()


@contextmanager
def reached(server: BucketServer) -> Iterator[BucketServer]:
    """Let this process find a server, and no other, for a while."""
    before = os.environ.copy()
    os.environ.update(server.environment)
    open_store.cache_clear()
    try:
        yield server
    finally:
        os.environ.clear()
        os.environ.update(before)
        open_store.cache_clear()
