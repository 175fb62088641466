import pytest
import torch
from torch import nn

from geoseg.errors import ConfigError
from geoseg.train.device import check_sync_batch_norm, place


def test_a_placed_network_is_the_same_network() -> None:
    network = nn.Conv2d(3, 4, 3)
    before = network.weight.detach().clone()
    assert place(network, torch.device("cpu")) is network
    assert network.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(network.weight, before)


def test_synchronized_batch_normalization_is_for_cuda() -> None:
    check_sync_batch_norm(torch.device("cuda"), asked=True)
    check_sync_batch_norm(torch.device("cpu"), asked=False)
    words = "expected a CUDA device for training.sync_batch_norm, got cpu: .* group, which needs no exchange"
    with pytest.raises(ConfigError, match=words):
        check_sync_batch_norm(torch.device("cpu"), asked=True)
