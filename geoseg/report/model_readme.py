"""README.md of a model package, made from its card: what it maps, how well, and what it is no good for."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from geoseg.errors import ModelError, StoppedError
from geoseg.models.card import Card
from geoseg.models.quality import Agreement, Calibration, Intended, Likeness, SplitMetrics
from geoseg.report.figure_file import write_whole
from geoseg.runner import is_disk_full

README_NAME = "README.md"
"""The file; nothing of the package depends on it."""

FAILURES_NAME = "failures.png"
"""The picture beside it."""

_MOST = 40
"""Entries of a list that are shown."""


def model_readme(card: Card, failures: str | None = None) -> str:
    """The text, in Markdown; every number in it is the card's.

    Args:
        card: The card.
        failures: Name of a picture of where the model fails, beside the text; None where there is none.
    """
    parts = [
        f"# {_text(card.name)}",
        _text(card.description),
        *_maps(card),
        *_purpose(card.intended),
        *_quality(card),
        *(() if card.agreement is None else _agreement(card.agreement)),
        *(() if card.calibration is None else _calibration(card.calibration)),
        *(() if failures is None else _failures(failures)),
        *_training(card.training),
        *_study(card.training.get("study")),
        "## Use",
        "```\ngeoseg map SCENE.tif --model PATH/TO/THIS/FOLDER -o RUN\n```",
        '```python\nimport geoseg\n\ngeoseg.map_scenes("SCENE.tif", "RUN", model="PATH/TO/THIS/FOLDER")\n```',
        "## Licence and attribution",
        f"Weights: {_text(card.licence)}",
        _list(_text(one) for one in card.attribution),
        "Made by geoseg from card.json, which has the rest.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_model_readme(folder: Path, card: Card) -> Path:
    """Write README.md into a package, with the picture of failures where one lies there.

    Args:
        folder: The package.
        card: Its card.

    Raises:
        ModelError: It cannot be written.
        StoppedError: The disk is full.
    """
    path = folder / README_NAME
    text = model_readme(card, FAILURES_NAME if (folder / FAILURES_NAME).is_file() else None)
    try:
        write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
    except OSError as error:
        if is_disk_full(error):
            raise StoppedError(f"the disk is full: {path} was not written") from error
        raise ModelError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _maps(card: Card) -> Iterator[str]:
    imagery, network = card.imagery, card.architecture
    yield (
        f"It maps imagery of {_text(', '.join(imagery.bands))} ({imagery.dtype}), read at "
        f"{imagery.ground_resolution_m:g} m a pixel, with a {network.name} of width {network.width:g} "
        f"({card.weights.bytes / 1e6:.1f} MB of weights)."
    )
    rows = [[_text(label.name), _text(label.layer or "-"), label.kind, label.color] for label in card.classes]
    yield _table(["class", "layer", "kind", "colour"], rows)


def _purpose(intended: Intended | None) -> Iterator[str]:
    yield "## What it is meant for"
    if intended is None:
        yield "Its author does not say: judge it on labels of your own before you rely on it."
        return
    if intended.ground_resolution_m is not None:
        low, high = intended.ground_resolution_m
        yield f"Imagery with a ground resolution of {low:g} to {high:g} m."
    if intended.places is not None:
        yield _text(intended.places)
    if intended.notes is not None:
        yield _text(intended.notes)
    if intended.not_for:
        yield "What it is not good for:"
        yield _list(_text(one) for one in intended.not_for)


def _quality(card: Card) -> Iterator[str]:
    yield "## How well it does"
    if not card.metrics:
        yield "It was not measured."
        return
    yield (
        "Intersection over union with the labels of whole regions, with 95 % intervals from drawing pieces of them "
        "anew. Labels have errors of their own."
    )
    splits = list(card.metrics.items())
    rows = [[_text(name), *_scores(splits, name)] for name in card.labels.names]
    means = [_with_interval(metrics.miou, metrics.miou_interval) for _, metrics in splits]
    yield _table(["class", *(_text(split) for split, _ in splits)], [*rows, ["**mean**", *means]])
    yield _list(_split_line(split, metrics) for split, metrics in splits)


def _scores(splits: Sequence[tuple[str, SplitMetrics]], name: str) -> Iterator[str]:
    for _, metrics in splits:
        yield _with_interval(metrics.iou[name], metrics.iou_intervals.get(name))


def _split_line(split: str, metrics: SplitMetrics) -> str:
    ece = "" if metrics.ece is None else f", calibration error of the maps {metrics.ece:.3f}"
    shown = ", ".join(f"`{_code(region)}`" for region in metrics.regions[:_MOST])
    more = ", and more" if len(metrics.regions) > _MOST else ""
    accuracy = f"pixel accuracy {metrics.pixel_accuracy:.3f}"
    return f"{_text(split)}: {metrics.pixels} labelled pixels, {accuracy}{ece}; regions {shown}{more}"


def _agreement(agreement: Agreement) -> Iterator[str]:
    yield "## What two annotators agree on"
    where = ", ".join(f"{count} in split {_text(split)}" for split, count in agreement.splits.items())
    where = where or "none of them in a split"
    yield (
        f"`{_code(agreement.first)}` and `{_code(agreement.second)}` are labels of the same ground by two "
        f"annotators. On the {agreement.annotators.pixels} pixels that both know ({where}) "
        "they agree as far as this; scores against one of them cannot be expected much above it."
    )
    columns: list[tuple[str, Likeness]] = [("the annotators", agreement.annotators)]
    for split, one in agreement.model.items():
        columns.append((f"the model against the first, {_text(split)}", one.first))
        columns.append((f"the model against the second, {_text(split)}", one.second))
    rows = [
        [_text(name), *(_with_interval(likeness.iou.get(name), None) for _, likeness in columns)]
        for name in agreement.annotators.iou
    ]
    means = [_with_interval(likeness.miou, None) for _, likeness in columns]
    yield _table(["class", *(words for words, _ in columns)], [*rows, ["**mean**", *means]])
    if "train" in agreement.splits:
        yield "The model was trained on the part in split train: its scores there would say nothing; left out."


def _calibration(calibration: Calibration) -> Iterator[str]:
    yield "## How sure it is"
    yield (
        f"Its logits were divided by {calibration.temperature:.3f}, fitted on split {_text(calibration.fitted_on)} "
        "(temperature scaling, Guo et al. 2017), so that confidence and probabilities are right about as often as "
        f"they say. Expected calibration error in {calibration.bins} bins, on samples of single tiles:"
    )
    rows = [
        [_text(split), _figure(one.ece_before), _figure(one.ece_after), str(one.pixels)]
        for split, one in calibration.splits.items()
    ]
    yield _table(["split", "before", "after", "pixels"], rows)
    if calibration.note is not None:
        yield _text(calibration.note[0].upper() + calibration.note[1:] + ".")


def _failures(name: str) -> Iterator[str]:
    yield "## Where it fails"
    yield (
        "The validation windows of the lowest mean IoU, the worst first; from left to right the image, its labels, "
        "what the model says, and where that is right (blue) and wrong (orange); grey is not known."
    )
    yield f"![Image, labels, prediction and differences of the worst validation windows]({name})"


def _training(training: Mapping[str, JsonValue]) -> Iterator[str]:
    yield "## What it was trained on"
    data = training.get("data")
    if isinstance(data, list):
        entries = [entry for entry in data if isinstance(entry, dict)]
        yield _list(_entry(entry) for entry in entries[:_MOST])
        if len(entries) > _MOST:
            yield "And more: see card.json."
    facts = [
        (words, training[key])
        for words, key in (
            ("weights of iteration", "iteration"),
            ("iterations done", "iterations"),
            ("device", "device"),
            ("geoseg", "geoseg"),
            ("torch", "torch"),
        )
        if isinstance(training.get(key), str | int | float)
    ]
    recipe = training.get("recipe")
    if isinstance(recipe, dict):
        facts += [(key, value) for key, value in recipe.items() if isinstance(value, str | int | float)]
        loss = recipe.get("loss")
        if isinstance(loss, dict):
            facts += [(f"loss {key}", value) for key, value in loss.items() if isinstance(value, str | int | float)]
    start = training.get("start_from")
    if isinstance(start, dict) and isinstance(start.get("model"), str):
        facts.append(("trained further from", start["model"]))
    if facts:
        yield _table(["recipe", ""], [[_text(words), _text(_word(value))] for words, value in facts])


def _study(study: JsonValue) -> Iterator[str]:
    """The table that `geoseg study` wrote, where the author of a model put it into the card's `training`."""
    found = study.get("rows") if isinstance(study, dict) else None
    if not isinstance(study, dict) or not isinstance(found, list):
        return
    rows = [row for row in found if isinstance(row, dict)]
    columns = {"run": "run", "what differs": "differs", "val mIoU": "miou", "from": "miou_low", "to": "miou_high"}
    columns |= {"best at": "best_iteration", "of": "iterations", "end": "end", "minutes": "minutes"}
    columns |= {"M parameters": "parameters_millions", "ground Mpx/s": "ground_mpx_per_s"}
    yield "## What its recipe was chosen from"
    yield _text(str(study.get("description", "")))
    yield _table(list(columns), [[_text(_word(row.get(key))) for key in columns.values()] for row in rows])
    notes = study.get("notes")
    said = [study.get("rule"), *(notes if isinstance(notes, list) else ())]
    yield _list(_text(one) for one in said if isinstance(one, str))


def _entry(entry: Mapping[str, JsonValue]) -> str:
    labels = entry.get("labels")
    files = labels if isinstance(labels, str) else ", ".join(labels) if isinstance(labels, dict) else ""
    return f"{_text(str(entry.get('split')))}: `{_code(str(entry.get('image')))}` with `{_code(files)}`"


def _word(value: JsonValue) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case None | "":
            return "-"
        case _:
            return str(value)


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return _figure(value)
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _text(text: str) -> str:
    """Words in which nothing is Markdown or HTML."""
    escaped = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(text: str) -> str:
    """Words for a code span in a table or list: what would end it is left out."""
    return text.replace("`", "'").replace("|", "/")
