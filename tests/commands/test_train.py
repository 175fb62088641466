import csv
import hashlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import safetensors.torch
import torch
import yaml
from affine import Affine
from click.testing import CliRunner, Result

from geoseg.commands.calibrate import calibrate
from geoseg.commands.evaluate import evaluate
from geoseg.commands.inspect import inspect
from geoseg.commands.train import train
from geoseg.errors import ConfigError, GeosegError
from geoseg.models.card import Intended
from geoseg.models.package import load_package
from geoseg.models.resnet import ResNetEncoder
from geoseg.report.model_readme import model_readme
from geoseg.train.claim import Claim

WriteRaster = Callable[..., Path]


def rectangle(col: int, row: int, col_stop: int, row_stop: int, **properties: str) -> dict[str, Any]:
    """Pixels of the rasters of `write_raster` as a GeoJSON feature in their CRS."""
    west, east, north, south = 320000 + col, 320000 + col_stop, 2770000 - row, 2770000 - row_stop
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


@pytest.fixture(scope="module")
def data(write_raster: WriteRaster) -> Path:
    """A data root: bright squares on dark ground, split into three regions; and its configuration."""
    rng = np.random.default_rng(0)
    light_hw = rng.random((12, 24)).repeat(8, 0).repeat(8, 1) < 0.4
    image_chw = np.where(light_hw, 200, 60) + rng.normal(0, 8, (3, 96, 192))
    image = write_raster(image_chw.astype(np.uint8))
    labels = write_raster(np.where(light_hw, 1, 2).astype(np.uint8)[None], nodata=0)
    root = image.parent
    labels.rename(root / "labels.tif")
    regions = [
        rectangle(0, 0, 96, 96, split="train"),
        rectangle(96, 0, 144, 96, split="val"),
        rectangle(144, 0, 192, 96, split="test"),
    ]
    crs = {"type": "name", "properties": {"name": "EPSG:32640"}}
    (root / "splits.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": regions}))
    sources = [
        {
            "image": image.name,
            "labels": "labels.tif",
            "split": split,
            "region": {"file": "splits.geojson", "where": {"split": split}},
        }
        for split in ("train", "val", "test")
    ]
    config = {
        "kind": "train",
        "name": "squares",
        "description": "bright squares",
        "licence": "CC0-1.0",
        "attribution": "nobody",
        "architecture": {"name": "unet", "width": 0.0625},
        "imagery": {
            "bands": ["red", "green", "blue"],
            "dtype": "uint8",
            "value_range": [0, 255],
            "ground_resolution_m": 1,
        },
        "classes": [
            {"name": "square", "layer": "squares", "kind": "thing", "color": "#ffffff"},
            {"name": "ground", "layer": None, "kind": "stuff", "color": "#000000"},
        ],
        "label_values": {1: "square", 2: "ground"},
        "data": sources,
        "training": {
            "crop_px": 32,
            "batch": 2,
            "iterations": 12,
            "validate_every": 6,
            "lr": 0.01,
            "augmentation": {"color_jitter": 0.1},
        },
    }
    (root / "train.yaml").write_text(yaml.safe_dump(config))
    return root


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    model = tmp_path_factory.mktemp("trained") / "model"
    return model, run_train(data, model)


def run_train(data: Path, model: Path, *options: str, config: Path | None = None) -> Result:
    config = config or data / "train.yaml"
    arguments = ["--config", str(config), "-o", str(model), "--data-root", str(data)]
    return CliRunner().invoke(train, [*arguments, "--device", "cpu", *options], catch_exceptions=False)


def run_evaluate(data: Path, model: Path, *options: str) -> Result:
    arguments = [str(model), "--data", str(data / "train.yaml"), "--data-root", str(data), "--device", "cpu"]
    return CliRunner().invoke(evaluate, [*arguments, *options], catch_exceptions=False)


def test_training_ends_with_a_package_and_the_next_command(data: Path, trained: tuple[Path, Result]) -> None:
    model, result = trained
    assert result.exit_code == 0
    scene = yaml.safe_load((data / "train.yaml").read_text())["data"][2]["image"]
    following = f"next: geoseg map {data / scene} --model {model} -o {model}-map"
    assert result.stdout.splitlines()[-1] == following
    card = load_package(model).card
    assert card.name == "squares"
    assert list(card.metrics) == ["val", "test"]
    assert card.metrics["test"].pixels == 96 * 48
    assert card.training["iteration"] in {6, 12}
    # Statistics come from the training region: 40 % at 200, the rest at 60.
    assert card.imagery.mean == pytest.approx((116,) * 3, abs=12)


def test_it_learned_what_the_squares_are(trained: tuple[Path, Result]) -> None:
    assert load_package(trained[0]).card.metrics["test"].miou > 0.5


def test_the_log_has_the_validations(trained: tuple[Path, Result]) -> None:
    with (trained[0].parent / "model.training" / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["iteration"] for row in rows] == ["6", "12"]


def test_progress_is_json_lines_on_stderr(trained: tuple[Path, Result]) -> None:
    events = [json.loads(line) for line in trained[1].stderr.splitlines()]
    steps = [event for event in events if event["event"] == "train"]
    assert [step["iteration"] for step in steps] == [1, 6, 12]
    assert set(steps[1]["val_iou"]) == {"square", "ground"}


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluate_finds_the_figures_of_the_card(data: Path, trained: tuple[Path, Result], split: str) -> None:
    document = json.loads(run_evaluate(data, trained[0], "--split", split, "--json").stdout)
    metrics = load_package(trained[0]).card.metrics[split]
    assert document["miou"] == metrics.miou
    assert document["iou"] == metrics.iou
    assert document["accuracy"] == metrics.pixel_accuracy
    assert tuple(region["name"] for region in document["regions"]) == metrics.regions


def test_evaluate_speaks_to_people_without_json(data: Path, trained: tuple[Path, Result]) -> None:
    lines = run_evaluate(data, trained[0]).stdout.splitlines()
    assert lines[0].startswith("scene: mIoU ")
    assert {line.split("  ")[0] for line in lines} >= {
        "all of test",
        "mean IoU",
        "calibration error",
        "class",
        "square",
    }
    # A test region of one square cannot be drawn anew.
    assert lines[-1].endswith("1 squares of 512 px, drawn anew 1000 times; too few for an interval")


def test_a_figure_that_is_not_reached_fails_the_evaluation(data: Path, trained: tuple[Path, Result]) -> None:
    document = json.loads(run_evaluate(data, trained[0], "--json").stdout)
    miou, ece = document["miou"], document["ece"]
    reached = ("--fail-under", f"miou={miou - 1e-6}", "--fail-under", f"ece={ece + 1e-6}")
    assert run_evaluate(data, trained[0], *reached).exit_code == 0
    result = run_evaluate(data, trained[0], "--fail-under", f"ece={ece - 1e-6}", "--fail-under", "square.iou=1")
    assert result.exit_code == 3
    assert "failed   ece is" in result.stderr
    assert "expected at least 1" in result.stderr


@pytest.mark.parametrize("name", ["house.iou", "miuo", "square.areas.iou"])
def test_an_unknown_figure_is_refused_before_anything_is_read(
    trained: tuple[Path, Result], tmp_path: Path, name: str
) -> None:
    with pytest.raises(GeosegError, match=f"--fail-under {name}: expected a figure of a model"):
        run_evaluate(tmp_path, trained[0], "--fail-under", f"{name}=0.5")


def test_a_model_with_sigmoid_heads_is_trained_and_judged(data: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((data / "train.yaml").read_text())
    config["architecture"] |= {"heads": "sigmoid", "overlapping": True}
    config["training"]["loss"] = {"binary_cross_entropy": 1, "dice": 1}
    (tmp_path / "sigmoid.yaml").write_text(yaml.safe_dump(config))
    result = run_train(data, tmp_path / "model", config=tmp_path / "sigmoid.yaml")
    assert result.exit_code == 0
    card = load_package(tmp_path / "model").card
    assert (card.activation, card.overlapping) == ("sigmoid", True)
    document = json.loads(run_evaluate(data, tmp_path / "model", "--json").stdout)
    assert document["pixels"] == 96 * 48
    assert np.sum(document["confusion"]) == 0
    assert document["miou"] == card.metrics["test"].miou > 0.5


def test_the_same_seed_gives_the_same_weights(data: Path, trained: tuple[Path, Result], tmp_path: Path) -> None:
    run_train(data, tmp_path / "again")
    run_train(data, tmp_path / "other", "--seed", "1")
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (trained[0], tmp_path / "again")]
    assert weights[0] == weights[1]
    assert (tmp_path / "other" / "weights.safetensors").read_bytes() != weights[0]


def test_packed_weights_are_calibrated_and_nothing_else_is_changed(
    data: Path, trained: tuple[Path, Result], tmp_path: Path
) -> None:
    """Three packages that belong together: of training, without calibration, and then calibrated by the command."""
    model, _ = trained
    shutil.copytree(model.with_name("model.training"), tmp_path / "plain.training")
    training = yaml.safe_load((data / "train.yaml").read_text())["training"]
    config = changed(data, "plain.yaml", training={**training, "calibrate": False})
    # The run goes on, so that it is the same one: its fingerprint does not know of what comes after the loop.
    run_train(data, tmp_path / "plain", "--resume", config=config)
    arguments = ["--data", str(data / "train.yaml"), "--data-root", str(data), "--device", "cpu"]
    command = [str(tmp_path / "plain"), *arguments, "-o", str(tmp_path / "again")]
    said = CliRunner().invoke(calibrate, command, catch_exceptions=False).stdout
    packages = [load_package(folder) for folder in (model, tmp_path / "plain", tmp_path / "again")]
    by_training, plain, by_command = packages
    assert plain.card.calibration is None
    assert "calibration" not in (tmp_path / "plain" / "card.json").read_text()
    first, second = by_training.card.calibration, by_command.card.calibration
    assert first is not None
    assert second is not None
    assert (list(first.splits), list(second.splits)) == (["val", "test"], ["val"])
    assert first.splits["val"].pixels == 96 * 48
    assert first.temperature == pytest.approx(second.temperature, rel=0.01)
    assert first.temperature != 1
    assert said.splitlines()[0] == f"temperature {second.temperature:.3f}, fitted on val"
    # One region of one tile: the map is that tile.
    assert by_training.card.metrics["val"].ece == pytest.approx(first.splits["val"].ece_after, abs=0.01)
    assert by_command.card.metrics["val"].ece is None
    for name, tensor in plain.tensors.items():
        for calibration, package in ((first, by_training), (second, by_command)):
            expected = tensor.float() / calibration.temperature if name.startswith("head.") else tensor.float()
            torch.testing.assert_close(package.tensors[name].float(), expected, rtol=2e-3, atol=1e-4)
    with pytest.raises(ConfigError, match=r"expected a new output, .*again is there already"):
        CliRunner().invoke(calibrate, command, catch_exceptions=False)


def test_the_card_says_what_the_model_is_for_and_what_annotators_agree_on(
    data: Path, trained: tuple[Path, Result], tmp_path: Path
) -> None:
    model, _ = trained
    with rasterio.open(data / "labels.tif") as dataset:
        labels_hw = dataset.read(1)
    # Another annotator, who saw a part of split train, all of val and nothing of test.
    again_hw = np.where(np.random.default_rng(1).random(labels_hw.shape) < 0.2, 3 - labels_hw, labels_hw)[:, 60:144]
    place = Affine(1, 0, 320000 + 60, 0, -1, 2770000)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 0, "crs": "EPSG:32640"}
    with rasterio.open(data / "again.tif", "w", **profile, height=96, width=84, transform=place) as dataset:
        dataset.write(again_hw, 1)
    card: dict[str, Any] = {
        "ground_resolution_m": [0.5, 1.5],
        "places": "drawing\n boards",
        "not_for": ["circles"],
        "tile": {"size_px": 256, "overlap_px": 32},
        "agreement": {"first": "labels.tif", "second": "again.tif"},
    }
    shutil.copytree(model.with_name("model.training"), tmp_path / "again.training")
    # The run goes on as the same one: no weight depends on the card's words.
    run_train(data, tmp_path / "again", "--resume", config=changed(data, "said.yaml", card=card))
    said, before = load_package(tmp_path / "again").card, load_package(model).card
    assert said.weights == before.weights
    assert (said.tile.size_px, said.tile.overlap_px) == (256, 32)
    assert said.intended == Intended(
        ground_resolution_m=(0.5, 1.5), places="drawing boards", not_for=("circles",), notes=None
    )
    found = said.agreement
    assert found is not None
    first_hw = labels_hw[:, 60:144]
    for name, value in (("square", 1), ("ground", 2)):
        union = ((first_hw == value) | (again_hw == value)).sum()
        assert found.annotators.iou[name] == pytest.approx(
            ((first_hw == value) & (again_hw == value)).sum() / union
        )
    assert found.annotators.pixels == 96 * 84
    assert found.splits == {"train": 96 * 36, "val": 96 * 48}
    # Never on train; on all of val the first annotation is what val is judged by.
    assert list(found.model) == ["val"]
    assert found.model["val"].first.iou == said.metrics["val"].iou
    against_second = found.model["val"].second
    assert against_second.pixels == 96 * 48
    assert against_second.iou != said.metrics["val"].iou
    lines = CliRunner().invoke(inspect, [str(tmp_path / "again")], catch_exceptions=False).stdout
    for words in ("0.5 to 1.5 m", "drawing boards", "circles", "px in train, ", "temperature ", "again.tif"):
        assert words in lines
    readme = (tmp_path / "again" / "README.md").read_text()
    # Of a single validation window none is among the worst, so there is no picture.
    assert readme == model_readme(load_package(tmp_path / "again").card)
    for name, problem in (
        ("first", "expected a label raster that an entry of data names, got lost.tif"),
        ("second", "expected a file, got lost.tif"),
    ):
        card["agreement"] = {"first": "labels.tif", "second": "again.tif", name: "lost.tif"}
        with pytest.raises(ConfigError, match=f"card.agreement.{name}: {problem}"):
            run_train(data, tmp_path / "lost", config=changed(data, "lost.yaml", card=card))
    card["ground_resolution_m"] = [2, 1]
    with pytest.raises(ConfigError, match=r"card: ground_resolution_m: expected \[least, greatest\]"):
        run_train(data, tmp_path / "lost", config=changed(data, "lost.yaml", card=card))
    assert not (tmp_path / "lost").exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seed", "1"), "belongs to a run with another configuration or other data"),
        (("--workers", "2"), "expected --workers 1, with which the run .* was begun, got 2"),
    ],
)
def test_the_output_of_another_run_is_refused_and_left_alone(
    data: Path, trained: tuple[Path, Result], options: tuple[str, ...], words: str
) -> None:
    folder = trained[0].parent / "model.training"
    before = contents(trained[0]), contents(folder)
    with pytest.raises(ConfigError, match=words) as refused:
        claim_of_another(data, trained[0], *options)
    assert "\n" not in str(refused.value)
    assert (contents(trained[0]), contents(folder)) == before


def claim_of_another(data: Path, model: Path, *options: str) -> None:
    """As the command would with workers, without starting any."""
    if options[0] != "--workers":
        run_train(data, model, *options)
        return
    claim = Claim.of(model.parent / "model.training")
    assert claim is not None
    replace(claim, workers=int(options[1])).stake(model.parent / "model.training")


def test_a_model_of_unknown_origin_is_no_output(data: Path, trained: tuple[Path, Result], tmp_path: Path) -> None:
    shutil.copytree(trained[0], tmp_path / "other")
    with pytest.raises(ConfigError, match="other is a model already, of another run: choose another -o"):
        run_train(data, tmp_path / "other")
    assert contents(tmp_path / "other") == contents(trained[0])


def test_of_a_finished_run_nothing_is_left_to_do(data: Path, trained: tuple[Path, Result]) -> None:
    before = contents(trained[0])
    for options in ((), ("--resume",)):
        result = run_train(data, trained[0], *options)
        assert result.exit_code == 0
        assert result.stdout.endswith("with this configuration and these data: nothing is left to do\n")
    assert json.loads(run_train(data, trained[0], "--json").stdout)["finished_before"]
    assert contents(trained[0]) == before


def test_a_package_that_was_lost_is_made_again(data: Path, trained: tuple[Path, Result], tmp_path: Path) -> None:
    shutil.copytree(trained[0].parent / "model.training", tmp_path / "model.training")
    # As a run leaves it that was begun before folders said whose they are.
    (tmp_path / "model.training" / "run.json").unlink()
    before = contents(tmp_path / "model.training")
    with pytest.raises(ConfigError, match="belongs to a run with another configuration or other data"):
        run_train(data, tmp_path / "model", "--seed", "1")
    assert contents(tmp_path / "model.training") == before
    assert run_train(data, tmp_path / "model").exit_code == 0
    assert contents(tmp_path / "model")["weights.safetensors"] == contents(trained[0])["weights.safetensors"]


def test_a_missing_data_root_or_file_is_refused(data: Path, tmp_path: Path) -> None:
    arguments = ["--config", str(data / "train.yaml"), "-o", str(tmp_path / "model")]
    runner = CliRunner(env={"GEOSEG_DATA": ""})
    with pytest.raises(ConfigError, match="expected a folder as data root"):
        runner.invoke(train, [*arguments, "--data-root", str(tmp_path / "nosuch")], catch_exceptions=False)
    with pytest.raises(ConfigError, match=r"data\.0\.image: expected a file"):
        runner.invoke(train, [*arguments, "--data-root", str(tmp_path)], catch_exceptions=False)
    assert not (tmp_path / "model").exists()


def test_splits_that_overlap_are_refused(data: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((data / "train.yaml").read_text())
    config["data"][2]["region"]["where"] = {"split": "train"}
    path = tmp_path / "leaky.yaml"
    path.write_text(yaml.safe_dump(config))
    arguments = ["--config", str(path), "-o", str(tmp_path / "model"), "--data-root", str(data)]
    with pytest.raises(ConfigError, match="train and test to be apart"):
        CliRunner().invoke(train, arguments, catch_exceptions=False)


def test_evaluate_refuses_a_model_of_other_classes(data: Path, tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="expected the model's classes building, road, other"):
        run_evaluate(data, tiny_model)


def changed(root: Path, name: str, **changes: Any) -> Path:  # noqa: ANN401  # sections of a configuration
    """A copy of the data root's configuration with other sections; None takes a section out."""
    config = {**yaml.safe_load((root / "train.yaml").read_text()), **changes}
    (root / name).write_text(yaml.safe_dump({key: value for key, value in config.items() if value is not None}))
    return root / name


@pytest.mark.slow
def test_options_go_before_the_file_and_the_outcome_is_json(data: Path, tmp_path: Path) -> None:
    options = ["--epochs", "2", "--batch", "3", "--lr", "0.02", "--seed", "7", "--json"]
    document = json.loads(run_train(data, tmp_path / "model", *options).stdout)
    card = load_package(tmp_path / "model").card
    # The training region has 96 x 96 px, 9 crops of 32 px: an epoch is 3 iterations of 3 crops.
    assert document["iterations"] == document["planned_iterations"] == 6
    recipe = card.training["recipe"]
    assert isinstance(recipe, dict)
    assert [recipe[key] for key in ("iterations", "epochs", "batch", "lr", "seed")] == [6, 2, 3, 0.02, 7]
    assert recipe["schedule"] == "poly"
    assert [one["split"] for one in document["evaluations"]] == ["val", "test"]
    assert document["next"].startswith("geoseg map ")


def test_a_model_is_trained_further(data: Path, trained: tuple[Path, Result], tmp_path: Path) -> None:
    classes = [
        {"name": "ground", "layer": None, "kind": "stuff", "color": "#000000"},
        {"name": "roof", "layer": "roofs", "kind": "thing", "color": "#ffffff"},
    ]
    values = {1: "roof", 2: "ground"}
    config = changed(
        data, "further.yaml", classes=classes, label_values=values, architecture=None, training={"calibrate": False}
    )
    # Steps so small that they change no weight.
    options = ["--from", str(trained[0]), "--lr", "1e-30", "--epochs", "1"]
    run_train(data, tmp_path / "model", *options, config=config)
    base, further = load_package(trained[0]), load_package(tmp_path / "model")
    card, (old, new) = further.card, (package.build().state_dict() for package in (base, further))
    learned = {name for name, parameter in base.build().named_parameters() if not name.startswith("head.")}
    assert all(torch.equal(new[name], old[name]) for name in learned)
    assert torch.equal(new["head.weight"][0], old["head.weight"][1])
    assert not torch.equal(new["head.weight"][1], old["head.weight"][0])
    recipe = card.training["recipe"]
    assert isinstance(recipe, dict)
    assert [recipe[key] for key in ("batch", "accumulate", "early_stop")] == [
        8,
        1,
        {"patience": 10, "min_epochs": 50.0},
    ]
    assert card.training["start_from"] == {"model": "squares", "identity": base.identity}
    assert card.attribution == ("nobody", "trained further from the weights of squares (CC0-1.0)")
    assert card.imagery == base.imagery
    with pytest.raises(ConfigError, match="architecture: expected a value, the key is missing"):
        run_train(data, tmp_path / "other", config=config)


@pytest.mark.slow
def test_fine_tuning_says_what_the_classes_reached_before(
    data: Path, trained: tuple[Path, Result], tmp_path: Path
) -> None:
    # One class that the base does not know, and before it in order; squares are in both.
    classes = [
        {"name": "pond", "layer": "ponds", "kind": "stuff", "color": "#0000ff"},
        {"name": "square", "layer": "squares", "kind": "thing", "color": "#ffffff"},
    ]
    values = {1: "square", 2: "pond"}
    training = {"crop_px": 32, "epochs": 1}
    changes = {"classes": classes, "label_values": values, "architecture": None, "training": training}
    config = changed(data, "before.yaml", **changes)
    result = run_train(data, tmp_path / "model", "--from", str(trained[0]), config=config)
    # Oracle: the base on the same region, whose labels mean the same for its own classes.
    base = json.loads(run_evaluate(data, trained[0], "--split", "test", "--json").stdout)["iou"]["square"]
    card = load_package(tmp_path / "model").card
    begun = card.training["start_from"]
    assert isinstance(begun, dict)
    assert begun["iou_before"] == {"test": {"square": base}}
    words = f"{base:.3f} before, {card.metrics['test'].iou['square']:.3f} after"
    assert f"square: {words} (IoU on test)" in result.stdout.splitlines()[-3:]
    page = (tmp_path / "model.training" / "report" / "report.html").read_text()
    assert f"IoU {words}" in page


def test_a_scene_that_cannot_be_read_is_named_and_skipped_only_when_told(data: Path, tmp_path: Path) -> None:
    (data / "broken.tif").write_bytes(b"II*\x00" + bytes(100))
    sources = yaml.safe_load((data / "train.yaml").read_text())["data"]
    broken = {**sources[0], "image": "broken.tif"}
    training = {"crop_px": 32, "batch": 2, "iterations": 1, "validate_every": 1}
    config = changed(data, "broken.yaml", data=[*sources[:2], broken], training=training)
    with pytest.raises(ConfigError, match=r"broken\.tif.*leave such scenes out with --skip-bad"):
        run_train(data, tmp_path / "model", config=config)
    assert not (tmp_path / "model.training").exists()
    result = run_train(data, tmp_path / "model", "--skip-bad", config=config)
    assert "skipped broken (train): " in result.stderr
    assert "broken" in str(load_package(tmp_path / "model").card.training["skipped"])
    config = changed(data, "broken.yaml", data=[broken, sources[1]])
    with pytest.raises(ConfigError, match="split train: expected a scene that can be used, found none"):
        run_train(data, tmp_path / "other", "--skip-bad", config=config)


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"precision": "fp16"}, "fp16 is for CUDA, this run is on cpu"),
        ({"sync_batch_norm": True}, r"expected a CUDA device for training\.sync_batch_norm, got cpu"),
        ({"freeze_norm": True}, r"training\.freeze_norm: expected statistics to keep, got a network that begins"),
        ({"epochs": 1}, "expected iterations or epochs, got both"),
        ({"iterations": None}, "expected iterations or epochs, got neither"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_before_anything_is_written(
    data: Path, tmp_path: Path, training: dict[str, Any], words: str
) -> None:
    config = changed(data, "recipe.yaml", training={"iterations": 2, "validate_every": 1, **training})
    with pytest.raises(ConfigError, match=words):
        run_train(data, tmp_path / "model", config=config)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_signal_stops_a_training_which_goes_on_as_it_says(data: Path, tmp_path: Path) -> None:
    training = {"crop_px": 32, "batch": 2, "iterations": 100, "validate_every": 100, "ema": 0.9}
    config = changed(data, "long.yaml", training=training)
    run_train(data, tmp_path / "whole", "--threads", "1", config=config)
    model = tmp_path / "model"
    words = ["train", "--config", str(config), "-o", str(model), "--data-root", str(data), "--threads", "1"]
    words += ["--device", "cpu"]
    command = [sys.executable, "-c", "from geoseg.cli import main; main()", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = next(line for line in process.stderr if '"train"' in line)
        process.send_signal(signal.SIGTERM)
        last = process.stderr.read().splitlines()[-1]
    assert json.loads(first)["iteration"] == 1
    assert process.returncode == 130
    assert last == f"stopped: go on with: geoseg {shlex.join(words)}"
    stood = torch.load(tmp_path / "model.training" / "last.pt", weights_only=True)["progress"]
    assert 1 < stood["iteration"] < 100
    run_train(data, model, "--threads", "1", config=config)
    packed = [(folder / "weights.safetensors").read_bytes() for folder in (model, tmp_path / "whole")]
    assert packed[0] == packed[1]


def with_architecture(data: Path, name: str, architecture: dict[str, Any], **training: float) -> Path:
    """A copy of the data root's configuration with another network, trained for a moment and judged on val."""
    config = yaml.safe_load((data / "train.yaml").read_text())
    config["architecture"] = architecture
    config["training"] |= {"iterations": 1, "validate_every": 1, **training}
    config["data"] = config["data"][:2]
    (data / name).write_text(yaml.safe_dump(config))
    return data / name


@pytest.mark.parametrize("name", ["unet_resnet18", pytest.param("deeplabv3plus_resnet18", marks=pytest.mark.slow)])
def test_training_begins_from_the_encoder_weights(data: Path, tmp_path: Path, name: str) -> None:
    torch.manual_seed(1)
    encoder = ResNetEncoder("resnet18", bands=3)
    state = {**encoder.state_dict(), "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save(state, data / "resnet18.pth")
    architecture = {"name": name, "encoder_weights": "resnet18.pth"}
    # Steps so small that they change no weight.
    config = with_architecture(data, f"{name}.yaml", architecture, lr=1e-30, weight_decay=0)
    assert run_train(data, tmp_path / "model", config=config).exit_code == 0
    package = load_package(tmp_path / "model")
    trained_state = package.build().state_dict()
    for key, parameter in encoder.named_parameters():
        assert torch.equal(trained_state[f"encoder.{key}"], parameter.half().float()), key
    sha256 = hashlib.sha256((data / "resnet18.pth").read_bytes()).hexdigest()
    assert package.card.training["encoder_weights"] == {"file": "resnet18.pth", "sha256": sha256}

    # Other weights under the same name are another training.
    torch.save({**state, "bn1.bias": state["bn1.bias"] + 1}, data / "resnet18.pth")
    with pytest.raises(ConfigError, match="belongs to a run with another configuration or other data"):
        run_train(data, tmp_path / "model", config=config)


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ({"name": "unet", "encoder_weights": "w.pth"}, "unet has no ResNet encoder"),
        ({"name": "unet_resnet18", "width": 0.5, "encoder_weights": "w.pth"}, "for width 1, got width 0.5"),
        (
            {"name": "unet_resnet18", "normalization": "group", "encoder_weights": "w.pth"},
            "for normalization batch, got group",
        ),
        ({"name": "unet_resnet18", "encoder_weights": "none.pth"}, "expected a file, got none.pth"),
        ({"name": "unet_resnet18", "encoder_weights": "."}, "expected a file, got [.], not found"),
        ({"name": "unet_resnet18", "encoder_weights": "n" * 999}, "cannot be read: File name too long"),
        ({"name": "unet_resnet18", "encoder_weights": "labels.tif"}, "expected a weights file .safetensors, .pth"),
        ({"name": "unet_resnet34", "encoder_weights": "resnet18.pth"}, "holds weights of another network"),
    ],
)
def test_encoder_weights_that_cannot_be_are_refused_before_anything_is_written(
    data: Path, tmp_path: Path, architecture: dict[str, Any], words: str
) -> None:
    torch.save(ResNetEncoder("resnet18", bands=3).state_dict(), data / "resnet18.pth")
    config = with_architecture(data, "refused.yaml", architecture)
    with pytest.raises(GeosegError, match=words) as refused:
        run_train(data, tmp_path / "model", config=config)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_network_with_groups_and_a_short_decoder_is_trained_packed_and_trained_further(
    data: Path, tmp_path: Path
) -> None:
    architecture = {"name": "unet_resnet18", "width": 0.125, "normalization": "group", "decoder_stride": 4}
    run_train(data, tmp_path / "model", config=with_architecture(data, "groups.yaml", architecture, batch=1))
    packed = load_package(tmp_path / "model").card.architecture
    assert (packed.normalization, packed.decoder_stride) == ("group", 4)
    given = yaml.safe_load((data / "groups.yaml").read_text())
    del given["architecture"]
    (data / "further.yaml").write_text(yaml.safe_dump({**given, "start_from": str(tmp_path / "model")}))
    run_train(data, tmp_path / "further", config=data / "further.yaml")
    assert load_package(tmp_path / "further").card.architecture == packed


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_what_it_learned_after_the_encoder_weights(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    safetensors.torch.save_file(ResNetEncoder("resnet18", bands=3).state_dict(), data / "own.safetensors")
    architecture = {"name": "unet_resnet18", "encoder_weights": "own.safetensors"}
    config = with_architecture(data, "own.yaml", architecture)
    run_train(data, tmp_path / "model", config=config)
    learned = (tmp_path / "model" / "weights.safetensors").read_bytes()
    (tmp_path / "model" / "card.json").unlink()
    run_train(data, tmp_path / "model", config=config)
    assert (tmp_path / "model" / "weights.safetensors").read_bytes() == learned


def test_a_configuration_without_them_has_the_fingerprint_that_it_had(data: Path, tmp_path: Path) -> None:
    config = with_architecture(data, "older.yaml", {"name": "unet", "width": 0.0625})
    given = yaml.safe_load(config.read_text())
    given["imagery"] |= {"mean": [116, 116, 116], "std": [70, 70, 70]}
    config.write_text(yaml.safe_dump(given))
    run_train(data, tmp_path / "model", config=config)
    checkpoint = torch.load(tmp_path / "model.training" / "last.pt", weights_only=True)
    # What geoseg writes since an epoch sees each cell of the ground once: such runs can go on.
    assert checkpoint["fingerprint"] == "a1f24a17210515704a5d6a6f3f96a1fd751a8a41fcae515b525fe88e099f8937"
