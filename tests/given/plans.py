"""Plans of runs of one scene, without the command that makes them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from geoseg.io.region import Region
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.layering import LayerOptions
from geoseg.layout import TileOptions, lay_blocks, worker_bytes
from geoseg.models.package import load_package
from geoseg.plan import RunPlan
from geoseg.predict import Numerics


def plan_of(
    scene: Path,
    model_path: Path,
    *,
    options: SceneOptions | None = None,
    tiles: TileOptions | None = None,
    **changes: Any,  # noqa: ANN401  # any field of a plan
) -> RunPlan:
    """A plan on one CPU thread and one worker, in which no object is too small.

    Args:
        scene: The scene.
        model_path: The model package.
        options: How the scene is read.
        tiles: Blocks and tiles.
        changes: What is different.
    """
    model = load_package(model_path)
    ref = describe_scene(str(scene), model.imagery, options or SceneOptions())
    blocks = lay_blocks(ref.grid.height, ref.grid.width, model, tiles or TileOptions())
    plan = RunPlan(
        region=Region.of(ref, Path(ref.path).name),
        model_path=str(model_path),
        model_name=model.card.name,
        model_identity=model.identity,
        labels=model.labels,
        imagery=model.imagery,
        blocks=blocks,
        probability=False,
        layers=LayerOptions(0, 0),
        numerics=Numerics("cpu", "fp32", 1, 1),
        workers=1,
        worker_bytes=worker_bytes(model, blocks, 1),
        warnings=(),
    )
    return replace(plan, **changes)
