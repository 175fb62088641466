"""What a run was planned as, so far as its results are read by it."""

from dataclasses import dataclass
from typing import Any, Self

from geoseg.errors import RunFolderError
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelClass, LabelSet


@dataclass(frozen=True, slots=True)
class Planned:
    """What plan.json says that an export must know.

    Attributes:
        labels: The classes.
        scenes: Name and date of each scene.
        shapes: What outlines and features depend on besides the mosaic.
        network: Likewise a network.
    """

    labels: LabelSet
    scenes: tuple[tuple[str, str | None], ...]
    shapes: dict[str, Any]
    network: dict[str, Any]

    @classmethod
    def of(cls, run: RunFolder) -> Self:
        """What a run's plan says.

        Raises:
            RunFolderError: plan.json is of another version.
        """
        plan = run.existing_plan() or {}
        try:
            return cls(
                labels=LabelSet(tuple(LabelClass(**label) for label in plan["labels"])),
                scenes=tuple((str(scene["name"]), scene["date"]) for scene in plan["scenes"]),
                shapes=plan["shapes"],
                network=plan["network"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(
                f"{run.plan_file} does not say what an export must know ({error}): remove {run.run_file}, then "
                "repeat the run's geoseg map command, which finds the rest done"
            ) from error
