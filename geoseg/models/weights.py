"""A network's weights as a file: tensors by name in safetensors, checked against the network they are for.

`num_batches_tracked`, the counter that batch normalization keeps for a training mode that no network here
uses, is neither stored nor read; a loaded network's counters are 0.
"""

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from geoseg.errors import ModelError
from geoseg.models.architecture import Architecture, build
from geoseg.models.card import WeightsDtype

_COUNTER = "num_batches_tracked"

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

_MALFORMED = (
    # What torch's and safetensors' readers raise on a file that is damaged or made up.
    SafetensorError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def tensor_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that a network stores, without allocating any of them."""
    with torch.device("meta"):
        network = build(architecture)
    return {name: tuple(tensor.shape) for name, tensor in _stored(network.state_dict()).items()}


def check_tensors(tensors: Mapping[str, Tensor], architecture: Architecture) -> None:
    """Check that tensors are a network's: all of them, no other, in shape, and finite.

    Raises:
        ModelError: They are not; it names the first that is wrong.
    """
    shapes = tensor_shapes(architecture)
    if missing := [name for name in shapes if name not in tensors]:
        raise ModelError(
            f"{len(missing)} weights of {architecture.name} are missing, the first is {missing[0]}: "
            "the weights are of another network"
        )
    for name, tensor in tensors.items():
        if name not in shapes:
            raise ModelError(f"{architecture.name} has no weight {name!r}: the weights are of another network")
        if tuple(tensor.shape) != shapes[name]:
            raise ModelError(
                f"expected weight {name} of shape {shapes[name]}, got {tuple(tensor.shape)}: "
                "the weights are of another network"
            )
        if tensor.dtype not in _FLOATS:
            raise ModelError(f"expected weight {name} as floating-point numbers, got {_dtype_name(tensor)}")
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"weight {name} holds NaN or infinity in {_dtype_name(tensor)}")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise ModelError(f"weight {name} holds a variance below 0: the file is damaged")


def encode(network: nn.Module, architecture: Architecture, dtype: WeightsDtype) -> bytes:
    """The bytes of a weights file; equal weights give equal bytes.

    Raises:
        ModelError: The network is not of this architecture, or a weight does not fit the number format.
    """
    tensors = {
        name: tensor.detach().to("cpu", getattr(torch, dtype), copy=True).contiguous()
        for name, tensor in _stored(network.state_dict()).items()
    }
    check_tensors(tensors, architecture)
    return bytes(safetensors.torch.save(tensors))


def decode(data: bytes, architecture: Architecture, dtype: WeightsDtype) -> dict[str, Tensor]:
    """The tensors of a weights file, in the file's number format, on the CPU.

    Raises:
        ModelError: The bytes are no safetensors file, or not one of this network in this number format.
    """
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except _MALFORMED as error:
        raise ModelError(f"the weights are no valid safetensors file: {_words(error)}") from error
    check_tensors(tensors, architecture)
    for name, tensor in tensors.items():
        if _dtype_name(tensor) != dtype:
            raise ModelError(f"expected weight {name} in {dtype}, got {_dtype_name(tensor)}")
    return tensors


def build_from(tensors: Mapping[str, Tensor], architecture: Architecture) -> nn.Module:
    """The network with these weights, in float32 on the CPU, in evaluation mode.

    The weights are copied. They must have passed `check_tensors`.
    """
    with torch.device("meta"):
        network = build(architecture)
    state = {name: tensor.to("cpu", torch.float32, copy=True) for name, tensor in tensors.items()}
    counters = {name: torch.tensor(0) for name in network.state_dict() if name.endswith(_COUNTER)}
    network.load_state_dict(state | counters, assign=True)
    return network.eval()


def load_state(path: Path) -> dict[str, Tensor]:
    """The tensors in a file that somebody else made.

    Nothing in the file is executed: a `.pth` or `.pt` is read by torch's restricted unpickler, which knows
    tensors and containers and refuses the rest. (That reader had holes before torch 2.10: CVE-2025-32434 and
    CVE-2026-24747.)

    Args:
        path: A `.safetensors` file, or a `.pth` or `.pt` that holds a state dict (names to tensors).

    Returns:
        Tensors by name, on the CPU.

    Raises:
        ModelError: The file is missing, damaged, of another kind, or holds anything but tensors by name.
    """
    suffix = path.suffix.lower()
    if suffix not in (".safetensors", ".pth", ".pt"):
        raise ModelError(f"expected a weights file .safetensors, .pth or .pt, got {path}")
    if not path.is_file():
        raise ModelError(f"there is no weights file {path}")
    try:
        if suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            _refuse_compression(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is damaged, or holds more than tensors by name (a whole module, or code) and is not read: "
            "save the state dict alone, best as .safetensors"
        ) from error
    except _MALFORMED as error:
        raise ModelError(f"{path} cannot be read as weights: {_words(error)}") from error
    if not isinstance(state, Mapping):
        raise ModelError(f"expected tensors by name in {path}, got a {type(state).__name__}")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ModelError(
                f"expected tensors by name in {path}, got a {type(tensor).__name__} under {name!r}: "
                "save the state dict alone"
            )
        if not _is_plain(tensor):
            raise ModelError(f"expected a dense tensor under {name!r} in {path}: save plain CPU tensors")
    return dict(state)


def _stored(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the counters."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(_COUNTER)}


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _refuse_compression(path: Path) -> None:
    """Raise ValueError for an archive that would unpack to more than its size; torch never writes one."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked_bytes = sum(member.file_size for member in archive.infolist())
        if unpacked_bytes > path.stat().st_size:
            raise ValueError(f"it unpacks to {unpacked_bytes} bytes, more than the file has")


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is dense, in memory, and backed by storage (stride 0 lets one number pose as many)."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _words(error: BaseException) -> str:
    """The start of an error's message as one printable line."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return "".join(char if char.isprintable() else "?" for char in first[:200])
