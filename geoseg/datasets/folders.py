"""Folders of images and of label rasters, paired by name; and the layouts of public sets that are kept so."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from geoseg.datasets.files import IMAGE_SUFFIXES, LABEL_FOLDERS, LABEL_SUFFIXES, files_in, inside, refuse_missing
from geoseg.datasets.rasters import RasterChip
from geoseg.errors import ConfigError, SceneError

VOID = frozenset({"255"})
"""What is ignored in most indexed labels (VOC, Cityscapes' train ids, COCO-Stuff)."""

_IMAGE_ENDS = ("_leftImg8bit", "_image", "_img", "_sat", "_rgb")
_LABEL_ENDS = (
    "_gtFine_labelIds",
    "_gtFine_labelTrainIds",
    "_gtFine_color",
    "_labels",
    "_label",
    "_mask",
    "_gt",
    "_seg",
)
"""What is cut off the end of a name where there is no partner of the very same name."""

_CITYSCAPES_VOID = frozenset(map(str, (-1, *range(7), 9, 10, 14, 15, 16, 18, 29, 30, 255)))
"""Label ids that the benchmark does not score (labels.py of cityscapesScripts)."""


def read_folders(
    path: Path, images: Path | None, subset: str | None, ignored: frozenset[str]
) -> tuple[RasterChip, ...]:
    """Images and label rasters in two folders.

    A label belongs to the image in the same folder within (a/b.png: a/b.jpg) of the same name without suffix; where
    there is none, `_leftImg8bit`, `_image`, `_img`, `_sat` or `_rgb` is cut off the image's name and
    `_gtFine_labelIds`, `_gtFine_labelTrainIds`, `_gtFine_color`, `_labels`, `_label`, `_mask`, `_gt` or `_seg` off
    the label's. Both may lie in one folder; then labels are the files that end so.

    Args:
        path: The folder that holds `images` and one of `labels`, `masks`, `annotations`, `label`, `mask` or `gt`;
            or, where `images` is given, that of the labels.
        images: The folder of the images.
        subset: A folder within both, such as train; None for all.
        ignored: Values or colours that are ignored where no class is given to them.

    Raises:
        ConfigError: There are no such folders, or an image or label has no partner, or several.
    """
    if images is not None:
        labels = path
    else:
        images = path / "images"
        labels = next((path / name for name in LABEL_FOLDERS if (path / name).is_dir()), path / LABEL_FOLDERS[0])
    return _paired(_within(images, subset), _within(labels, subset), ignored)


def read_voc(path: Path, subset: str | None, ignored: frozenset[str] | None) -> tuple[RasterChip, ...]:
    """Pascal VOC: JPEGImages, SegmentationClass with palettes, and lists of names (Everingham et al. 2010).

    Args:
        path: The folder that holds them (VOC2012).
        subset: A list in ImageSets/Segmentation, such as train; None for all labels that there are.
        ignored: Values that are ignored; by default 255, the void of borders.

    Raises:
        ConfigError: A folder, list, image or label is not there.
        SceneError: The list cannot be read.
    """
    labels = files_in(path / "SegmentationClass", {".png"})
    if subset is not None:
        listed = _names_in(inside(path / "ImageSets" / "Segmentation", f"{subset}.txt", f"the subset of {path}"))
        by_name = {label.stem: label for label in labels}
        refuse_missing(set(listed) - set(by_name), f"a label in {path / 'SegmentationClass'}", "put it there")
        labels = [by_name[name] for name in listed]
    images = {image.stem: image for image in files_in(path / "JPEGImages", IMAGE_SUFFIXES)}
    missing = [label.stem for label in labels if label.stem not in images]
    refuse_missing(missing, f"an image in {path / 'JPEGImages'}", "put it there")
    ignored = VOID if ignored is None else ignored
    return _some(path, tuple(RasterChip(images[label.stem], label, ignored) for label in labels))


def read_cityscapes(path: Path, subset: str | None, ignored: frozenset[str] | None) -> tuple[RasterChip, ...]:
    """Cityscapes: leftImg8bit and gtFine, with folders for splits and cities (Cordts et al., CVPR 2016).

    Labels are the files `_gtFine_labelIds.png`; where there are none, `_gtFine_labelTrainIds.png`.

    Args:
        path: The folder that holds both.
        subset: The split, such as train; None for all.
        ignored: Values that are ignored; by default 255 and the label ids that the benchmark does not score.

    Raises:
        ConfigError: A folder is not there, or an image or label has no partner.
    """
    found = files_in(_within(path / "gtFine", subset), {".png"})
    for end in ("_gtFine_labelIds", "_gtFine_labelTrainIds"):
        labels = [file for file in found if file.stem.endswith(end)]
        if labels:
            break
    else:
        raise ConfigError(f"expected labels named *_gtFine_labelIds.png in {path / 'gtFine'}, got none")
    chosen = ignored if ignored is not None else _CITYSCAPES_VOID if end == "_gtFine_labelIds" else VOID
    roots = _within(path / "leftImg8bit", subset), _within(path / "gtFine", subset)
    return _pairs(files_in(roots[0], IMAGE_SUFFIXES), roots[0], labels, roots[1], chosen)


def read_ade20k(path: Path, subset: str | None, ignored: frozenset[str] | None) -> tuple[RasterChip, ...]:
    """ADE20K as its scene parsing benchmark keeps it: images and annotations (Zhou et al., CVPR 2017).

    Args:
        path: The folder that holds both (ADEChallengeData2016).
        subset: training or validation; None for both.
        ignored: Values that are ignored; by default 0, what has no label.

    Raises:
        ConfigError: A folder is not there, or an image or label has no partner.
    """
    roots = _within(path / "images", subset), _within(path / "annotations", subset)
    return _paired(*roots, frozenset({"0"}) if ignored is None else ignored)


def read_coco_stuff(path: Path, subset: str | None, ignored: frozenset[str] | None) -> tuple[RasterChip, ...]:
    """COCO-Stuff's maps of pixels: images and annotations, a value for each category (Caesar et al., CVPR 2018).

    Args:
        path: The folder that holds both.
        subset: train2017 or val2017; None for both.
        ignored: Values that are ignored; by default 255, what has no label.

    Raises:
        ConfigError: A folder is not there, or an image or label has no partner.
    """
    roots = _within(path / "images", subset), _within(path / "annotations", subset)
    return _paired(*roots, VOID if ignored is None else ignored)


def _within(folder: Path, subset: str | None) -> Path:
    return folder if subset is None else inside(folder, subset, "the subset")


def _names_in(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError as error:
        raise ConfigError(
            f"expected a list of names at {path}, there is none; leave the subset out for all"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SceneError(f"{path} cannot be read ({error}): expected a list of names, a line each") from error
    return sorted({line.split()[0] for line in lines if line.strip()})


def _paired(images: Path, labels: Path, ignored: frozenset[str]) -> tuple[RasterChip, ...]:
    found, lossy = files_in(labels, LABEL_SUFFIXES), files_in(labels, {".jpg", ".jpeg"})
    pictures = files_in(images, IMAGE_SUFFIXES)
    if images.resolve() == labels.resolve():
        found = [file for file in found if file.stem.endswith(_LABEL_ENDS)]
        pictures = [file for file in pictures if file not in found]
    elif lossy:
        raise ConfigError(f"{lossy[0]} is a JPEG, which blurs labels: expected PNG or TIFF; export the labels anew")
    return _pairs(pictures, images, found, labels, ignored)


def _pairs(
    images: Sequence[Path], image_root: Path, labels: Sequence[Path], label_root: Path, ignored: frozenset[str]
) -> tuple[RasterChip, ...]:
    """Pairs by name; refuses what is left over."""
    by_name = _keyed((image.relative_to(image_root).with_suffix("") for image in images), images)
    of_labels = _keyed((label.relative_to(label_root).with_suffix("") for label in labels), labels)
    pairs = {name: (by_name.pop(name), of_labels.pop(name)) for name in sorted(by_name.keys() & of_labels.keys())}
    short_images = _keyed((_cut(name, _IMAGE_ENDS) for name in by_name), list(by_name.values()))
    short_labels = _keyed((_cut(name, _LABEL_ENDS) for name in of_labels), list(of_labels.values()))
    for name in sorted(short_images.keys() & short_labels.keys()):
        pair = short_images.pop(name), short_labels.pop(name)
        if name in pairs:
            raise ConfigError(
                f"expected one image and one label named {name}, got {pair[0]} besides {pairs[name][0]}"
            )
        pairs[name] = pair
    refuse_missing(
        [str(path) for path in short_images.values()], f"a label in {label_root} for each image", "remove the image"
    )
    refuse_missing(
        [str(path) for path in short_labels.values()],
        f"an image in {image_root} for each label",
        "remove the label",
    )
    return _some(image_root, tuple(RasterChip(*pairs[name], ignored) for name in sorted(pairs)))


def _keyed(names: Iterable[Path], paths: Sequence[Path]) -> dict[Path, Path]:
    keyed: dict[Path, Path] = {}
    for name, path in zip(names, paths, strict=True):
        if name in keyed:
            raise ConfigError(f"expected one file named {name.name}, got {keyed[name]} and {path}: remove one")
        keyed[name] = path
    return keyed


def _cut(name: Path, ends: tuple[str, ...]) -> Path:
    end = next((end for end in ends if name.name.endswith(end) and name.name != end), "")
    return name.with_name(name.name.removesuffix(end))


def _some(where: Path, chips: tuple[RasterChip, ...]) -> tuple[RasterChip, ...]:
    if not chips:
        raise ConfigError(f"expected images with labels in {where}, got none")
    return chips
