import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from geoseg.errors import ModelError
from geoseg.models.architecture import Architecture, build
from geoseg.models.card import CardDraft
from geoseg.models.package import find_model, known_models, load_package, save_package
from geoseg.models.weights import tensor_shapes


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, draft: CardDraft, network: nn.Module) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-test"
    save_package(folder, draft, network)
    return folder


@pytest.fixture
def copy(package: Path, tmp_path: Path) -> Path:
    """A package that a test may spoil."""
    return Path(shutil.copytree(package, tmp_path / "copy"))


def edit(package: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads((package / "card.json").read_text())
    change(card)
    (package / "card.json").write_text(json.dumps(card))


def vouch(package: Path) -> None:
    """Make the card say that the weights file, whatever it is, is the right one."""
    data = (package / "weights.safetensors").read_bytes()
    edit(package, lambda v: v["weights"].update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)))


def test_float32_packages_compute_the_same(draft: CardDraft, network: nn.Module, tmp_path: Path) -> None:
    save_package(tmp_path / "model", draft, network, "float32")
    built = load_package(tmp_path / "model").build()
    image_nchw = torch.randn(1, 4, 40, 40)
    with torch.inference_mode():
        assert torch.equal(built(image_nchw), network(image_nchw))


def test_a_package_brings_back_what_was_saved(draft: CardDraft, package: Path) -> None:
    model = load_package(package)
    for name in CardDraft.model_fields:
        assert getattr(model.card, name) == getattr(draft, name)
    assert model.imagery == draft.imagery
    assert model.labels == draft.labels
    assert model.identity == model.card.identity
    network = model.build()
    assert not network.training
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert all(p.requires_grad and not p.is_meta for p in network.parameters())
    assert not any(buffer.is_meta for buffer in network.buffers())


def test_a_built_network_can_be_trained_on(draft: CardDraft, package: Path, tmp_path: Path) -> None:
    network = load_package(package).build().train()
    network(torch.randn(2, 4, 64, 64)).square().mean().backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    save_package(tmp_path / "model", draft, network)
    assert load_package(tmp_path / "model").identity != load_package(package).identity


def test_a_loaded_card_can_be_saved_again(package: Path, tmp_path: Path) -> None:
    model = load_package(package)
    assert save_package(tmp_path / "again", model.card, model.build(), "float16") == model.card
    assert (tmp_path / "again" / "card.json").read_bytes() == (package / "card.json").read_bytes()


def test_the_identity_is_the_same_before_and_after_the_disk(
    draft: CardDraft, network: nn.Module, tmp_path: Path
) -> None:
    whole_numbers = draft.model_copy(update={"imagery": replace(draft.imagery, std=(40, 41, 42, 43))})
    written = save_package(tmp_path / "model", whole_numbers, network)
    assert written.identity == load_package(tmp_path / "model").identity


def test_a_card_that_could_not_be_loaded_is_not_written(
    draft: CardDraft, network: nn.Module, tmp_path: Path
) -> None:
    long = draft.model_copy(update={"training": {"log": "x" * 2**20}})
    with pytest.raises(ModelError, match="at most"):
        save_package(tmp_path / "model", long, network)
    assert not (tmp_path / "model").exists()


def test_an_unknown_data_type_is_refused(copy: Path) -> None:
    edit(copy, lambda v: v["imagery"].update(dtype="nonsense"))
    with pytest.raises(ModelError, match="nonsense"):
        load_package(copy)


def test_a_package_is_two_files(package: Path) -> None:
    assert sorted(path.name for path in package.iterdir()) == ["card.json", "weights.safetensors"]


def test_a_refused_save_leaves_the_old_package(draft: CardDraft, copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    other = build(Architecture("unet", bands=4, classes=3, width=0.01))
    with pytest.raises(ModelError, match="another network"):
        save_package(copy, draft, other)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_refused(draft: CardDraft, network: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        save_package(tmp_path / "file" / "model", draft, network)


def test_the_new_card_with_the_old_weights_is_refused(
    draft: CardDraft, network: nn.Module, copy: Path, tmp_path: Path
) -> None:
    other = build(draft.architecture)
    save_package(tmp_path / "other", draft, other)
    shutil.copy(tmp_path / "other" / "card.json", copy / "card.json")
    with pytest.raises(ModelError, match="sha256 differs"):
        load_package(copy)


@settings(max_examples=40, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_any_changed_byte_of_the_weights_is_refused(
    position: float, bits: int, package: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = Path(shutil.copytree(package, tmp_path_factory.mktemp("changed") / "copy"))
    data = bytearray((copy / "weights.safetensors").read_bytes())
    data[int(position * len(data))] ^= bits
    (copy / "weights.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="sha256 differs"):
        load_package(copy)


@settings(max_examples=50, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_a_changed_byte_of_the_card_is_refused_or_leaves_a_whole_model(
    position: float, bits: int, package: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = Path(shutil.copytree(package, tmp_path_factory.mktemp("changed") / "copy"))
    data = bytearray((copy / "card.json").read_bytes())
    data[int(position * len(data))] ^= bits
    (copy / "card.json").write_bytes(data)
    try:
        model = load_package(copy)
    except ModelError as error:
        assert str(error).isprintable()  # noqa: PT017 - either outcome is right, in its own way
    else:
        # A word, a colour, a number may have changed: the weights are still the right ones.
        assert model.card.weights == load_package(package).card.weights
        assert set(model.tensors) == set(tensor_shapes(model.card.architecture))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"training": ' + b'{"a":' * 100_000,
        b" " * (2**20 + 1),
        b'{"\x1b[2J\\u0007": 1}',
    ],
    ids=["empty", "array", "not UTF-8", "deep array", "deep object", "too large", "control characters"],
)
def test_a_hostile_card_is_refused_in_one_line(copy: Path, text: bytes) -> None:
    (copy / "card.json").write_bytes(text)
    with pytest.raises(ModelError) as refusal:
        load_package(copy)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("width", [4.0, 1e6, 1e300, math.nan])
def test_a_card_with_a_giant_network_costs_nothing(copy: Path, width: float) -> None:
    edit(copy, lambda v: v["architecture"].update(name="unet", width=width))
    with pytest.raises(ModelError, match=r"bytes|width"):
        load_package(copy)


def test_a_weights_file_of_another_size_is_not_read(copy: Path) -> None:
    with (copy / "weights.safetensors").open("r+b") as file:
        file.truncate(2**40)  # sparse: a terabyte that takes no room
    with pytest.raises(ModelError, match=r"expected weights\.safetensors of"):
        load_package(copy)
    edit(copy, lambda v: v["weights"].update(bytes=2**40))
    with pytest.raises(ModelError, match=f"the card says {2**40} bytes"):
        load_package(copy)


def test_missing_files_are_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=r"weights\.safetensors"):
        load_package(copy)
    with pytest.raises(ModelError, match=r"a folder with card\.json"):
        load_package(tmp_path / "nothing")


@pytest.mark.parametrize("spoiled", ["renamed", "reshaped", "retyped", "nan", "not safetensors"])
def test_wrong_tensors_are_refused_though_the_checksum_agrees(copy: Path, spoiled: str) -> None:
    path = copy / "weights.safetensors"
    tensors = safetensors.torch.load_file(path)
    match spoiled:
        case "renamed":
            tensors["decoder.9.weight"] = tensors.pop("head.bias")
        case "reshaped":
            tensors["head.bias"] = tensors["head.bias"][:, None]
        case "retyped":
            tensors["head.bias"] = tensors["head.bias"].to(torch.bfloat16)
        case "nan":
            tensors["head.bias"] = tensors["head.bias"] * torch.nan
    data = safetensors.torch.save(tensors)
    path.write_bytes(b"\xff" * len(data) if spoiled == "not safetensors" else data)
    vouch(copy)
    with pytest.raises(ModelError, match=r"head\.bias|no valid safetensors"):
        load_package(copy)


def test_a_name_is_found_in_the_first_folder_that_has_it(package: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        shutil.copytree(package, tmp_path / folder / "mine")
    shutil.copytree(package, tmp_path / "two" / "yours")
    search = [tmp_path / "absent", tmp_path / "one", tmp_path / "two"]
    assert find_model("mine", search) == tmp_path / "one" / "mine"
    assert find_model("yours", search) == tmp_path / "two" / "yours"
    assert known_models(search).keys() >= {"mine", "yours"}


def test_an_unknown_name_is_refused_with_the_nearest(package: Path) -> None:
    with pytest.raises(ModelError, match=r"no model is named 'tiny-tset'.*did you mean tiny-test\?"):
        find_model("tiny-tset", [package.parent])


def test_a_folder_here_is_not_a_name(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(package.parent)
    with pytest.raises(ModelError, match="no model is named"):
        find_model(package.name, [])
    assert find_model(f"./{package.name}", []) == Path(package.name)
    monkeypatch.chdir(package)
    assert find_model(".", []) == Path()


def test_a_path_is_a_path(package: Path, tmp_path: Path) -> None:
    assert find_model(str(package), []) == package
    with pytest.raises(ModelError, match="expected a model package"):
        find_model(str(tmp_path / "tiny-test"), [package.parent])


@pytest.mark.parametrize("url", ["https://example.org/model", "s3://bucket/model", "file:///tmp/model"])
def test_a_scheme_is_refused_in_words(url: str, package: Path) -> None:
    with pytest.raises(ModelError, match="models are not downloaded"):
        find_model(url, [package.parent])


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=20))
def test_no_name_leads_out_of_the_folders(package: Path, name: str) -> None:
    try:
        found = find_model(name, [package.parent])
    except ModelError:
        return
    assert found == package or name.startswith(".") or "/" in name
