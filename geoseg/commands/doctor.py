"""`geoseg doctor`: whether this installation and machine can do the work, and what to do where they cannot."""

import importlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import click

import geoseg
from geoseg.commands.text import megabytes, printable
from geoseg.io.gdal_environment import gdal_environment

# This module imports none of the libraries that it judges: they are imported below, one by one, and may fail.

State = Literal["ok", "warn", "fail"]

_LIBRARIES = ("torch", "rasterio", "zarr", "numpy", "numba", "scipy", "shapely", "pyproj", "pyogrio", "pydantic")
"""What every run needs; Ray is judged on its own."""

_DANGEROUS = ("VRT", "MRF", "WMS", "HTTP", "GTI", "DERIVED")
"""Drivers that read or write other files or addresses than the one they open."""

_MEMORY_BYTES = 2 * 10**9
"""One worker holds 0.7 GB and more, and so does Ray."""

_DISK_BYTES = 2 * 10**9

_RUN_LIMIT_S = 300

_SCENE_PX = 320


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        state: ok, warn (works, but) or fail.
        found: What was found.
        remedy: What to do, or None where all is well.
    """

    name: str
    state: State
    found: str
    remedy: str | None = None


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def doctor(as_json: bool) -> None:
    """Check this installation and machine, and map a small scene in a temporary folder (about 20 s).

    Each finding is ok, warn or fail, with what to do. The exit code is 1 if anything fails.
    """
    checks = []
    for check in _checks():
        checks.append(check)
        if not as_json:
            click.echo(f"{check.state:5}{check.name:12}{printable(check.found)}")
            if check.remedy is not None:
                click.echo(f"{'':17}-> {check.remedy}")
    states = {check.state for check in checks}
    worst: State = "fail" if "fail" in states else "warn" if "warn" in states else "ok"
    if as_json:
        click.echo(json.dumps({"state": worst, "checks": [asdict(check) for check in checks]}, indent=2))
    if worst == "fail":
        raise SystemExit(1)


def _checks() -> Iterator[Check]:
    yield Check("geoseg", "ok", f"{geoseg.__version__} in {Path(geoseg.__file__).parent}")
    yield python(sys.version_info[:2])
    for name in _LIBRARIES:
        yield library(name)
    yield gdal()
    yield torchvision()
    yield gpu()
    yield memory(available_memory())
    for label, folder in (("disk here", Path.cwd()), ("disk temp", Path(tempfile.gettempdir()))):
        yield disk(label, folder, shutil.disk_usage(folder).free)
    yield ray()
    yield model()
    yield small_run([sys.executable, "-m", "geoseg.cli"])


def python(version: tuple[int, int]) -> Check:
    """The interpreter."""
    found = f"{platform.python_version()} on {platform.platform()}"
    if (3, 11) <= version <= (3, 13):
        return Check("python", "ok", found)
    return Check(
        "python", "warn", found, "geoseg is tested on Python 3.11, 3.12 and 3.13: make an environment of one"
    )


def library(name: str) -> Check:
    """A library that every run needs."""
    loaded = _imported(name)
    if isinstance(loaded, str):
        return Check(name, "fail", loaded, f"install it anew: pip install --force-reinstall {name}")
    return Check(name, "ok", str(loaded.__version__))


def gdal() -> Check:
    """The drivers that GDAL has: those that geoseg opens, and none that opens other files."""
    loaded = _imported("rasterio.env"), _imported("geoseg.io.formats"), _imported("rasterio")
    failed = next((module for module in loaded if isinstance(module, str)), None)
    if failed is not None:
        return Check("gdal", "fail", failed, "mend rasterio first")
    environment, ours, rasterio = (module for module in loaded if isinstance(module, ModuleType))
    with environment.Env() as env:
        there = env.drivers()
    missing = [name for name in ours.RASTER_DRIVERS if name not in there]
    open_doors = [name for name in _DANGEROUS if name in there]
    found = f"{rasterio.__gdal_version__}, opens {', '.join(ours.RASTER_DRIVERS)}; "
    found += f"{len(gdal_environment()['GDAL_SKIP'].split(','))} drivers are skipped"
    if "GTiff" in missing:
        return Check("gdal", "fail", f"{found}; no GTiff", "install rasterio's wheel: pip install rasterio")
    if missing:
        return Check("gdal", "warn", f"{found}; without {', '.join(missing)}", "convert such rasters to GeoTIFF")
    if open_doors:
        return Check(
            "gdal",
            "warn",
            f"{found}; but {', '.join(open_doors)} loaded all the same",
            "geoseg names drivers at every open, so it is safe; your own code in this process may not be",
        )
    return Check("gdal", "ok", found)


def torchvision() -> Check:
    """A library that geoseg does not need, but that breaks others where it does not fit torch."""
    if importlib.util.find_spec("torchvision") is None:
        return Check("torchvision", "ok", "not installed, and not needed")
    loaded = _imported("torchvision")
    if isinstance(loaded, str):
        remedy = "geoseg does without: pip uninstall torchvision, or install the one made for this torch"
        return Check("torchvision", "warn", f"broken ({loaded})", remedy)
    return Check("torchvision", "ok", f"{loaded.__version__}, not needed")


def gpu() -> Check:
    """CUDA devices, as torch sees them."""
    torch = _imported("torch")
    if isinstance(torch, str):
        return Check("gpu", "fail", torch, "mend torch first")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        return Check("gpu", "ok", ", ".join(names))
    if shutil.which("nvidia-smi") is None:
        return Check("gpu", "ok", "none, so the CPU computes")
    if torch.version.cuda is None:
        remedy = "install torch's CUDA build: pip install --force-reinstall torch"
        return Check("gpu", "warn", f"an NVIDIA driver is here, torch {torch.__version__} is a CPU build", remedy)
    return Check(
        "gpu",
        "warn",
        f"an NVIDIA driver is here, torch {torch.__version__} finds no GPU",
        "run nvidia-smi: the driver must be as new as CUDA " + str(torch.version.cuda),
    )


def memory(available: int) -> Check:
    """What is left of the machine's memory, in bytes."""
    found = f"{megabytes(available)} available"
    if available < _MEMORY_BYTES:
        return Check("memory", "warn", found, "close other programs, or map with --workers 1 or --local")
    return Check("memory", "ok", found)


def disk(name: str, folder: Path, free: int) -> Check:
    """What is left where a run may go, in bytes."""
    found = f"{megabytes(free)} free in {folder}"
    if not os.access(folder, os.W_OK):
        return Check(name, "warn", f"{folder} cannot be written", "name another folder with -o (or TMPDIR)")
    if free < _DISK_BYTES:
        return Check(name, "warn", found, "make room: a run takes about 3 bytes for each pixel of its grid")
    return Check(name, "ok", found)


def ray() -> Check:
    """Whether Ray starts here and does a piece of work."""
    loaded = _imported("ray")
    if isinstance(loaded, str):
        return Check("ray", "fail", loaded, "pip install --force-reinstall ray; until then map with --local")
    code = (
        "from geoseg.cluster.runner import RayRunner\n"
        "from geoseg.commands.doctor import Nothing\n"
        "from geoseg.runner import Unit\n"
        "with RayRunner(1, 1, gpu=False) as runner:\n"
        "    (report,) = runner.run(Nothing(), [Unit('0', 0)])\n"
        "assert report.error is None, report.error\n"
    )
    # In a process of its own: Ray may hang, and takes signals for itself.
    problem = _problem([sys.executable, "-c", code])
    if problem is None:
        return Check("ray", "ok", f"{loaded.__version__}, started and did a piece of work")
    remedy = "look into /tmp/ray/session_latest/logs; until then map with --local"
    if "socket" in problem:
        remedy = "Ray's files need a short path: set RAY_TMPDIR=/tmp; or map with --local"
    return Check("ray", "fail", f"{loaded.__version__} does not start: {problem}", remedy)


class Nothing:
    """A job that does nothing, to see whether anything can be done."""

    def open(self) -> Callable[[int], dict[str, int]]:
        """Nothing to prepare."""
        return lambda item: {"item": item}


def model() -> Check:
    """The default model."""
    catalog = _imported("geoseg.catalog")
    if isinstance(catalog, str):
        return Check("model", "fail", catalog, "mend the libraries above first")
    name = catalog.DEFAULT_MODEL
    try:
        card = catalog.load_model(name).card
    except geoseg.ModelError as error:
        return Check("model", "fail", str(error), "install geoseg anew, or fetch the package again")
    return Check("model", "ok", f"{name}: {card.architecture.name}, {card.imagery.ground_resolution_m:g} m a pixel")


def small_run(geoseg_command: list[str]) -> Check:
    """A scene made here, mapped with the default model in a process of its own; nothing of it is left.

    Args:
        geoseg_command: How the command line is called.
    """
    with tempfile.TemporaryDirectory(prefix="geoseg-doctor-") as folder:
        scene, run = Path(folder, "scene.tif"), Path(folder, "run")
        try:
            _make_scene(scene)
        except (ImportError, OSError, RuntimeError) as error:
            return Check("run", "fail", f"no scene can be written: {error}", "mend rasterio first")
        problem = _problem([*geoseg_command, "map", str(scene), "-o", str(run), "--local", "--device", "cpu"])
        if problem is None and not (run / "layers" / "geoseg.gpkg").is_file():
            problem = "no layers were written"
    if problem is not None:
        return Check(
            "run", "fail", problem, "mend what fails above; else report it with the output of this command"
        )
    return Check("run", "ok", f"a scene of {_SCENE_PX} x {_SCENE_PX} px was mapped to layers")


def available_memory() -> int:
    """Bytes that new programs may take: of the machine, or of the container's limit where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo, limit = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        total = int(lines["MemAvailable"].split()[0]) * 1024
    if limit.exists() and (words := limit.read_text().strip()).isdigit():
        used = int(limit.with_name("memory.current").read_text())
        total = min(total, max(0, int(words) - used))
    return total


def _make_scene(path: Path) -> None:
    import numpy as np  # noqa: PLC0415  # judged above, and may be broken
    import rasterio  # noqa: PLC0415  # the same
    from affine import Affine  # noqa: PLC0415  # the same

    patches_chw = np.random.default_rng(0).integers(0, 256, (3, 10, 10)).repeat(32, axis=1).repeat(32, axis=2)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype="uint8",
        count=3,
        height=_SCENE_PX,
        width=_SCENE_PX,
        crs="EPSG:32640",
        transform=Affine(1, 0, 320000, 0, -1, 2770000),
        photometric="rgb",
    ) as scene:
        scene.write(patches_chw.astype(np.uint8))


def _imported(name: str) -> ModuleType | str:
    """A module, or in a line why it cannot be imported."""
    try:
        return importlib.import_module(name)
    # What broken binaries raise: a missing library or symbol, a version that does not fit, an operator twice.
    except (ImportError, OSError, RuntimeError, AttributeError, ValueError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _problem(command: list[str]) -> str | None:
    """Run a command; None if it did well, else the last line that it said."""
    try:
        done = subprocess.run(  # noqa: S603  # our own interpreter and code
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_RUN_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return f"no end after {_RUN_LIMIT_S} s"
    if done.returncode == 0:
        return None
    said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("{")]
    return f"exit code {done.returncode}: {said[-1] if said else 'nothing said'}"
