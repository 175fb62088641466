"""Where a cluster takes jobs: the address of its dashboard, the token that opens it, and who answers there."""

import os
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import requests

from geoseg.errors import GeosegError, StoppedError
from geoseg.io.addresses import is_loopback
from geoseg.progress import warn
from geoseg.runner import one_line

USUAL = "http://127.0.0.1:8265"
"""Where Ray's dashboard listens on the head itself, or behind `kubectl port-forward` and `ssh -L`."""

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
"""Names the dashboard for Ray's own commands, too."""

_CONNECT_S = 5.0
_ANSWER_S = 30.0
"""How long a dashboard may take to be reached, and to answer."""

_WHERE = "in RAY_AUTH_TOKEN, or with RAY_AUTH_MODE=token in ~/.ray/auth_token"
"""Where a token is looked for, in words."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard that may be asked.

    Attributes:
        address: http://HOST:PORT or https://HOST:PORT.
        token: What it wants to be shown, if anything is known.
    """

    address: str
    token: str | None = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What each request carries."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    @property
    def verify(self) -> str | bool:
        """Certificates that TLS goes by: the usual ones, or those of the variable that `requests` reads."""
        return os.environ.get("REQUESTS_CA_BUNDLE") or True


def dashboard_at(address: str, *, insecure: bool) -> Dashboard:
    """The dashboard at an address, unless jobs cannot or should not be sent there.

    Args:
        address: What the user named.
        insecure: Whether to send jobs in the clear, without a token, to another machine.

    Raises:
        GeosegError: It is no address of a dashboard, or neither a token nor TLS protects it.
    """
    host = _host(address)
    bare = address.rstrip("/")
    here = is_loopback(host)
    token = _token(local=here)
    if not here and bare.startswith("http:"):
        if token is None and not insecure:
            raise GeosegError(
                f"expected an https address, or a token ({_WHERE}), got {bare}: whoever is on the way could change "
                "the job or send others; forward the port to this machine (kubectl port-forward, ssh -L), or say "
                "--insecure"
            )
        if token is not None:
            warn(f"the token goes to {bare} unencrypted: prefer https, or a forwarded port")
    return Dashboard(bare, token)


def refuse_others(dashboard: Dashboard) -> None:
    """Refuse a dashboard that does not answer, lets nobody in, or is of another version of Ray.

    Args:
        dashboard: It is asked for its version.

    Raises:
        GeosegError: It wants another token, is none, or has another version.
        StoppedError: Nothing answers.
    """
    here, address = version("ray"), dashboard.address
    try:
        answer = requests.get(
            f"{address}/api/version",
            headers=dashboard.headers,
            timeout=(_CONNECT_S, _ANSWER_S),
            verify=dashboard.verify,
            allow_redirects=False,
        )
    except requests.exceptions.SSLError as error:
        raise GeosegError(
            f"{address} has no certificate that is trusted here ({one_line(error)}): name its authority's in "
            "REQUESTS_CA_BUNDLE"
        ) from error
    except requests.exceptions.RequestException as error:
        raise StoppedError(
            f"no Ray dashboard answers at {address} ({type(error).__name__}): start the cluster, or forward "
            "the port of its head (8265), and name it with --address"
        ) from error
    if answer.status_code in {401, 403}:
        came = "there is none here" if dashboard.token is None else "the one here is another one"
        raise GeosegError(f"{address} wants a token, and {came}: expected it {_WHERE}")
    try:
        there = str(answer.json()["ray_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise GeosegError(
            f"expected a Ray dashboard at {address}, something else answers there (status {answer.status_code}): "
            "name the port of the cluster's dashboard, 8265 by default"
        ) from error
    if there != here:
        raise GeosegError(f"expected Ray {here} at {address}, as on this machine, got {there}: install the same")


def _host(address: str) -> str:
    expected = "expected the address of a cluster's dashboard, such as http://127.0.0.1:8265"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise GeosegError(f"{expected}, got {address} ({error})") from error
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise GeosegError(f"{expected}, got one with a user, query or fragment: a token is expected {_WHERE}")
    if parts.scheme == "ray":
        raise GeosegError(
            f"{expected}, got {address}: Ray Client (ray://) is not supported, jobs need no such port"
        )
    if parts.scheme not in {"http", "https"} or not host or parts.path.strip("/"):
        raise GeosegError(f"{expected}, got {address}")
    return host


def _token(*, local: bool) -> str | None:
    """The token, where Ray looks for it; the one that lies in the home is for others only where that is said."""
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode == "disabled":
        return None
    said = os.environ.get("RAY_AUTH_TOKEN")
    if said:
        return said.strip()
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if not named and not (local or mode == "token"):
        return None
    try:
        return path.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        if named:
            raise GeosegError(
                f"expected a token in {path}, which RAY_AUTH_TOKEN_PATH names, there is none"
            ) from None
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise GeosegError(f"{path}: expected a token that this user can read: {one_line(error)}") from error
