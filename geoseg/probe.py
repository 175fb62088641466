"""How long a run may take, from a few timed tiles."""

import statistics

import torch

from geoseg.models.fetched import package_folder
from geoseg.models.folding import fold_batch_norms
from geoseg.models.package import load_package
from geoseg.plan import RunPlan
from geoseg.predict import Predictor
from geoseg.speed import pass_seconds
from geoseg.threads import torch_threads

_TIMED = 3
_BESIDE = 1.3
"""Reading, blending, writing and starting take about so many times the network alone."""


def probe(plan: RunPlan) -> str:
    """What the mosaic may take, in words: batches of noise through the model on the device of the plan.

    Workers are taken to run as fast side by side as one alone, and every tile to hold data.

    Args:
        plan: The run, decided.

    Raises:
        ModelError: The model package cannot be read.
    """
    if plan.numerics.elsewhere and plan.numerics.device != "cpu":
        return f"as long as {plan.workers} GPU(s) of the cluster need, which this machine cannot time"
    numerics = plan.numerics
    predictor = Predictor(fold_batch_norms(load_package(package_folder(plan.model_path)).build()), numerics)
    side = plan.blocks.lattice.tile_px
    noise_nchw = torch.randn(numerics.batch, len(plan.imagery.bands), side, side)
    with torch_threads(numerics.threads):
        seconds = pass_seconds(predictor, noise_nchw, 1, _TIMED)
    tile_s = statistics.median(seconds) / numerics.batch
    total_s = plan.blocks.tiles_evaluated * tile_s * _BESIDE / plan.workers
    return f"about {_duration(total_s)} for the mosaic ({tile_s:.3g} s a tile, {_TIMED} timed)"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
