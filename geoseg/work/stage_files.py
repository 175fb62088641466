"""Files that a stage leaves for the next, in a folder named by what they depend on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geoseg.io.place import Place, name_within, remove_all
from geoseg.io.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class StageFiles:
    """The files of one stage.

    A folder for each set of conditions: what a killed process left there, without a marker, can never be taken for
    what other conditions give.

    Attributes:
        run: The RUN folder.
        stage: Name of the stage.
        depends: Hash of all that the files depend on.
    """

    run: RunFolder
    stage: str
    depends: str

    @property
    def folder(self) -> Place:
        """Where the files lie."""
        return self.run.ledger(self.stage).folder / self.depends[:16]

    def remove_others(self) -> frozenset[str]:
        """Remove what depends on something else; returns the keys of the units that are done."""
        ledger = self.run.ledger(self.stage)
        done = ledger.done_for(self.depends)
        for path in ledger.folder.glob("*/"):
            if path != self.folder:
                remove_all(path)
        self.folder.mkdir(parents=True, exist_ok=True)
        return done

    def commit(self, key: str, files: Mapping[Place, str], more: Mapping[str, Any]) -> None:
        """Mark a unit as finished: the sha256 of each file that it wrote, and more that its marker says."""
        named = {name_within(file, self.run.path): sha256 for file, sha256 in files.items()}
        self.run.ledger(self.stage).commit(key, {"depends": self.depends, "files": named, **more})
