from typing import Literal

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor, nn
from torch.nn import functional

from geoseg.models.architecture import Architecture, ArchitectureName, build
from geoseg.models.unet import ResNetUNet, UNet

NAMES: list[ArchitectureName] = ["unet", "unet_resnet18", "unet_resnet34", "unet_resnet50", "unet_resnet101"]


def parameter_count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def tiny(name: ArchitectureName) -> nn.Module:
    torch.manual_seed(0)
    return build(Architecture(name, bands=3, classes=5, width=0.05))


def logits(network: nn.Module, image_nchw: Tensor) -> Tensor:
    with torch.inference_mode():
        out_nchw: Tensor = network.eval()(image_nchw)
    return out_nchw


@pytest.mark.parametrize(("bands", "classes"), [(1, 2), (3, 5)])
def test_the_classic_networks_parameters_follow_from_its_channels(bands: int, classes: int) -> None:
    # Ronneberger et al. 2015, figure 1, with batch normalization (2 per channel) in place of biases.
    def double(before: int, after: int) -> int:
        return 9 * before * after + 9 * after * after + 2 * 2 * after

    contracting = [(bands, 64), (64, 128), (128, 256), (256, 512), (512, 1024)]
    expanding = [(1024, 512), (512, 256), (256, 128), (128, 64)]
    count = sum(double(before, after) for before, after in contracting)
    for before, after in expanding:
        count += 4 * before * after + after  # 2x2 up-convolution that halves the channels, with a bias
        count += double(before, after)  # the skip's channels and the halved ones are `before` again
    count += 64 * classes + classes
    with torch.device("meta"):
        assert parameter_count(UNet(bands, classes)) == count


def test_the_resnet_unets_parameters_are_smps() -> None:
    # segmentation_models_pytorch's Unet("resnet18", classes=1) has 14,328,209 parameters; each further class
    # adds 16 * 9 + 1 to its 3x3 head.
    with torch.device("meta"):
        assert parameter_count(ResNetUNet("resnet18", bands=3, classes=5)) == 14_328_789
        assert parameter_count(ResNetUNet("resnet18", bands=3, classes=1)) == 14_328_209


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 50), (33, 65), (64, 32)])
def test_logits_have_the_images_size(name: ArchitectureName, height: int, width: int) -> None:
    out_nchw = logits(tiny(name), torch.randn(2, 3, height, width))
    assert out_nchw.shape == (2, 5, height, width)
    assert out_nchw.dtype == torch.float32
    assert bool(torch.isfinite(out_nchw).all())


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_size_is_the_crop_of_an_edge_padded_image(name: ArchitectureName) -> None:
    network = tiny(name).double()
    image_nchw = np.random.default_rng(0).normal(size=(1, 3, 33, 50))
    padded_nchw = np.pad(image_nchw, ((0, 0), (0, 0), (0, 31), (0, 14)), mode="edge")
    if name == "unet":
        padded_nchw = padded_nchw[:, :, :48]  # its stride is 16, the others' is 32
    whole_nchw = logits(network, torch.from_numpy(padded_nchw))[..., :33, :50]
    torch.testing.assert_close(logits(network, torch.from_numpy(image_nchw)), whole_nchw)


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 50), (33, 65), (64, 32)])
def test_a_shorter_decoder_gives_logits_of_the_images_size(
    stride: Literal[1, 2, 4], height: int, width: int
) -> None:
    torch.manual_seed(0)
    network = ResNetUNet("resnet18", 3, 5, 0.05, stride)
    image_nchw = torch.randn(2, 3, height, width)
    out_nchw = logits(network, image_nchw)
    assert out_nchw.shape == (2, 5, height, width)
    # What the decoder says at its stride, brought to the image's size: where a pixel's centre lies among theirs.
    seen: list[Tensor] = []
    network.head.register_forward_hook(lambda _module, _inputs, answer: seen.append(answer))
    logits(network, image_nchw)
    low_nchw = seen[0].numpy()
    assert low_nchw.shape[-2:] == (-(-height // 32) * 32 // stride, -(-width // 32) * 32 // stride)
    rows, cols = ((np.arange(size) + 0.5) / stride - 0.5 for size in (height, width))
    for image in range(2):
        for k in range(5):
            expected_hw = map_coordinates(
                low_nchw[image, k], np.meshgrid(rows, cols, indexing="ij"), order=1, mode="nearest"
            )
            np.testing.assert_allclose(out_nchw[image, k].numpy(), expected_hw, atol=1e-5)


def test_a_shorter_decoder_is_the_longer_one_without_its_last_steps() -> None:
    with torch.device("meta"):
        whole = ResNetUNet("resnet18", 3, 5).state_dict()
        for stride, steps in ((2, 4), (4, 3)):
            shorter = ResNetUNet("resnet18", 3, 5, 1.0, stride).state_dict()  # type: ignore[arg-type]  # a literal
            kept = [name for name in whole if not name.startswith("head.")]
            kept = [
                name for name in kept if not name.startswith(tuple(f"decoder.{step}." for step in range(steps, 5)))
            ]
            assert [name for name in shorter if not name.startswith("head.")] == kept
            assert all(shorter[name].shape == whole[name].shape for name in kept)
            assert shorter["head.weight"].shape == (5, {2: 32, 4: 64}[stride], 3, 3)


@pytest.mark.parametrize("name", NAMES)
def test_images_of_a_batch_do_not_see_each_other(name: ArchitectureName) -> None:
    network = tiny(name).double()
    image_nchw = torch.randn(3, 3, 40, 40, dtype=torch.float64)
    alone_nchw = torch.cat([logits(network, image_nchw[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(logits(network, image_nchw), alone_nchw)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: ArchitectureName) -> None:
    network = tiny(name).train()
    labels_nhw = torch.randint(0, 5, (2, 64, 64))
    loss = functional.cross_entropy(network(torch.randn(2, 3, 64, 64)), labels_nhw)
    names, parameters = zip(*network.named_parameters(), strict=True)
    for parameter_name, gradient in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        assert bool(torch.isfinite(gradient).all()), parameter_name
        assert bool((gradient != 0).any()), parameter_name


@pytest.mark.parametrize("name", ["unet", "unet_resnet18"])
def test_the_network_moves_with_its_stride(name: ArchitectureName) -> None:
    # Translation by the stride commutes with the network, away from the borders; this is what lets tiles on
    # one lattice agree.
    network = tiny(name).double()
    stride_px = 16 if name == "unet" else 32
    torch.manual_seed(1)
    empty_nchw = torch.zeros(1, 3, 512, 512, dtype=torch.float64)
    here_nchw, there_nchw = empty_nchw.clone(), empty_nchw.clone()
    patch_nchw = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    here_nchw[..., 256:264, 256:264] = patch_nchw
    there_nchw[..., 256 + stride_px : 264 + stride_px, 256:264] = patch_nchw
    here_nchw = logits(network, here_nchw)[..., 240:272, 240:272]
    there_nchw = logits(network, there_nchw)[..., 240 + stride_px : 272 + stride_px, 240:272]
    assert float(here_nchw.std()) > 0
    torch.testing.assert_close(here_nchw, there_nchw)


@pytest.mark.parametrize("name", NAMES)
def test_a_wider_network_has_more_parameters(name: ArchitectureName) -> None:
    with torch.device("meta"):
        counts = [parameter_count(build(Architecture(name, 3, 5, width))) for width in (0.05, 0.25, 0.5, 1.0, 2.0)]
    assert counts == sorted(set(counts))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [0.05, 0.3, 1.7])
def test_channels_at_any_width_are_multiples_of_8(name: ArchitectureName, width: float) -> None:
    with torch.device("meta"):
        network = build(Architecture(name, 3, 5, width))
    for parameter_name, parameter in network.named_parameters():
        if not parameter_name.startswith("head."):
            out_dimension = 1 if parameter_name.startswith("up.") and parameter.ndim == 4 else 0
            assert parameter.shape[out_dimension] % 8 == 0, parameter_name
