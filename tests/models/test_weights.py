import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from geoseg.errors import ModelError
from geoseg.models.architecture import Architecture
from geoseg.models.card import CardDraft
from geoseg.models.weights import build_from, check_tensors, decode, encode, load_state, tensor_shapes


class Evil:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


def test_float32_is_exact(draft: CardDraft, network: nn.Module) -> None:
    data = encode(network, draft.architecture, "float32")
    state = build_from(decode(data, draft.architecture, "float32"), draft.architecture).state_dict()
    assert set(state) == set(network.state_dict())
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(state[name], tensor), name


def test_float16_is_the_nearest_half(draft: CardDraft, network: nn.Module) -> None:
    data = encode(network, draft.architecture, "float16")
    state = build_from(decode(data, draft.architecture, "float16"), draft.architecture).state_dict()
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert state[name].dtype == torch.float32
            assert torch.equal(state[name], tensor.half().float()), name


def test_equal_weights_give_equal_bytes(draft: CardDraft, network: nn.Module) -> None:
    data = encode(network, draft.architecture, "float16")
    rebuilt = build_from(decode(data, draft.architecture, "float16"), draft.architecture)
    assert encode(rebuilt, draft.architecture, "float16") == data


def test_a_built_network_shares_no_memory_with_the_tensors(draft: CardDraft, network: nn.Module) -> None:
    tensors = decode(encode(network, draft.architecture, "float32"), draft.architecture, "float32")
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    built = build_from(tensors, draft.architecture)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(1)
    assert all(torch.equal(tensors[name], before[name]) for name in before)


def test_a_weight_too_large_for_float16_is_refused(draft: CardDraft, network: nn.Module) -> None:
    tensors = decode(encode(network, draft.architecture, "float32"), draft.architecture, "float32")
    large = build_from(tensors | {"head.bias": torch.full((3,), 1e5)}, draft.architecture)
    assert encode(large, draft.architecture, "float32")
    with pytest.raises(ModelError, match=r"head\.bias .* float16"):
        encode(large, draft.architecture, "float16")


def test_tensors_of_another_network_are_refused(draft: CardDraft, network: nn.Module) -> None:
    tensors = decode(encode(network, draft.architecture, "float32"), draft.architecture, "float32")
    check_tensors(tensors, draft.architecture)
    for other in (
        tensors | {"extra": torch.zeros(1)},
        {name: tensor for name, tensor in tensors.items() if name != "head.bias"},
        tensors | {"head.bias": torch.zeros(4)},
        tensors | {"head.bias": torch.zeros(3, 1)},
        tensors | {"head.bias": torch.zeros(3, dtype=torch.int64)},
        tensors | {"head.bias": torch.tensor([0, 0, torch.nan])},
    ):
        with pytest.raises(ModelError, match=r"extra|head\.bias"):
            check_tensors(other, draft.architecture)


def test_the_number_format_must_be_the_one_announced(draft: CardDraft, network: nn.Module) -> None:
    with pytest.raises(ModelError, match=r"expected weight .* in float16, got float32"):
        decode(encode(network, draft.architecture, "float32"), draft.architecture, "float16")


def test_shapes_cost_no_memory() -> None:
    shapes = tensor_shapes(Architecture("unet", bands=3, classes=5, width=4.0))
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) > 400_000_000


@settings(max_examples=50, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_damaged_headers_are_refused_or_harmless(
    position: float, bits: int, draft: CardDraft, network: nn.Module
) -> None:
    data = bytearray(encode(network, draft.architecture, "float16"))
    header_bytes = 8 + int.from_bytes(data[:8], "little")
    data[int(position * header_bytes)] ^= bits
    try:
        tensors = decode(bytes(data), draft.architecture, "float16")
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right, in its own way
    else:
        assert {name: tuple(t.shape) for name, t in tensors.items()} == tensor_shapes(draft.architecture)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_tensors_by_name_are_read(suffix: str, tmp_path: Path) -> None:
    state = {"a": torch.randn(3, 4), "b.c": torch.arange(5), "wide": torch.randn(2, 3, 4, 4)}
    path = tmp_path / f"state{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        state["wide"] = state["wide"].to(memory_format=torch.channels_last)
        torch.save(state, path)
    loaded = load_state(path)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_the_old_format_of_torch_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(load_state(tmp_path / "old.pth")["a"], torch.ones(3))


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_hostile_pickle_is_refused_and_does_not_run(form: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "executed", tmp_path / "evil.pth"
    content = {"a": torch.zeros(2), "b": Evil(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    pickle.loads(pickle.dumps(Evil(marker)))  # noqa: S301 - shows that it does run where it is let
    assert marker.exists()
    marker.unlink()
    with pytest.raises(ModelError, match=r"evil\.pth is damaged, or holds more than tensors by name"):
        load_state(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(1)],
        torch.zeros(1),
        3,
        {"a": 1},
        {"state_dict": {"a": torch.zeros(1)}},
        {1: torch.zeros(1)},
        {"a": torch.zeros(1).expand(10**12)},
        {"a": torch.eye(3).to_sparse()},
        {"a": torch.zeros(3, device="meta")},
    ],
    ids=["list", "tensor", "number", "dict of numbers", "nested", "int key", "stride 0", "sparse", "meta"],
)
def test_anything_but_tensors_by_name_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "state.pt")
    with pytest.raises(ModelError, match=r"state\.pt"):
        load_state(tmp_path / "state.pt")


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "state.pt")
    with (
        zipfile.ZipFile(tmp_path / "state.pt") as stored,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as deflated,
    ):
        for member in stored.namelist():
            deflated.writestr(member, stored.read(member))
    with pytest.raises(ModelError, match="unpacks to"):
        load_state(tmp_path / "bomb.pt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"\.safetensors, \.pth or \.pt"):
        load_state(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="there is no"):
        load_state(tmp_path / "missing.pth")


@settings(max_examples=50, deadline=None)
@given(
    form=st.sampled_from(["zip.pth", "legacy.pth", "state.safetensors"]),
    position=st.floats(0, 1, exclude_max=True),
    bits=st.integers(1, 255),
    truncate=st.booleans(),
)
def test_damaged_files_are_refused_or_hold_tensors(
    form: str, position: float, bits: int, truncate: bool, folder: Path
) -> None:
    path = folder / form
    state = {"a": torch.ones(2, 3), "b": torch.zeros(4)}
    if form == "state.safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip.pth")
    data = bytearray(path.read_bytes())
    index = int(position * len(data))
    data[index] ^= bits
    path.write_bytes(data[:index] if truncate else data)
    try:
        loaded = load_state(path)
    except ModelError as error:
        assert form in str(error)  # noqa: PT017 - either outcome is right, in its own way
        assert "\n" not in str(error)  # noqa: PT017  # the same
    else:
        assert all(isinstance(tensor, Tensor) for tensor in loaded.values())
