"""Formats: told from what is there; what strangers hand in is refused in words, without memory or other files."""

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_files import (
    coco_document,
    cvat_document,
    labelme_document,
    png_text,
    read_document,
    supervisely_document,
    write_image,
    write_mask,
)
from PIL import Image

from geoseg.datasets.formats import read_chips, tell_format
from geoseg.errors import ConfigError, GeosegError, SceneError

ROOF = np.eye(3, dtype=np.bool_)
SHAPE = (3, 3)


@pytest.mark.parametrize(
    ("kind", "expected", "path"),
    [
        ("coco", "coco", "labels.json"),
        ("coco-panoptic", "coco-panoptic", "labels.json"),
        ("labelme", "labelme", "."),
        ("labelme", "labelme", "chip.json"),
        ("cvat", "cvat", "labels.xml"),
        ("supervisely", "supervisely", "."),
        ("supervisely", "supervisely", ".."),
    ],
)
def test_formats_are_told_by_what_is_there(kind: str, expected: str, path: str, tmp_path: Path) -> None:
    write_mask(kind, tmp_path / "project" / "set", ROOF)
    place = tmp_path / "project" / "set" / path
    assert tell_format(place.resolve()) == expected
    (chip,) = read_chips(place.resolve())
    np.testing.assert_array_equal(chip.draw({"roof": 1, "ground": 0}, 0), ROOF)


def test_what_looks_like_no_format_is_refused_with_their_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="looks like none of folders, voc, "):
        read_chips(tmp_path)
    with pytest.raises(ConfigError, match="there is nothing"):
        read_chips(tmp_path / "nowhere")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ConfigError, match="looks like none of coco"):
        read_chips(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("")
    with pytest.raises(SceneError, match="cannot be read"):
        read_chips(tmp_path / "a.json")


def test_options_of_other_formats_are_refused(tmp_path: Path) -> None:
    write_mask("coco", tmp_path, ROOF)
    path = tmp_path / "labels.json"
    for option in ({"masks": tmp_path}, {"subset": "train"}, {"line_width_px": 3.0}):
        with pytest.raises(ConfigError, match=f"{next(iter(option))} is of .*: expected none for coco"):
            read_chips(path, **option)  # type: ignore[arg-type]  # as each needs it
    with pytest.raises(ConfigError, match="expected the file of labels in the format coco, got the folder"):
        read_chips(tmp_path, "coco")
    with pytest.raises(ConfigError, match="expected the folder of labels in the format voc"):
        read_chips(path, "voc")


def test_images_are_looked_for_where_they_are_kept(tmp_path: Path) -> None:
    chip = write_mask("coco", tmp_path / "annotations", ROOF)
    assert chip.image == tmp_path / "annotations" / "chip.png"
    (tmp_path / "images").mkdir()
    chip.image.rename(tmp_path / "images" / "chip.png")
    (chip,) = read_chips(tmp_path / "annotations" / "labels.json")
    assert chip.image == tmp_path / "images" / "chip.png"
    (tmp_path / "images").rename(tmp_path / "photos")
    with pytest.raises(ConfigError, match=r"names the image chip\.png, not found in"):
        read_chips(tmp_path / "annotations" / "labels.json")
    (chip,) = read_chips(tmp_path / "annotations" / "labels.json", images=tmp_path / "photos")
    assert chip.image == tmp_path / "photos" / "chip.png"


def test_labelme_may_keep_images_beside_its_folder(tmp_path: Path) -> None:
    write_mask("labelme", tmp_path / "json", ROOF)
    (tmp_path / "photos").mkdir()
    (tmp_path / "json" / "chip.png").rename(tmp_path / "photos" / "other.png")
    document = json.loads((tmp_path / "json" / "chip.json").read_text())
    document["imagePath"] = "..\\photos\\other.png"
    (tmp_path / "json" / "chip.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="say where the images are"):
        read_chips(tmp_path / "json")
    (chip,) = read_chips(tmp_path / "json", images=tmp_path / "photos")
    np.testing.assert_array_equal(chip.draw({"roof": 1}, 0), ROOF)


def documents() -> dict[str, tuple[str, object]]:
    """Documents that are damaged, or want what they shall not have; each with its format."""
    mask = {"shape_type": "mask", "points": [[0, 0], [2, 2]], "mask": png_text(ROOF)}
    bitmap = {"geometryType": "bitmap", "bitmap": {"data": "", "origin": [0, 0]}}
    bomb = base64.b64encode(zlib.compress(bytes(2**24))).decode()
    large = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(large, "PNG")
    packed = base64.b64encode(zlib.compress(large.getvalue())).decode()

    def coco(segmentation: object, **more: object) -> tuple[str, object]:
        return "coco", {**coco_document(SHAPE, [segmentation]), **more}

    def labelme(**more: object) -> tuple[str, object]:
        return "labelme", labelme_document(SHAPE, [{**mask, **more}])

    def supervisely(data: str) -> tuple[str, object]:
        return "supervisely", supervisely_document(SHAPE, [{**bitmap, "bitmap": {"data": data, "origin": [0, 0]}}])

    def cvat(elements: str) -> tuple[str, object]:
        return "cvat", cvat_document(SHAPE, elements)

    names = [{"id": 1, "file_name": "../secret.png", "height": 3, "width": 3}]
    points = 'label="roof" points='
    return {
        "a name that leads out": coco([[0, 0, 1, 0, 1, 1]], images=names),
        "a name from the root": coco([[0, 0, 1, 0, 1, 1]], images=[{**names[0], "file_name": "/etc/hostname"}]),
        "a name with a drive": coco([[0, 0, 1, 0, 1, 1]], images=[{**names[0], "file_name": "c:\\a.png"}]),
        "an image twice": coco([], images=2 * [{**names[0], "file_name": "chip.png"}]),
        "an unknown image": coco([], images=[{**names[0], "id": 5, "file_name": "chip.png"}]),
        "an unknown category": coco([[0, 0, 1, 0, 1, 1]], categories=[]),
        "no polygon": coco([[0, 0, 1, 1]]),
        "half a place": coco([[0, 0, 1, 0, 1, 1, 5]]),
        "a place that is text": coco([[0, 0, 1, "x", 1, 1]]),
        "a place far away": coco([[0, 0, 1e300, 0, 1, 1]]),
        "an endless place": ("coco", json.dumps(coco([[0, 0, 1, 0, 1, 1]])[1]).replace("[0, 0, 1", "[0, NaN, 1")),
        "no segmentation": coco([]),
        "a mask of another size": coco({"size": [10**6, 10**6], "counts": [10**12]}),
        "runs too long": coco({"size": [3, 3], "counts": [10**12]}),
        "runs below zero": coco({"size": [3, 3], "counts": [10, -1]}),
        "runs of text": coco({"size": [3, 3], "counts": ["9"]}),
        "packed runs too long": coco({"size": [3, 3], "counts": "oooooo0"}),
        "deep lists": ("coco", '{"images": ' + "[" * 100_000),
        "deep segmentation": ("coco", json.dumps(coco("@")[1]).replace('"@"', "[" * 5000 + "]" * 5000)),
        "cut short": ("labelme", json.dumps(labelme()[1])[:-9]),
        "another document": ("labelme", "[1, 2]"),
        "a mask that is no PNG": labelme(mask=base64.b64encode(b"GIF89a" + bytes(30)).decode()),
        "a mask that is no base64": labelme(mask="***"),
        "a mask in other places": labelme(points=[[0, 0], [1, 2]]),
        "a mask too large": labelme(mask=base64.b64encode(large.getvalue()).decode()),
        "a mask cut short": labelme(mask=base64.b64encode(large.getvalue()[:60]).decode()),
        "a zlib bomb": supervisely(bomb),
        "a PNG bomb": supervisely(packed),
        "a zlib stream cut short": supervisely(base64.b64encode(zlib.compress(bytes(99))[:-4]).decode()),
        "no zlib stream": supervisely(base64.b64encode(b"nothing").decode()),
        "a DOCTYPE": (
            "cvat",
            '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + cvat_document(SHAPE, "")[39:],
        ),
        "elements in elements": cvat("<a>" * 5000 + "</a>" * 5000),
        "XML cut short": cvat("<polygon"),
        "XML of others": ("cvat", "<annotation><object/></annotation>"),
        "a video": ("cvat", '<annotations><track id="0"/></annotations>'),
        "points without numbers": cvat(f'<polygon {points}"a,b;c,d;e,f"/>'),
        "points of one number": cvat(f'<polygon {points}"1;2;3"/>'),
        "an endless box": cvat('<box label="roof" xtl="nan" ytl="0" xbr="inf" ybr="2"/>'),
        "no label": cvat('<polygon points="0,0;1,0;1,1"/>'),
        "a radius below zero": cvat('<ellipse label="roof" cx="1" cy="1" rx="-1" ry="2"/>'),
        "an endless mask": cvat('<mask label="roof" rle="9" left="0" top="0" width="100000000" height="9000000"/>'),
        "a shape without pixels": cvat(f'<points {points}"1,1"/>'),
    }


HOSTILE = documents()


def drawn(kind: str, folder: Path, content: object) -> Any:  # noqa: ANN401  # it never comes
    return read_document(kind, folder, content).draw({"roof": 1}, 0)


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_and_hostile_documents_are_refused_in_one_line_that_names_them(name: str, tmp_path: Path) -> None:
    kind, content = HOSTILE[name]
    write_image(tmp_path / "secret.png", SHAPE)
    folder = tmp_path / "set"
    write_image(folder / ("img/chip.png" if kind == "supervisely" else "chip.png"), SHAPE)
    with pytest.raises(GeosegError) as error:
        drawn(kind, folder, content)
    said = str(error.value)
    assert "\n" not in said
    assert len(said) < 700
    assert "labels." in said or "chip." in said


def test_an_image_that_is_damaged_is_named(tmp_path: Path) -> None:
    chip = write_mask("labelme", tmp_path, ROOF)
    chip.image.write_bytes(chip.image.read_bytes()[:40])
    with pytest.raises(SceneError, match=r"chip\.png"):
        chip.draw({"roof": 1}, 0)


def test_one_damaged_chip_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    write_mask("labelme", tmp_path, ROOF)
    write_image(tmp_path / "bad.png", SHAPE)
    (tmp_path / "bad.json").write_text('{"shapes": ')
    bad, good = read_chips(tmp_path, "labelme")
    np.testing.assert_array_equal(good.draw({"roof": 1}, 0), ROOF)
    with pytest.raises(SceneError, match=r"bad\.json cannot be read as JSON"):
        bad.draw({"roof": 1}, 0)
