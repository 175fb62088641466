"""Workers that train one network together: what they tell one another, through torch.distributed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

_Fact = TypeVar("_Fact")

_AT_ONCE = 2**24
"""Numbers of a gradient that are added up at once: 64 MB, so that no second gradient is held."""


@dataclass(frozen=True, slots=True)
class Team:
    """A worker's place among those that train one network; alone unless said otherwise.

    Every method is called by all workers, in the same order, and waits for them.

    Gradients are added up after the last of them is there, in pieces that depend on the network alone. PyTorch's
    DistributedDataParallel would add them up while others are still computed, but by buckets that it arranges anew
    after the first step of a process: with three workers or more, a run that was resumed would then add in another
    order than one that was not, and its last bits would differ.

    Attributes:
        rank: This worker's number, from 0; number 0 leads: it decides, writes and reports.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def of_processes(cls) -> "Team":
        """The team of torch's process group; alone where there is none."""
        if not distributed.is_initialized():
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this worker is the one that writes."""
        return self.rank == 0

    def number(self, mine: int, each: int) -> int:
        """The number, among the batches of all workers, of one of this worker's own.

        Of the `each` x `size` batches of an iteration, a worker takes `each` in a row, so that all workers together
        see what one with `size` times as many would see.

        Args:
            mine: Number among this worker's batches, from 0.
            each: A worker's batches of an iteration.
        """
        iteration, place = divmod(mine, each)
        return (iteration * self.size + self.rank) * each + place

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all workers, of the same shape and on the same device; what is given stays."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum over all workers in place of each gradient."""
        if self.size == 1:
            return
        for gradients in _pieces(parameter.grad for parameter in parameters):
            flat_n = torch.cat([gradient.reshape(-1) for gradient in gradients])
            distributed.all_reduce(flat_n)
            start = 0
            for gradient in gradients:
                stop = start + gradient.numel()
                gradient.copy_(flat_n[start:stop].view(gradient.shape))
                start = stop

    def gather(self, fact: _Fact) -> list[_Fact]:
        """What each worker says, by rank: anything that can be pickled."""
        if self.size == 1:
            return [fact]
        facts: list[_Fact] = [fact] * self.size
        distributed.all_gather_object(facts, fact)
        return facts

    def led(self, *flags: bool) -> tuple[bool, ...]:
        """What the leader says, in place of what this worker says: for decisions that clocks or signals make."""
        if self.size == 1:
            return flags
        said_n = torch.tensor(flags, dtype=torch.uint8, device=_device())
        distributed.broadcast(said_n, 0)
        return tuple(bool(flag) for flag in said_n.tolist())

    def follow(self, network: nn.Module) -> None:
        """Take over the leader's weights and batch statistics, in place."""
        self._take(chain(network.parameters(), network.buffers()))

    def follow_statistics(self, network: nn.Module) -> None:
        """Take over the leader's batch statistics alone: the weights are the same everywhere."""
        self._take(network.buffers())

    def _take(self, tensors: Iterable[Tensor]) -> None:
        if self.size == 1:
            return
        for tensor in tensors:
            said = tensor.detach().clone(memory_format=torch.contiguous_format)
            distributed.broadcast(said, 0)
            with torch.no_grad():
                tensor.copy_(said)


ALONE = Team()
"""One worker, without torch.distributed."""


def synchronized(network: nn.Module) -> nn.Module:
    """The network with batch statistics over all workers' crops; its weights are the same objects.

    Args:
        network: Changed in place, unless it is a batch normalization itself.
    """
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]  # torch's
    return converted


def _device() -> torch.device:
    """Where small facts travel: on the CPU, unless the workers can only talk through GPUs."""
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


def _pieces(gradients: Iterable[Tensor | None]) -> Iterator[list[Tensor]]:
    """Gradients together, of one type and device, up to a size; those that are not there left out."""
    piece: list[Tensor] = []
    held = 0
    for gradient in gradients:
        if gradient is None:
            continue
        alike = not piece or (gradient.dtype, gradient.device) == (piece[0].dtype, piece[0].device)
        if piece and (not alike or held + gradient.numel() > _AT_ONCE):
            yield piece
            piece, held = [], 0
        piece.append(gradient)
        held += gradient.numel()
    if piece:
        yield piece
