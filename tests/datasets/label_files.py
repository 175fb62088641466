"""Small sets of labelled chips on disk, a writer for each format that can hold a mask or an outline."""

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_tools

from geoseg.datasets.chips import Chip
from geoseg.datasets.formats import read_chips


def write_image(path: Path, shape: tuple[int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", shape[::-1], (90, 120, 60)).save(path)
    return path


def coco_document(shape: tuple[int, int], segmentations: list[Any], **more: object) -> dict[str, Any]:
    annotations = [
        {"id": number, "image_id": 1, "category_id": 7, "segmentation": some, "iscrowd": 0, **more}
        for number, some in enumerate(segmentations)
    ]
    return {
        "images": [{"id": 1, "file_name": "chip.png", "height": shape[0], "width": shape[1]}],
        "annotations": annotations,
        "categories": [{"id": 7, "name": "roof"}],
    }


def labelme_document(shape: tuple[int, int], shapes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": "5.5.0",
        "shapes": [{"label": "roof", **some} for some in shapes],
        "imagePath": "chip.png",
        "imageData": None,
        "imageHeight": shape[0],
        "imageWidth": shape[1],
    }


def supervisely_document(shape: tuple[int, int], objects: list[dict[str, Any]]) -> dict[str, Any]:
    found = [{"classTitle": "roof", **some} for some in objects]
    return {"size": {"height": shape[0], "width": shape[1]}, "tags": [], "objects": found}


def cvat_document(shape: tuple[int, int], elements: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task/></meta>\n'
        f'<image id="0" name="chip.png" width="{shape[1]}" height="{shape[0]}">\n{elements}\n</image></annotations>'
    )


def supervisely_bitmap(mask_hw: NDArray[np.bool_]) -> str:
    """As its own library writes it: a palette of two, the first transparent, deflated once more."""
    picture = Image.fromarray((mask_hw * np.uint8(255)).astype(np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 255, 255, 255])
    content = io.BytesIO()
    picture.save(content, format="PNG", transparency=0, optimize=0)
    return base64.b64encode(zlib.compress(content.getvalue())).decode()


def png_text(mask_hw: NDArray[np.bool_]) -> str:
    content = io.BytesIO()
    Image.fromarray(mask_hw).save(content, format="PNG")
    return base64.b64encode(content.getvalue()).decode()


def runs(flat: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs, one pixel after the other."""
    found, last = [0], False
    for marked in flat.tolist():
        if marked != last:
            found.append(0)
            last = marked
        found[-1] += 1
    return found


def read_document(kind: str, folder: Path, content: object) -> Chip:
    """Write a document in its place and read the only chip of it."""
    text = content if isinstance(content, str) else json.dumps(content)
    place = {
        "coco": "labels.json",
        "labelme": "chip.json",
        "cvat": "labels.xml",
        "supervisely": "ann/chip.png.json",
    }
    path = folder / place[kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    (chip,) = read_chips(folder if kind == "supervisely" else path)
    return chip


def write_mask(kind: str, folder: Path, mask_hw: NDArray[np.bool_]) -> Chip:
    """Write a mask as the only annotation ("roof") of a chip in one of the formats, and read it."""
    shape = mask_hw.shape
    folder.mkdir(parents=True, exist_ok=True)
    write_image(folder / ("img/chip.png" if kind == "supervisely" else "chip.png"), (shape[0], shape[1]))
    rows, cols = np.nonzero(mask_hw)
    top, left, bottom, right = int(rows.min()), int(cols.min()), int(rows.max()), int(cols.max())
    part_hw = mask_hw[top : bottom + 1, left : right + 1]
    match kind:
        case "coco packed":
            packed = coco_tools.encode(np.asfortranarray(mask_hw.astype(np.uint8)))
            some: Any = {"size": packed["size"], "counts": packed["counts"].decode()}
            return read_document("coco", folder, coco_document(shape, [some]))
        case "coco":
            some = {"size": list(shape), "counts": runs(mask_hw.T.reshape(-1))}
            return read_document("coco", folder, coco_document(shape, [some]))
        case "coco-panoptic":
            number = 70_000
            document = coco_document(shape, [])
            info = [{"id": number, "category_id": 7, "area": 1}, {"id": 3, "category_id": 8}]
            info = [some for some in info if some["id"] == number or not mask_hw.all()]
            document["annotations"] = [{"image_id": 1, "file_name": "chip.png", "segments_info": info}]
            document["categories"].append({"id": 8, "name": "ground"})
            (folder / "labels").mkdir(exist_ok=True)
            ids_hw = np.where(mask_hw, number, 3)
            rgb_hwc = np.stack((ids_hw % 256, ids_hw // 256 % 256, ids_hw // 65536), -1).astype(np.uint8)
            Image.fromarray(rgb_hwc).save(folder / "labels" / "chip.png")
            return read_document("coco", folder, document)
        case "labelme":
            points = [[left, top], [right, bottom]]
            some = {"shape_type": "mask", "points": points, "mask": png_text(part_hw)}
            return read_document(kind, folder, labelme_document(shape, [some]))
        case "supervisely":
            bitmap = {"data": supervisely_bitmap(part_hw), "origin": [left, top]}
            some = {"geometryType": "bitmap", "bitmap": bitmap}
            return read_document(kind, folder, supervisely_document(shape, [some]))
        case "cvat":
            rle = ", ".join(map(str, runs(part_hw.reshape(-1))))
            element = (
                f'<mask label="roof" rle="{rle}" left="{left}" top="{top}" width="{part_hw.shape[1]}" '
                f'height="{part_hw.shape[0]}" z_order="0"></mask>'
            )
            return read_document(kind, folder, cvat_document(shape, element))
    raise AssertionError(kind)


def write_outlines(kind: str, folder: Path, shape: tuple[int, int], rings: list[list[tuple[float, float]]]) -> Chip:
    """Write outlines, each as an annotation ("roof") of a chip in one of the formats, and read it."""
    write_image(folder / ("img/chip.png" if kind == "supervisely" else "chip.png"), shape)
    match kind:
        case "coco":
            flat = [[[float(number) for place in ring for number in place]] for ring in rings]
            return read_document(kind, folder, coco_document(shape, flat))
        case "labelme":
            shapes = [{"shape_type": "polygon", "points": ring} for ring in rings]
            return read_document(kind, folder, labelme_document(shape, shapes))
        case "supervisely":
            objects = [{"geometryType": "polygon", "points": {"exterior": ring, "interior": []}} for ring in rings]
            return read_document(kind, folder, supervisely_document(shape, objects))
        case "cvat":
            elements = (
                f'<polygon label="roof" points="{";".join(f"{x},{y}" for x, y in ring)}"/>' for ring in rings
            )
            return read_document(kind, folder, cvat_document(shape, "".join(elements)))
    raise AssertionError(kind)
