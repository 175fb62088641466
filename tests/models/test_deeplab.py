from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from geoseg.errors import ModelError
from geoseg.models.architecture import Architecture, ArchitectureName, build
from geoseg.models.card import CardDraft
from geoseg.models.deeplab import ASPP, Decoder, DeepLabV3Plus
from geoseg.models.package import load_package, save_package
from geoseg.models.resnet import ResNetEncoder, ResNetVariant

Array = NDArray[np.float64]

BASIC: ArchitectureName = "deeplabv3plus_resnet18"
DEEP: ArchitectureName = "deeplabv3plus_resnet50"
TINY = [
    Architecture(BASIC, bands=3, classes=5, width=0.05),
    Architecture(BASIC, bands=3, classes=5, width=0.05, output_stride=8, separable=True),
    Architecture(DEEP, bands=3, classes=5, width=0.05, output_stride=8),
    Architecture(DEEP, bands=3, classes=5, width=0.05, separable=True),
]

# Classifier-free ResNets: torchvision's published counts (see test_resnet.py) less 1000 x channels + 1000.
ENCODER_PARAMETERS: dict[ResNetVariant, int] = {
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
    "resnet101": 44_549_160 - 2_049_000,
}


def parameter_count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def tiny(architecture: Architecture) -> nn.Module:
    """A network whose batch normalization has seen data, so that its statistics are not 0 and 1."""
    torch.manual_seed(0)
    network = build(architecture)
    network(torch.randn(4, architecture.bands, 64, 64))
    return network.eval()


def logits(network: nn.Module, image_nchw: Tensor) -> Tensor:
    with torch.inference_mode():
        out_nchw: Tensor = network.eval()(image_nchw)
    return out_nchw


# --- parameters, layer by layer from the papers ---------------------------------------------------------------


def unit(before: int, after: int, kernel: int, *, separable: bool = False) -> int:
    """A convolution without bias, and two numbers a channel of batch normalization."""
    if separable:
        return kernel**2 * before + 2 * before + unit(before, after, 1)
    return kernel**2 * before * after + 2 * after


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("deepest", [512, 2048])
def test_the_pyramids_parameters_are_the_papers(deepest: int, separable: bool) -> None:
    # Chen et al. 2017, section 3.3: "(a) one 1x1 convolution and three 3x3 convolutions with rates = (6, 12, 18)
    # ... (all with 256 filters and batch normalization), and (b) the image-level features" through a 1x1
    # convolution with 256 filters; all concatenated, and another 1x1 convolution with 256 filters.
    count = unit(deepest, 256, 1) + 3 * unit(deepest, 256, 3, separable=separable) + unit(deepest, 256, 1)
    count += unit(5 * 256, 256, 1)
    with torch.device("meta"):
        assert parameter_count(ASPP(deepest, 256, (6, 12, 18), separable)) == count
    if deepest == 2048 and not separable:
        # torchvision's deeplabv3_resnet50 has 42,004,074 parameters with its auxiliary head
        # (https://pytorch.org/vision/stable/models.html, semantic segmentation): 23,508,032 in the encoder,
        # 2,365,205 in the auxiliary head, 595,733 in the head after the pyramid (3x3 of 256, 21 classes).
        assert count == 42_004_074 - 23_508_032 - 2_365_205 - 595_733


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("low", [64, 256])
def test_the_decoders_parameters_are_the_papers(low: int, separable: bool) -> None:
    # Chen et al. 2018, section 3.1 and 4.1: low-level features through [1x1, 48]; concatenated with the 256
    # channels of the pyramid; [3x3, 256] twice.
    count = unit(low, 48, 1)
    count += unit(256 + 48, 256, 3, separable=separable) + unit(256, 256, 3, separable=separable)
    with torch.device("meta"):
        assert parameter_count(Decoder(256, low, 48, 256, separable)) == count


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("variant", sorted(ENCODER_PARAMETERS))
def test_the_networks_parameters_are_those_of_its_parts(variant: ResNetVariant, output_stride: int) -> None:
    deepest, low = (512, 64) if variant in ("resnet18", "resnet34") else (2048, 256)
    pyramid = 2 * unit(deepest, 256, 1) + 3 * unit(deepest, 256, 3) + unit(5 * 256, 256, 1)
    decoder = unit(low, 48, 1) + unit(256 + 48, 256, 3) + unit(256, 256, 3)
    head = 256 * 21 + 21
    with torch.device("meta"):
        network = DeepLabV3Plus(variant, 3, 21, output_stride=8 if output_stride == 8 else 16)
    assert parameter_count(network) == ENCODER_PARAMETERS[variant] + pyramid + decoder + head


# --- slow references ------------------------------------------------------------------------------------------


def atrous(image_chw: Array, weight_oikk: Array, rate: int, groups: int = 1) -> Array:
    """Equation 1 of Chen et al. 2018, y[i] = sum over k of x[i + r k] w[k], with zeros beyond the image."""
    channels_out, channels_in, size, _ = weight_oikk.shape
    height, width = image_chw.shape[1:]
    out_ohw = np.zeros((channels_out, height, width))
    for out in range(channels_out):
        start = out // (channels_out // groups) * channels_in
        for row in range(height):
            for col in range(width):
                for i in range(size):
                    for j in range(size):
                        y, x = row + rate * (i - size // 2), col + rate * (j - size // 2)
                        if 0 <= y < height and 0 <= x < width:
                            taps = image_chw[start : start + channels_in, y, x]
                            out_ohw[out, row, col] += taps @ weight_oikk[out, :, i, j]
    return out_ohw


def bilinear(image_chw: Array, height: int, width: int) -> Array:
    """Pixels as areas: target pixel i has its centre at (i + 1/2) h / H - 1/2, clipped to the outer centres."""

    def weights(count: int, size: int) -> Array:
        at = np.clip((np.arange(count) + 0.5) * size / count - 0.5, 0, size - 1)
        return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(size)))

    rows, cols = weights(height, image_chw.shape[1]), weights(width, image_chw.shape[2])
    return np.einsum("yr,crx,xd->cyd", rows, image_chw, cols.T)


def reference(layers: nn.Module, image_chw: Array) -> Array:
    """A chain of convolutions, normalizations, ReLUs and pooling, one after another in numpy."""
    for layer in layers.children():
        match layer:
            case nn.Conv2d():
                image_chw = atrous(image_chw, layer.weight.detach().numpy(), layer.dilation[0], layer.groups)
                if layer.bias is not None:
                    image_chw = image_chw + layer.bias.detach().numpy()[:, None, None]
            case nn.BatchNorm2d():
                mean, var = layer.running_mean, layer.running_var
                assert mean is not None
                assert var is not None
                scale = layer.weight.detach().numpy() / np.sqrt(var.numpy() + layer.eps)
                shift = layer.bias.detach().numpy() - mean.numpy() * scale
                image_chw = image_chw * scale[:, None, None] + shift[:, None, None]
            case nn.ReLU():
                image_chw = np.maximum(image_chw, 0)
            case nn.AdaptiveAvgPool2d():
                image_chw = image_chw.mean(axis=(1, 2), keepdims=True)
            case _:
                assert isinstance(layer, nn.Dropout)  # nothing outside training
    return image_chw


def pyramid_reference(aspp: nn.Module, image_chw: Array) -> Array:
    branches = [reference(branch, image_chw) for branch in aspp.get_submodule("convs").children()]
    size = image_chw.shape[1:]
    spread = [np.broadcast_to(branch, (len(branch), *size)) for branch in branches]
    return reference(aspp.get_submodule("project"), np.concatenate(spread))


@pytest.mark.parametrize("rate", [1, 2, 6, 18])
@pytest.mark.parametrize("groups", [1, 4])
def test_atrous_convolution_is_the_papers_sum(rate: int, groups: int) -> None:
    # The reference above against torch, so that the networks are compared with the paper and not with torch.
    rng = np.random.default_rng(0)
    image_chw, weight_oikk = rng.normal(size=(4, 7, 20)), rng.normal(size=(4, 4 // groups, 3, 3))
    out_ochw = functional.conv2d(
        torch.from_numpy(image_chw)[None],
        torch.from_numpy(weight_oikk),
        padding=rate,
        dilation=rate,
        groups=groups,
    )
    np.testing.assert_allclose(out_ochw[0].numpy(), atrous(image_chw, weight_oikk, rate, groups), atol=1e-12)


@pytest.mark.parametrize("architecture", TINY[:2], ids=str)
def test_the_network_after_the_encoder_is_the_slow_reference(architecture: Architecture) -> None:
    network = tiny(architecture).double()
    assert isinstance(network, DeepLabV3Plus)
    image_nchw = torch.randn(1, 3, 96, 80, dtype=torch.float64)
    with torch.inference_mode():
        _, low_nchw, *_, deepest_nchw = network.encoder(image_nchw)
        pyramid_nchw = network.aspp(deepest_nchw)
        out_nchw = network(image_nchw)
    pyramid_chw = pyramid_reference(network.aspp, deepest_nchw[0].numpy())
    np.testing.assert_allclose(pyramid_nchw[0].numpy(), pyramid_chw, atol=1e-10)
    assert float(pyramid_chw.std()) > 0

    reduced_chw = reference(network.decoder.reduce, low_nchw[0].numpy())
    together_chw = np.concatenate([bilinear(pyramid_chw, 24, 20), reduced_chw])
    scores_chw = reference(nn.Sequential(network.head), reference(network.decoder.refine, together_chw))
    np.testing.assert_allclose(out_nchw[0].numpy(), bilinear(scores_chw, 96, 80), atol=1e-10)


@pytest.mark.parametrize(("output_stride", "rates"), [(16, (6, 12, 18)), (8, (12, 24, 36))])
@pytest.mark.parametrize("separable", [False, True])
def test_rates_double_at_output_stride_8(output_stride: int, rates: tuple[int, ...], separable: bool) -> None:
    with torch.device("meta"):
        network = DeepLabV3Plus("resnet18", 3, 2, 0.05, 8 if output_stride == 8 else 16, separable)
    convolutions = [layer for layer in network.aspp.modules() if isinstance(layer, nn.Conv2d)]
    assert tuple(c.dilation[0] for c in convolutions if c.kernel_size == (3, 3)) == rates
    assert all((c.groups > 1) is separable for c in convolutions if c.kernel_size == (3, 3))


def test_pyramid_names_are_torchvisions() -> None:
    # torchvision.models.segmentation.deeplabv3.ASPP: weights of its DeepLabV3 fit by name.
    with torch.device("meta"):
        names = {name for name, _ in ASPP(64, 8, (6, 12, 18)).named_parameters()}
    convolutions = ["convs.0.0", "convs.1.0", "convs.2.0", "convs.3.0", "convs.4.1", "project.0"]
    norms = ["convs.0.1", "convs.1.1", "convs.2.1", "convs.3.1", "convs.4.2", "project.1"]
    expected = {f"{name}.weight" for name in convolutions}
    expected |= {f"{name}.{part}" for name in norms for part in ("weight", "bias")}
    assert names == expected


# --- laws -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", TINY, ids=str)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 50), (33, 65), (64, 32)])
def test_logits_have_the_images_size(architecture: Architecture, height: int, width: int) -> None:
    out_nchw = logits(tiny(architecture), torch.randn(2, 3, height, width))
    assert out_nchw.shape == (2, 5, height, width)
    assert out_nchw.dtype == torch.float32
    assert bool(torch.isfinite(out_nchw).all())


@pytest.mark.parametrize("architecture", TINY, ids=str)
def test_an_odd_size_is_the_crop_of_an_edge_padded_image(architecture: Architecture) -> None:
    network = tiny(architecture).double()
    image_nchw = np.random.default_rng(0).normal(size=(1, 3, 33, 50))
    bottom, right = -33 % architecture.output_stride, -50 % architecture.output_stride
    padded_nchw = np.pad(image_nchw, ((0, 0), (0, 0), (0, bottom), (0, right)), mode="edge")
    whole_nchw = logits(network, torch.from_numpy(padded_nchw))[..., :33, :50]
    torch.testing.assert_close(logits(network, torch.from_numpy(image_nchw)), whole_nchw)


@pytest.mark.parametrize("architecture", TINY, ids=str)
def test_images_of_a_batch_do_not_see_each_other(architecture: Architecture) -> None:
    network = tiny(architecture).double()
    image_nchw = torch.randn(3, 3, 40, 40, dtype=torch.float64)
    alone_nchw = torch.cat([logits(network, image_nchw[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(logits(network, image_nchw), alone_nchw)


@pytest.mark.parametrize("architecture", TINY, ids=str)
def test_every_parameter_learns(architecture: Architecture) -> None:
    network = tiny(architecture).train()
    labels_nhw = torch.randint(0, 5, (4, 64, 64))
    loss = functional.cross_entropy(network(torch.randn(4, 3, 64, 64)), labels_nhw)
    names, parameters = zip(*network.named_parameters(), strict=True)
    for name, gradient in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        assert bool(torch.isfinite(gradient).all()), name
        assert bool((gradient != 0).any()), name


@pytest.mark.parametrize("architecture", TINY, ids=str)
def test_the_network_moves_with_its_stride(architecture: Architecture) -> None:
    # Down the rows, of which there are enough for the borders to be out of sight (18 taps of stride 16 are 288 px);
    # what the image pooling sees, the mean, is the same for both.
    network, stride_px, row = tiny(architecture).double(), 16, 768
    here_nchw = torch.zeros(1, 3, 2 * row, 48, dtype=torch.float64)
    there_nchw = here_nchw.clone()
    patch_nchw = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    here_nchw[..., row : row + 8, 16:24] = patch_nchw
    there_nchw[..., row + stride_px : row + stride_px + 8, 16:24] = patch_nchw
    here_nchw = logits(network, here_nchw)[..., row - 16 : row + 16, :]
    there_nchw = logits(network, there_nchw)[..., row - 16 + stride_px : row + 16 + stride_px, :]
    assert float(here_nchw.std(dim=(-2, -1)).min()) > 0
    torch.testing.assert_close(here_nchw, there_nchw)


def test_image_pooling_lets_every_pixel_see_the_whole_image() -> None:
    network = tiny(Architecture(BASIC, bands=3, classes=5, width=0.05)).double()
    image_nchw = torch.randn(1, 3, 16, 1024, dtype=torch.float64)
    other_nchw = image_nchw.clone()
    other_nchw[..., 1000:] += 1
    changed = logits(network, image_nchw)[..., 0] != logits(network, other_nchw)[..., 0]
    assert bool(changed.any())


def test_one_image_cannot_be_trained_on_but_can_be_mapped() -> None:
    network = tiny(Architecture(BASIC, bands=3, classes=5, width=0.05))
    assert logits(network, torch.zeros(1, 3, 16, 16)).shape == (1, 5, 16, 16)
    with pytest.raises(ModelError, match=r"2 or more images .* got 1"):
        network.train()(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("width", [0.05, 0.3, 1.7])
@pytest.mark.parametrize("separable", [False, True])
def test_channels_at_any_width_are_multiples_of_8(width: float, separable: bool) -> None:
    with torch.device("meta"):
        network = build(Architecture(DEEP, 3, 5, width, separable=separable))
    for name, parameter in network.named_parameters():
        if not name.startswith("head."):
            assert parameter.shape[0] % 8 == 0, name


@pytest.mark.parametrize("name", [BASIC, "deeplabv3plus_resnet101"])
def test_a_wider_network_has_more_parameters(name: ArchitectureName) -> None:
    with torch.device("meta"):
        counts = [parameter_count(build(Architecture(name, 3, 5, width))) for width in (0.05, 0.25, 0.5, 1.0, 2.0)]
    assert counts == sorted(set(counts))


def test_the_encoder_is_the_one_of_its_name_and_stride() -> None:
    network = build(Architecture(DEEP, 3, 5, 0.05, output_stride=8)).eval()
    assert isinstance(network, DeepLabV3Plus)
    assert isinstance(network.encoder, ResNetEncoder)
    with torch.inference_mode():
        assert network.encoder(torch.zeros(1, 3, 64, 64))[-1].shape[-2:] == (8, 8)


@pytest.mark.parametrize("architecture", TINY, ids=str)
def test_a_package_brings_the_network_back(architecture: Architecture, draft: CardDraft, tmp_path: Path) -> None:
    architecture = replace(architecture, bands=4, classes=3)
    network = tiny(architecture)
    save_package(tmp_path / "model", draft.model_copy(update={"architecture": architecture}), network, "float32")
    model = load_package(tmp_path / "model")
    assert model.card.architecture == architecture
    image_nchw = torch.randn(1, 4, 40, 40)
    assert torch.equal(logits(model.build(), image_nchw), logits(network, image_nchw))
