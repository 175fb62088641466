"""Normalization of features, over the batch or over groups of channels."""

from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from geoseg.models.architecture import Architecture, ArchitectureName, build
from geoseg.models.card import CardDraft
from geoseg.models.normalization import groups, normalize
from geoseg.models.package import load_package, save_package


def grouped(name: ArchitectureName, classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return build(Architecture(name, 4, classes, 0.125, normalization="group"))


@given(st.integers(1, 512).map(lambda eighths: 8 * eighths))
def test_groups_are_as_many_as_there_can_be_of_16_channels(channels: int) -> None:
    count = groups(channels)
    allowed = [n for n in range(1, 33) if channels % n == 0 and (channels // n >= 16 or n == 1)]
    assert count == max(allowed)


def test_a_layer_is_the_formula_of_the_paper() -> None:
    layer = normalize(48, "group").double()
    assert isinstance(layer, nn.GroupNorm)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    image_nchw = torch.randn(2, 48, 5, 7, dtype=torch.float64)
    # Wu and He 2018, equations 1, 2, 3, 6 and 7.
    apart = image_nchw.reshape(2, 3, 16, 5, 7)
    mean, variance = apart.mean((2, 3, 4), keepdim=True), apart.var((2, 3, 4), keepdim=True, unbiased=False)
    expected_nchw = ((apart - mean) / (variance + layer.eps).sqrt()).reshape(image_nchw.shape)
    expected_nchw = expected_nchw * layer.weight[:, None, None] + layer.bias[:, None, None]
    torch.testing.assert_close(layer(image_nchw), expected_nchw)


@pytest.mark.parametrize("name", get_args(ArchitectureName))
def test_only_the_kind_of_normalization_changes(name: ArchitectureName) -> None:
    with torch.device("meta"):
        batch = build(Architecture(name, 3, 5, 0.25))
        group = build(Architecture(name, 3, 5, 0.25, normalization="group"))
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    learned = {name: t.shape for name, t in batch.state_dict().items() if not name.endswith(statistics)}
    assert {name: t.shape for name, t in group.state_dict().items()} == learned
    kinds = [type(layer) for layer in group.modules()]
    assert nn.BatchNorm2d not in kinds
    assert kinds == [nn.GroupNorm if type(layer) is nn.BatchNorm2d else type(layer) for layer in batch.modules()]


def test_both_begin_from_the_same_weights() -> None:
    group = grouped("unet_resnet18").state_dict()
    torch.manual_seed(0)
    batch = build(Architecture("unet_resnet18", 4, 3, 0.125)).state_dict()
    assert all(torch.equal(tensor, batch[name]) for name, tensor in group.items())


@pytest.mark.parametrize("name", ["unet", "unet_resnet50", "deeplabv3plus_resnet18"])
def test_in_training_images_of_a_batch_do_not_see_each_other_and_one_is_enough(name: ArchitectureName) -> None:
    network = grouped(name).double().train()
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    image_nchw = torch.randn(2, 4, 64, 64, dtype=torch.float64)
    labels_nhw = torch.randint(0, 3, (2, 64, 64))

    def gradient(images_nchw: Tensor, labels: Tensor) -> list[Tensor]:
        loss = functional.cross_entropy(network(images_nchw), labels)
        return list(torch.autograd.grad(loss, list(network.parameters())))

    together = gradient(image_nchw, labels_nhw)
    alone = [gradient(image_nchw[i : i + 1], labels_nhw[i : i + 1]) for i in range(2)]
    for both, first, second in zip(together, *alone, strict=True):
        torch.testing.assert_close(both, (first + second) / 2, rtol=1e-7, atol=1e-10)
        assert bool((both != 0).any())


@pytest.mark.parametrize("name", ["unet", "unet_resnet18", "deeplabv3plus_resnet18"])
def test_a_package_says_what_the_network_said(name: ArchitectureName, draft: CardDraft, tmp_path: Path) -> None:
    network = grouped(name)
    architecture = Architecture(name, 4, 3, 0.125, normalization="group")
    save_package(tmp_path / "model", draft.model_copy(update={"architecture": architecture}), network)
    loaded = load_package(tmp_path / "model")
    assert loaded.card.architecture == architecture
    image_nchw = torch.randn(1, 4, 40, 50)
    kept = {key: tensor.half().float() for key, tensor in network.state_dict().items()}
    network.load_state_dict(kept)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.build().eval()(image_nchw), network.eval()(image_nchw))


def test_more_channels_never_have_fewer_than_16_in_a_group() -> None:
    counts = [groups(channels) for channels in (8, 16, 32, 64, 128, 256, 512, 2048)]
    assert counts == [1, 1, 2, 4, 8, 16, 32, 32]
    assert all(before <= after for before, after in pairwise(counts))
