"""What keeps a process from writing to a folder in an object store that another one claimed since.

The fencing of a lock service (Kleppmann 2016, How to do distributed locking) without its tokens: stores take no
number with a write, so who writes looks at the claim before.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from geoseg.errors import StoppedError

CLAIM = ".owner"
"""The object in a claimed folder that says whose it is."""

_believed: dict["Held", float] = {}


@dataclass(frozen=True, slots=True)
class Held:
    """A claim to a folder, which travels with the paths below it.

    Attributes:
        folder: Key of the folder.
        owner: Who holds it.
        believed_s: For so long who read that it is his own need not read it again.
    """

    folder: str
    owner: str
    believed_s: float = 1.0

    def refuse_lost(self, folder: str, read: Callable[[], bytes]) -> None:
        """Refuse to go on where another process claimed the folder since.

        Args:
            folder: Its address, for people.
            read: Gives what the claim says.

        Raises:
            StoppedError: One did.
        """
        if time.monotonic() - _believed.get(self, -1e9) < self.believed_s:
            return
        try:
            owner = parse_claim(read()).get("owner")
        except FileNotFoundError:
            owner = None
        if owner != self.owner:
            raise StoppedError(
                f"another process works on {folder} now: this one stops, so that nothing is mixed; what it did "
                "stays"
            )
        _believed[self] = time.monotonic()


def parse_claim(content: bytes) -> dict[str, Any]:
    """What a claim says; of what is no claim nothing: it was written by nobody who would renew it."""
    try:
        said = json.loads(content)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
