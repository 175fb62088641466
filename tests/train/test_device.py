import torch
from torch import nn

from geoseg.train.device import place


def test_a_placed_network_is_the_same_network() -> None:
    network = nn.Conv2d(3, 4, 3)
    before = network.weight.detach().clone()
    assert place(network, torch.device("cpu")) is network
    assert network.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(network.weight, before)
