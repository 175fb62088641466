"""What can go wrong for a user, each with the exit code that the command ends with.

A message says what was expected, what came, and what to do, in one line.
"""


class GeosegError(Exception):
    """Refused before any work: usage, input, configuration, or the folder of another run."""

    exit_code = 2


class SceneError(GeosegError):
    """A raster that cannot be mapped as asked."""


class ModelError(GeosegError):
    """A model package or weights file that cannot be used."""


class ConfigError(GeosegError):
    """A configuration file with a wrong key or value."""


class RunFolderError(GeosegError):
    """A RUN folder that belongs to something else."""


class StoppedError(GeosegError):
    """Stopped by its surroundings (disk full, storage or every worker gone); the same command resumes."""

    exit_code = 4


class InputChangedError(StoppedError):
    """An input is no longer the file that was planned; going on would mix two."""

    exit_code = 1
