"""Amazon's S3, and what speaks like it: where it answers, and the keys that AWS's own tools would use."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from geoseg.errors import StoppedError

if TYPE_CHECKING:
    from obstore.auth.boto3 import Boto3CredentialProvider

_OWN_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Variables that name keys, or where to get them: then no file is looked at."""

_FILES = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}


def s3_endpoint(environment: Mapping[str, str]) -> str | None:
    """Where S3 answers, if that is not Amazon's own; as AWS's libraries are told, else as GDAL is.

    Args:
        environment: Variables.
    """
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if environment.get(name):
            return environment[name]
    host = environment.get("AWS_S3_ENDPOINT")
    if not host or "://" in host:
        return host or None
    plain = environment.get("AWS_HTTPS", "YES").upper() in {"NO", "FALSE", "OFF", "0"}
    return f"{'http' if plain else 'https'}://{host}"


def profile_keys() -> "Boto3CredentialProvider | None":
    """Keys of the profile that AWS_PROFILE names, or of the default one; with single sign-on, roles and the like.

    Returns:
        What gives them, anew before they expire; None where the environment names keys or nobody has a profile.

    Raises:
        StoppedError: There is no such profile, or it cannot be read.
    """
    files = [Path(os.environ.get(name) or usual).expanduser() for name, usual in _FILES.items()]
    has_profile = "AWS_PROFILE" in os.environ or any(file.is_file() for file in files)
    if not has_profile or any(os.environ.get(name) for name in _OWN_KEYS):
        return None
    # Takes a third of a second to load, which those without a profile need not wait.
    from boto3 import Session  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415

    try:
        session = Session(region_name=os.environ.get("AWS_REGION"))
        return None if session.get_credentials() is None else Boto3CredentialProvider(session)
    except BotoCoreError as error:
        raise StoppedError(
            f"the keys of AWS's profile cannot be had: {error}; check AWS_PROFILE and ~/.aws, then run the same "
            "command again"
        ) from error
