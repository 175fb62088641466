import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geoseg.train.ema import Ema


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


@given(st.floats(0, 0.9999), st.integers(1, 30))
def test_it_is_the_average_of_its_formula(decay: float, steps: int) -> None:
    torch.manual_seed(0)
    model = network().double()
    ema = Ema(model, decay)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step in range(1, steps + 1):
        model(torch.randn(4, 1, 3, 3, dtype=torch.float64))  # moves the batch statistics
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        ema.update(model)
        d = min(decay, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            whole = name.endswith("num_batches_tracked")
            expected[name] = tensor.clone() if whole else d * expected[name] + (1 - d) * tensor
    for name, tensor in ema.model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])
    assert not ema.model.training
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())


def test_it_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    model = network()
    one = Ema(model, 0.99)
    for _ in range(3):
        nn.init.normal_(next(model.parameters()))
        one.update(model)
    other = Ema(network(), 0.99)
    other.load_state_dict(one.state_dict())
    nn.init.normal_(next(model.parameters()))
    one.update(model)
    other.update(model)
    theirs = other.model.state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in one.model.state_dict().items())
