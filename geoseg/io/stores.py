"""Object stores: which one an address means, with this process's credentials, and what goes wrong in it.

A store is opened anew in each process. Neither it nor its credentials are ever part of what is sent to another.
"""

import os
import re
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeVar

from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, PreconditionError
from obstore.store import AzureStore, GCSStore, S3Store

from geoseg.errors import StoppedError
from geoseg.io.aws import profile_keys, s3_endpoint

if TYPE_CHECKING:
    from obstore.store import AzureConfig, ClientConfig, RetryConfig, S3Config

Scheme = Literal["s3", "gs", "az"]
"""Object stores that RUN folders and models may lie in."""

Store = S3Store | GCSStore | AzureStore
"""An opened one."""

_RETRIES: "RetryConfig" = {"max_retries": 6, "retry_timeout": timedelta(seconds=60)}
"""Of a single request; of what fails nevertheless, `PAUSES_S`."""

PAUSES_S = (1.0, 4.0)
"""Seconds before an operation is tried a second and a third time: answers to writes may be lost, too."""

_REQUEST_S = 60
"""How long one request may take, its body included."""

_Result = TypeVar("_Result")


@lru_cache(maxsize=64)
def open_store(scheme: Scheme, bucket: str, prefix: str = "") -> Store:
    """A bucket, or what lies in it below a prefix.

    Endpoint and account may be named as GDAL or as the clouds' own libraries call them.

    Args:
        scheme: The kind of store.
        bucket: Its name; of Azure that of a container.
        prefix: What all keys begin with.

    Raises:
        StoppedError: The keys cannot be had.
    """
    below = prefix or None
    options: ClientConfig = {"timeout": timedelta(seconds=_REQUEST_S)}
    match scheme:
        case "s3":
            endpoint = s3_endpoint(os.environ)
            options["allow_http"] = _is_plain(endpoint)
            at: S3Config = {} if endpoint is None else {"endpoint": endpoint}
            return S3Store(
                bucket,
                prefix=below,
                config=at,
                client_options=options,
                retry_config=_RETRIES,
                credential_provider=profile_keys(),
            )
        case "gs":
            options["allow_http"] = _is_plain(os.environ.get("GOOGLE_BASE_URL"))
            return GCSStore(bucket, prefix=below, client_options=options, retry_config=_RETRIES)
        case "az":
            options["allow_http"] = _is_plain(os.environ.get("AZURE_STORAGE_ENDPOINT"))
            account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", os.environ.get("AZURE_STORAGE_ACCOUNT"))
            of: AzureConfig = {} if account is None else {"account_name": account}
            return AzureStore(bucket, prefix=below, config=of, client_options=options, retry_config=_RETRIES)


def _is_plain(endpoint: str | None) -> bool:
    return endpoint is not None and endpoint.startswith("http://")


def patiently(name: str, operation: Callable[[], _Result], pauses_s: Sequence[float] = PAUSES_S) -> _Result:
    """Do something in an object store that may be done again; what fails for long stops the run.

    Args:
        name: What it is done to, for people.
        operation: Does it.
        pauses_s: Seconds before it is tried a second time, and so on.

    Raises:
        FileNotFoundError: There is no such object, or bucket.
        AlreadyExistsError: There is one, where none was expected.
        PreconditionError: It is not the one that was expected.
        StoppedError: The store refuses, or does not answer.
    """
    for pause_s in (*pauses_s, None):
        try:
            return operation()
        except (FileNotFoundError, AlreadyExistsError, PreconditionError):
            raise
        except GenericError as error:
            if pause_s is None or _is_final(error):
                raise StoppedError(_refusal(name, error)) from error
            time.sleep(pause_s)
        except BaseError as error:
            raise StoppedError(_refusal(name, error)) from error
    raise AssertionError("unreachable: the last attempt returns or raises")


def _is_final(error: GenericError) -> bool:
    """Whether a store said no, or nothing can be asked of it at all."""
    first = str(error).partition("\n")[0]
    return re.search(r"status code: 4(?!08|29)\d\d|error: (Missing|Account must be)", first) is not None


def _refusal(name: str, error: BaseError) -> str:
    """What a store did not do, in one line without the query of any address, which may be signed."""
    text = str(error)
    first = text.partition("\n")[0]
    host = re.search(r"https?://[^/\s?]+", first)
    code = re.search(r"<Code>(\w+)</Code>", text)
    status = re.search(r"status code: (\d{3} [A-Z][\w ]*)", first)
    if status is not None:
        said = f"the store answered {status[1].strip()}{f' ({code[1]})' if code is not None else ''}"
    elif host is not None:
        said = f"no answer from {host[0]} ({first.rpartition(' - ')[2].rpartition(': ')[2]})"
    else:
        said = re.sub(r"\?\S*", "", first.rpartition("error: ")[2])
    return (
        f"{name} cannot be read or written: {said}; check bucket, network, endpoint and credentials (README.md "
        "names their variables), then run the same command again"
    )
