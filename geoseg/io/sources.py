"""What a user hands in, before anything of it was opened."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SceneSource:
    """A scene as the user handed it in.

    Attributes:
        files: One address (path or URI) with all bands, or one per band of the model in its order.
        date: ISO 8601 UTC date-time, or None.
        name: What it is called (STAC item id, any printable text: no file name), or None to go by the file's name.
        problem: Why it cannot be read, where that is known already; `files` then says where it was named.
    """

    files: tuple[str, ...]
    date: str | None = None
    name: str | None = None
    problem: str = ""
