"""The folder that shows a training: report.html and its pictures."""

from pathlib import Path

from geoseg.report.figure_file import write_whole
from geoseg.report.training_facts import TrainingFacts
from geoseg.report.training_figures import write_chips, write_confusion, write_curves, write_iou
from geoseg.report.training_page import training_page


def write_training_report(folder: Path, facts: TrainingFacts) -> Path:
    """Write the page of a training and its pictures.

    There are curves.png, iou.png, confusion_SPLIT.png for each split, chips_best.png and chips_worst.png where
    there are such chips, and report.html, which holds all of it by itself. Files of that name are replaced, each in
    one step; pictures of an earlier report that this one does not have are removed.

    Args:
        folder: Where; made if it is not there.
        facts: What to show.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures: list[tuple[str, str]] = []
    if facts.curve:
        write_curves(folder / "curves.png", facts)
        pictures.append(("curves.png", "Learning curves"))
    if facts.splits:
        write_iou(folder / "iou.png", facts.splits, facts.labels)
        pictures.append(("iou.png", "IoU of each class"))
    for split in facts.splits:
        name = f"confusion_{split.split}.png"
        write_confusion(folder / name, split, facts.labels)
        pictures.append((name, f"Confusion matrix of {split.split}"))
    for which, chips in (("best", facts.best), ("worst", facts.worst)):
        if chips:
            title = f"Validation chips that went {which}"
            write_chips(folder / f"chips_{which}.png", chips, facts.labels, title)
            pictures.append((f"chips_{which}.png", title))
    written = {name for name, _ in pictures}
    for pattern in ("curves.png", "iou.png", "confusion_*.png", "chips_best.png", "chips_worst.png"):
        for old in folder.glob(pattern):
            if old.name not in written:
                old.unlink()
    page = folder / "report.html"
    text = training_page(facts, tuple(pictures))
    write_whole(page, lambda part: part.write_text(text, encoding="utf-8"))
    return page
