"""Memory that was freed, and that the C library keeps for later."""

import ctypes
import gc


def release_heap() -> None:
    """Give freed memory back to the system: what the next stage needs would else come on top of it.

    With glibc; other C libraries do so by themselves or not at all.
    """
    gc.collect()
    trim_heap()


def trim_heap() -> None:
    """The same of what needs no search for cycles: milliseconds, for within a stage."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
