"""How one comes into a Ray cluster: its address, its token, and why it lets nobody in, in words."""

import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path

from ray.exceptions import AuthenticationError

from geoseg.errors import GeosegError, StoppedError
from geoseg.runner import one_line

_ANSWER_S = 5.0
"""How long a cluster's machine may take to answer at all."""

_NO_CLUSTER = (
    "no Ray cluster answers at {}: start it with `ray start --head`, or leave out --address for a local one"
)
_WHERE = "in RAY_AUTH_TOKEN or ~/.ray/auth_token, with RAY_AUTH_MODE=token"
"""Where Ray looks for a token."""


def refuse_silence(address: str) -> None:
    """Refuse an address at which nothing answers: Ray itself would try for more than a minute.

    Args:
        address: "auto", which Ray looks up, or HOST:PORT.

    Raises:
        GeosegError: It is neither.
        StoppedError: Nothing answers.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "/" in host or not host or not port.isdecimal():
        raise GeosegError(
            f"expected --address auto or HOST:PORT of the cluster's head, such as 10.0.0.1:6379, got {address}"
            + (": geoseg is to run on a machine of the cluster, as a job" if address.startswith("ray://") else "")
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:  # the latter of a port above 65535
        raise StoppedError(_NO_CLUSTER.format(address)) from error


def keep_token_private(folder: Path | None = None) -> None:
    """Have a token that only this user reads, before Ray makes one that all may.

    Args:
        folder: Where Ray looks for it; by default .ray in the user's home.
    """
    if folder is None and (os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")):
        return
    token = (Path.home() / ".ray" if folder is None else folder) / "auth_token"
    if not token.exists():
        token.parent.mkdir(parents=True, exist_ok=True)
        partial = token.with_name(f"auth_token.{os.getpid()}")
        partial.touch(0o600)
        partial.write_text(secrets.token_hex(32), encoding="ascii")
        # Of two processes that begin at once the first one's is kept, and never a part of it seen.
        with suppress(FileExistsError):
            token.hardlink_to(partial)
        partial.unlink()
    elif token.stat().st_uid == os.getuid():
        token.chmod(0o600)


def refusal(error: Exception, address: str | None) -> GeosegError | None:
    """Why Ray did not start or let nobody in, in words; None of what is no such thing.

    Args:
        error: What Ray raised.
        address: Of a cluster; None of a Ray of this process's own.
    """
    match error:
        case ConnectionError() if address in (None, "auto"):
            return StoppedError(_NO_CLUSTER.format(address))
        case ConnectionError():
            return StoppedError(
                f"no Ray cluster lets this machine in at {address}, though something answers there: expected the "
                f"port of its head (6379), and its token, if it has one, {_WHERE}"
            )
        case AuthenticationError():
            return GeosegError(f"Ray at {address} wants a token, and there is none here: expected it {_WHERE}")
        case RuntimeError() if "Version mismatch" in str(error):
            return GeosegError(
                f"the Ray cluster at {address} has other versions than this machine: install the same "
                f"({one_line(error)})"
            )
    # Ray says with a bare Exception that its own processes did not come up in time.
    if type(error) is not Exception:
        return None
    return StoppedError(
        f"Ray did not start ({one_line(error)}): run the same command again when the machine is less busy; "
        "`geoseg doctor` tries Ray alone"
    )
