import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from geoseg.errors import ModelError
from geoseg.models.architecture import Architecture
from geoseg.models.card import Card, CardDraft, WeightsFile
from geoseg.objects.grouping import Grouping

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def card(draft: CardDraft) -> Card:
    weights = WeightsFile(sha256="0" * 64, bytes=10, dtype="float16")
    return Card(**dict(draft), format_version=1, weights=weights)


def changed(card: Card, change: Change) -> str:
    values = json.loads(card.to_json())
    change(values)
    return json.dumps(values)


def test_a_card_survives_its_json(card: Card) -> None:
    assert Card.model_validate_json(card.to_json(), strict=True) == card


def test_a_card_from_before_deeplab_has_the_words_and_the_identity_it_had(card: Card) -> None:
    values = json.loads(card.to_json())
    assert values["architecture"] == {"name": "unet_resnet18", "bands": 4, "classes": 3, "width": 0.01}
    again = Card.model_validate_json(json.dumps(values), strict=True)
    assert again.architecture == Architecture("unet_resnet18", bands=4, classes=3, width=0.01)
    matters = {key: values[key] for key in ("architecture", "imagery", "classes")}
    matters["weights"] = values["weights"]["sha256"]
    canonical = json.dumps(matters, sort_keys=True, separators=(",", ":"))
    assert again.identity == card.identity == hashlib.sha256(canonical.encode()).hexdigest()
    # Computed by the release that knew U-Nets alone.
    assert card.identity == "24f0aaca04c5c6f02c6053c7b53cd88e4a137ec052c9d082cf73bf0fc2dd1fcc"


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture("deeplabv3plus_resnet50", bands=4, classes=3, output_stride=8),
        Architecture("deeplabv3plus_resnet50", bands=4, classes=3, separable=True),
        Architecture("deeplabv3plus_resnet50", bands=4, classes=3),
        Architecture("unet_resnet18", bands=4, classes=3, decoder_stride=4),
        Architecture("unet", bands=4, classes=3, normalization="group"),
        Architecture("unet", bands=4, classes=3, instances=True),
    ],
    ids=str,
)
def test_later_arguments_survive_the_json_and_matter(card: Card, architecture: Architecture) -> None:
    deeplab = card.model_copy(update={"architecture": architecture})
    assert Card.model_validate_json(deeplab.to_json(), strict=True) == deeplab
    plain = Architecture(architecture.name, bands=4, classes=3)
    same = deeplab.identity == card.model_copy(update={"architecture": plain}).identity
    assert same is (architecture == plain)


def test_a_panoptic_card_says_how_objects_are_grouped(card: Card) -> None:
    panoptic = Architecture("unet", bands=4, classes=3, instances=True)
    grouped = card.model_copy(update={"architecture": panoptic, "grouping": Grouping(reach_px=77)})
    assert Card.model_validate_json(grouped.to_json(), strict=True) == grouped
    # Maps made with other groupings have the same fields.
    assert grouped.identity == grouped.model_copy(update={"grouping": None}).identity
    values = json.loads(grouped.to_json())
    for change in (
        {"grouping": {**values["grouping"], "least_heat": 0}},
        {"grouping": {**values["grouping"], "reach_px": 500}},
        {"architecture": {**values["architecture"], "instances": False}},
        {"classes": [{**one, "kind": "stuff"} for one in values["classes"]]},
        {"overlapping": True, "activation": "sigmoid"},
    ):
        with pytest.raises(ValidationError, match=r"least heat|512 px at most, got 537|instance branch"):
            Card.model_validate_json(json.dumps({**values, **change}), strict=True)


@pytest.mark.parametrize(
    "part",
    [[], ["architecture"], ["imagery"], ["classes", 0], ["tile"], ["metrics", "test"], ["weights"]],
    ids=str,
)
def test_an_unknown_key_is_refused_in_every_part(card: Card, part: list[str | int]) -> None:
    def add_key(values: Any) -> None:  # noqa: ANN401 - JSON
        for step in part:
            values = values[step]
        values["surprise"] = 1

    with pytest.raises(ValidationError, match="surprise"):
        Card.model_validate_json(changed(card, add_key), strict=True)


@pytest.mark.parametrize("key", sorted(name for name, key in Card.model_fields.items() if key.is_required()))
def test_every_key_is_required(card: Card, key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        Card.model_validate_json(changed(card, lambda values: values.pop(key)), strict=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(format_version=2),
        lambda v: v.update(name="../evil"),
        lambda v: v.update(name="line\n"),
        lambda v: v.update(description="two\nlines"),
        lambda v: v.update(licence="\x1b[2J"),
        lambda v: v["architecture"].update(bands=3),
        lambda v: v["architecture"].update(classes=4),
        lambda v: v["architecture"].update(width=1e6),
        lambda v: v["architecture"].update(output_stride=8),
        lambda v: v["architecture"].update(output_stride="16"),
        lambda v: v["architecture"].update(output_stride=12),
        lambda v: v["architecture"].update(separable=True),
        lambda v: v["architecture"].update(separable=0),
        lambda v: v["architecture"].update(name="deeplabv3plus_resnet152"),
        lambda v: v["architecture"].update(bands="4"),
        lambda v: v["classes"].pop(),
        lambda v: v["classes"][0].update(layer="../../etc/passwd"),
        lambda v: v["classes"][0].update(name="road"),
        lambda v: v["imagery"].update(dtype="U99"),
        lambda v: v["imagery"].update(dtype="f8,f8"),
        lambda v: v["imagery"].update(std=[1, 1, 1, 0]),
        lambda v: v["imagery"].update(mean=[1, 1, 1]),
        lambda v: v["imagery"].update(bands=["red", "green", "blue", "\x07"]),
        lambda v: v["imagery"].update(ground_resolution_m=float("nan")),
        lambda v: v.update(activation="softplus"),
        lambda v: v.update(overlapping=True),
        lambda v: v["tile"].update(overlap_px=256),
        lambda v: v["tile"].update(overlap_px=-1),
        lambda v: v["tile"].update(size_px=10**9),
        lambda v: v["metrics"]["test"].update(miou=1.5),
        lambda v: v["metrics"]["test"]["iou"].pop("road"),
        lambda v: v["metrics"].update({"a/b": v["metrics"]["test"]}),
        lambda v: v.update(training={"loss": float("inf")}),
        lambda v: v["weights"].update(sha256="0" * 63),
        lambda v: v["weights"].update(dtype="int8"),
    ],
)
def test_what_does_not_fit_together_is_refused(card: Card, change: Change) -> None:
    with pytest.raises((ValidationError, ModelError)):
        Card.model_validate_json(changed(card, change), strict=True)


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        (lambda v: v["weights"].update(sha256="1" * 64), True),
        (lambda v: v["architecture"].update(width=0.02), True),
        (lambda v: v["imagery"].update(ground_resolution_m=0.3), True),
        (lambda v: v["classes"][1].update(kind="thing"), True),
        (lambda v: v["classes"].reverse(), True),
        (lambda v: v.update(activation="sigmoid"), True),
        (lambda v: v.update(activation="softmax", overlapping=False), False),
        (lambda v: v.update(description="In other words."), False),
        (lambda v: v.update(metrics={}), False),
        (lambda v: v["imagery"].update(value_range=[0.0, 255.0]), False),
    ],
)
def test_the_identity_is_of_what_a_map_depends_on(card: Card, change: Change, matters: bool) -> None:
    other = Card.model_validate_json(changed(card, change), strict=True)
    assert (other.identity != card.identity) is matters
    assert len(other.identity) == 64
