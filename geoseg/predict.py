"""The network on a device: tiles in, logits out; and the numerics that decide the last bits."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from geoseg.errors import GeosegError, ModelError

Precision = Literal["fp32", "bf16", "fp16"]

_GPU_BATCH = 8


@dataclass(frozen=True, slots=True)
class Numerics:
    """What besides the plan decides a prediction's last bits.

    Attributes:
        device: "cpu", "cuda" or "cuda:N".
        precision: Of the network's matrix products; the rest is float32.
        threads: CPU threads of a worker.
        batch: Tiles in one forward pass; the last batch is filled up with zeros.
        elsewhere: Whether it is computed on other machines than this one, as of a cluster.
    """

    device: str
    precision: Precision
    threads: int
    batch: int
    elsewhere: bool = False

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for two blocks to be of one run: this, torch and the kind of processor.

        Where the processor is another machine's, its kind and its torch are not known here, and None.
        """
        said = {key: value for key, value in asdict(self).items() if key != "elsewhere"}
        if self.elsewhere:
            return {**said, "torch": None, "kind": None}
        if self.device == "cpu":
            kind = torch.backends.cpu.get_cpu_capability()
        else:
            kind = torch.cuda.get_device_name(self.device)
        return {**said, "torch": torch.__version__, "kind": kind}

    def here(self) -> "Numerics":
        """The same where it is computed.

        Raises:
            GeosegError: This machine has no such device, or none that multiplies in this precision.
        """
        choose_device(self.device)
        if self.device != "cpu" and self.precision == "bf16" and not torch.cuda.is_bf16_supported():
            raise GeosegError(
                f"{torch.cuda.get_device_name(self.device)} does not multiply in bf16: use --precision fp16"
            )
        return replace(self, elsewhere=False)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Where the numerics of a run's blocks differ from those of now, and what to do; nothing where they do not.

    Args:
        before: A fingerprint.
        now: What is known of the one now.
    """
    differs = [f"{key} was {before.get(key)}, is {now[key]}" for key in now if before.get(key) != now[key]]
    if not differs:
        return ""
    return (
        f"other numerics ({'; '.join(differs)}), so the last bits of the rest would not match: go on where it "
        "began, with the same --device, --precision and --threads-per-worker, or accept it with --mixed-numerics"
    )


def choose_device(asked: str | None, *, elsewhere: bool = False) -> str:
    """The device asked for, else CUDA ("cuda": a device for each worker), else the CPU.

    Args:
        asked: "cpu", "cuda" or "cuda:N"; None to go by this machine.
        elsewhere: Whether other machines compute, whose devices are not known here.

    Raises:
        GeosegError: A device that this machine does not have; nothing else is taken in its place.
    """
    if elsewhere and asked is not None and asked.partition(":")[0] == "cuda":
        if asked != "cuda":
            raise GeosegError(
                f"expected --device cuda with --address, got {asked}: each worker gets a GPU of its own"
            )
        return asked
    cuda = torch.cuda.is_available()
    if asked is None:
        return "cuda" if cuda else "cpu"
    name, _, number = asked.partition(":")
    if asked == "cpu" or (name == "cuda" and cuda and (not number or number.isdigit())):
        if number and int(number) >= torch.cuda.device_count():
            raise GeosegError(f"--device {asked}: this machine has {torch.cuda.device_count()} CUDA device(s)")
        return asked
    if name == "cuda":
        raise GeosegError(f"--device {asked}: no CUDA device answers here; use --device cpu, or check the driver")
    raise GeosegError(f"expected --device cpu, cuda or cuda:N, got {asked}")


def choose_precision(asked: Precision | None, device: str) -> Precision:
    """The precision asked for, else bf16 where the processor multiplies it in hardware, else fp32.

    Raises:
        GeosegError: fp16 on a CPU, which has no kernels for it worth running.
    """
    if asked == "fp16" and device == "cpu":
        raise GeosegError("--precision fp16 needs a CUDA device; use fp32 or bf16 on a CPU")
    if asked is not None:
        return asked
    if device == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return "bf16" if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") else "fp32"
    # GPUs that are elsewhere multiply in bf16 if they are of 2020 or later; those that do not say so.
    return "bf16" if not torch.cuda.is_available() or torch.cuda.is_bf16_supported() else "fp16"


def tiles_at_once(device: str) -> int:
    """Tiles in one forward pass: a CPU is busy with one."""
    return 1 if device == "cpu" else _GPU_BATCH


class Predictor:
    """A network on a device: batches of tiles in, logits out.

    Args:
        network: From tiles (batch, band, row, column) to logits (batch, class, row, column), float32.
        numerics: Where and how it runs.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], numerics: Numerics) -> None:
        self._network = network
        self._numerics = numerics
        if isinstance(network, torch.nn.Module):
            network.eval().to(numerics.device)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    @property
    def batch(self) -> int:
        """Tiles in one forward pass."""
        return self._numerics.batch

    @property
    def device(self) -> str:
        """Where it runs."""
        return self._numerics.device

    def logits(self, tiles_nchw: Tensor) -> Tensor:
        """The answer to a full batch of normalized tiles.

        Args:
            tiles_nchw: float32 (tile, band, row, column); always as many as a batch has, since the kernels, and
                with them the last bits, may depend on it.

        Returns:
            float32 (tile, class, row, column), on the device.

        Raises:
            ModelError: The network's answer is not finite.
        """
        with torch.inference_mode():
            with self._autocast():
                input_nchw = tiles_nchw.to(self._numerics.device, non_blocking=True)
                logits_nchw = self._network(input_nchw.contiguous(memory_format=torch.channels_last)).float()
            # A sum is NaN or infinite where one of its terms is.
            if not bool(torch.isfinite(logits_nchw.sum())):
                raise ModelError(
                    f"the network's answer is not finite in {self._numerics.precision}: its weights are "
                    "damaged, or it needs --precision fp32"
                )
            return logits_nchw

    def _autocast(self) -> AbstractContextManager[Any]:
        match self._numerics.precision:
            case "fp32":
                return nullcontext()
            case "bf16":
                return torch.autocast(self._numerics.device.partition(":")[0], torch.bfloat16)
            case "fp16":
                return torch.autocast("cuda", torch.float16)
