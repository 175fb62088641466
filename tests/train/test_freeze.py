"""What stays as it is while a network learns."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from geoseg.errors import ConfigError
from geoseg.models.architecture import Architecture, build
from geoseg.train.freeze import Frozen


def network(name: Any, *measured: str) -> nn.Module:  # noqa: ANN401  # a literal
    """A network whose normalizations with such names have measured something."""
    torch.manual_seed(0)
    made = build(Architecture(name, 1, 2, 0.05))
    for key, layer in made.named_modules():
        if isinstance(layer, nn.BatchNorm2d) and key.startswith(measured):
            nn.init.normal_(layer.running_mean)  # type: ignore[arg-type]  # there are statistics
            nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
    return made


def learn(model: nn.Module, frozen: Frozen) -> set[str]:
    """Do a step; returns the names of the tensors that it changed."""
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model.train()
    frozen.hold()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, 0.1)
    loss = functional.cross_entropy(model(torch.randn(2, 1, 64, 64)), torch.randint(0, 2, (2, 64, 64)))
    torch.autograd.backward(loss)
    optimizer.step()
    return {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}


@pytest.mark.parametrize("name", ["unet", "unet_resnet18", "deeplabv3plus_resnet18"])
@pytest.mark.parametrize("sync", [False, True])
def test_measured_statistics_stay_and_all_weights_learn(name: str, *, sync: bool) -> None:
    model = network(name, "")
    if sync:  # a layer that computes on CUDA alone, unless its statistics stay
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    changed = learn(model, Frozen(model, (), norms=True))
    assert changed == {key for key, _ in model.named_parameters()}


def test_what_has_measured_nothing_goes_on_measuring() -> None:
    model = network("unet_resnet18", "encoder.")
    changed = learn(model, Frozen(model, (), norms=True))
    statistics = {key for key, _ in model.named_buffers()}
    decoder = {key for key in statistics if key.startswith("decoder.")}
    assert decoder
    assert changed & statistics == decoder


def test_frozen_stages_and_statistics_go_together() -> None:
    model = network("unet_resnet18", "")
    changed = learn(model, Frozen(model, ("stem",), norms=True))
    assert changed == {
        key for key, _ in model.named_parameters() if not key.startswith(("encoder.conv1", "encoder.bn1"))
    }


def test_images_of_a_batch_do_not_see_each_other_under_kept_statistics() -> None:
    model = network("deeplabv3plus_resnet18", "").double()
    frozen = Frozen(model, (), norms=True)
    model.train()
    frozen.hold()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    image_nchw = torch.randn(2, 1, 64, 64, dtype=torch.float64)

    def gradient(images_nchw: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(model(images_nchw).square().mean(), list(model.parameters())))

    # One image at a time, too, which image pooling refuses where it measures.
    alone = [gradient(image_nchw[i : i + 1]) for i in range(2)]
    for both, first, second in zip(gradient(image_nchw), *alone, strict=True):
        torch.testing.assert_close(both, (first + second) / 2, rtol=1e-7, atol=1e-12)


def test_a_network_without_statistics_is_refused() -> None:
    with pytest.raises(ConfigError, match="measured none: name start_from or "):
        Frozen(network("unet_resnet18", "nothing"), (), norms=True)
    grouped = build(Architecture("unet", 1, 2, 0.05, normalization="group"))
    with pytest.raises(ConfigError, match=r"batch normalization, got one without .*: remove it"):
        Frozen(grouped, (), norms=True)
