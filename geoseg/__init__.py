"""Maps from imagery: tiling, distributed inference, stitching and vectorizing of large rasters.

What `__all__` names is the Python interface. It loads torch, rasterio and Ray when it is first used, so that
`import geoseg` costs nothing and leaves GDAL as it finds it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from geoseg.errors import (
    ConfigError,
    GeosegError,
    ModelError,
    RunFolderError,
    SceneError,
    StoppedError,
)

if TYPE_CHECKING:
    from geoseg.api import export_run, map_scenes, train_model
    from geoseg.catalog import load_model
    from geoseg.io.record import RunRecord
    from geoseg.models.package import LoadedModel
    from geoseg.run import Run, open_run

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "GeosegError",
    "LoadedModel",
    "ModelError",
    "Run",
    "RunFolderError",
    "RunRecord",
    "SceneError",
    "StoppedError",
    "__version__",
    "export_run",
    "load_model",
    "map_scenes",
    "open_run",
    "train_model",
]

_HOMES = {
    "LoadedModel": "geoseg.models.package",
    "Run": "geoseg.run",
    "RunRecord": "geoseg.io.record",
    "export_run": "geoseg.api",
    "load_model": "geoseg.catalog",
    "map_scenes": "geoseg.api",
    "open_run": "geoseg.run",
    "train_model": "geoseg.api",
}
"""The module of each name that is imported when it is first asked for."""


if not TYPE_CHECKING:  # else every name would pass for one of geoseg's

    def __getattr__(name: str) -> Any:  # noqa: ANN401  # each name has its own type, for checkers above
        if name not in _HOMES:
            raise AttributeError(f"module 'geoseg' has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
