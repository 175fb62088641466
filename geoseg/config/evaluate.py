"""The configuration of an evaluation: the options of `geoseg evaluate` in a file."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from geoseg.config.command import CommandConfig, FilesOrByClass
from geoseg.config.sections import NotNegative, Positive


class EvaluateConfig(CommandConfig):
    """An evaluation; each key is the option of `geoseg evaluate` of that name, null or no key leaves it as usual.

    Attributes:
        kind: Always "evaluate".
        subject: A model, by name or folder, or the folder of a run; from the working folder.
        output: A JSON file for the figures, from the working folder.
        data: Of a model: a training configuration that lists scenes and labels, from the working folder.
        split: Of a model: which regions.
        data_root: Of a model: folder that the paths of `data` start from.
        device: Of a model: "cpu", "cuda" or "cuda:N".
        threads: Of a model: its CPU threads.
        labels: Of a run: the reference; a file, or one for each class by name. Files start from the data root.
        class_attribute: Of a run: attribute that names the class.
        value: Of a run: from values of the labels to classes.
        aoi: Of a run: only what lies within these polygons counts; from the data root.
        boundary: Of a run: distances at which boundaries are compared, metres.
        buffer: Of a run: around roads, metres.
        components: Of a run: whether panoptic figures are those of connected components.
        fail_under: Least figures by name.
        marked: Of a run: a GeoPackage of what is true, false and missed, from the working folder.
        force: Whether the file of `marked` is replaced.
    """

    data_keys: ClassVar[frozenset[str]] = frozenset({"labels", "aoi"})

    kind: Literal["evaluate"]
    subject: Annotated[str, Field(min_length=1)]
    output: str | None = None
    data: str | None = None
    split: Literal["train", "val", "test"] | None = None
    data_root: str | None = None
    device: str | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    labels: FilesOrByClass | None = None
    class_attribute: str | None = None
    value: dict[Annotated[str, BeforeValidator(str)], str] | None = None
    aoi: str | None = None
    boundary: tuple[Positive, ...] | None = None
    buffer: NotNegative | None = None
    components: bool | None = None
    fail_under: dict[str, float] | None = None
    marked: str | None = None
    force: bool | None = None

    @model_validator(mode="after")
    def _has_a_reference(self) -> Self:
        if (self.data is None) == (self.labels is None):
            came = "neither" if self.data is None else "both"
            raise ValueError(f"expected either data (of a model) or labels (of a run), got {came}")
        return self
