from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from geoseg.errors import ModelError
from geoseg.models.imagenet import adapt_stem, load_encoder_weights
from geoseg.models.resnet import OutputStride, ResNetEncoder, ResNetVariant

State = dict[str, Tensor]


def torchvision_state(variant: ResNetVariant) -> State:
    """Weights as torchvision stores them, classifier included."""
    torch.manual_seed(0)
    encoder = ResNetEncoder(variant, bands=3)
    with torch.no_grad():
        encoder.bn1.running_mean += torch.randn(64)  # type: ignore[operator] # a buffer that is never None here
    deepest = encoder.channels[-1]
    return {**encoder.state_dict(), "fc.weight": torch.randn(1000, deepest), "fc.bias": torch.randn(1000)}


@pytest.fixture(scope="module")
def state() -> State:
    return torchvision_state("resnet18")


@pytest.fixture(scope="module")
def file(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(state, path)
    return path


def assert_loaded(encoder: ResNetEncoder, state: State, besides: tuple[str, ...] = ()) -> None:
    for name, tensor in encoder.state_dict().items():
        if name not in besides:
            assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_a_pth_file_loads_at_any_output_stride(output_stride: OutputStride, state: State, file: Path) -> None:
    encoder = ResNetEncoder("resnet18", bands=3, output_stride=output_stride)
    load_encoder_weights(encoder, file)
    assert_loaded(encoder, state)


def test_a_safetensors_file_loads_into_bottlenecks(tmp_path: Path) -> None:
    state = torchvision_state("resnet50")
    safetensors.torch.save_file(state, tmp_path / "resnet50.safetensors")
    encoder = ResNetEncoder("resnet50", bands=3)
    load_encoder_weights(encoder, tmp_path / "resnet50.safetensors")
    assert_loaded(encoder, state)


def test_files_of_old_lack_the_counters_and_may_lack_the_classifier(state: State, tmp_path: Path) -> None:
    old = {
        name: tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked") and not name.startswith("fc.")
    }
    torch.save(old, tmp_path / "old.pth")
    encoder = ResNetEncoder("resnet18", bands=3)
    load_encoder_weights(encoder, tmp_path / "old.pth")
    assert_loaded(encoder, state)


@pytest.mark.parametrize("bands", [1, 2, 4, 13])
def test_other_bands_change_the_stem_alone(bands: int, state: State, file: Path) -> None:
    encoder = ResNetEncoder("resnet18", bands=bands)
    load_encoder_weights(encoder, file)
    assert_loaded(encoder, state, besides=("conv1.weight",))
    assert torch.equal(encoder.conv1.weight, adapt_stem(state["conv1.weight"], bands))


@settings(max_examples=30)
@given(st.integers(1, 40))
def test_a_grey_image_gives_the_response_that_it_gave_in_rgb(bands: int) -> None:
    torch.manual_seed(bands)
    weight = torch.randn(8, 3, 7, 7, dtype=torch.float64)
    grey_nchw = torch.randn(1, 1, 16, 16, dtype=torch.float64)
    before = functional.conv2d(grey_nchw.expand(-1, 3, -1, -1), weight, stride=2)
    adapted = adapt_stem(weight, bands)
    assert adapted.shape == (8, bands, 7, 7)
    after = functional.conv2d(grey_nchw.expand(-1, bands, -1, -1), adapted, stride=2)
    torch.testing.assert_close(after, before)


def test_three_bands_keep_the_stem_and_six_share_it_in_turn() -> None:
    weight = torch.randn(8, 3, 7, 7)
    assert torch.equal(adapt_stem(weight, 3), weight)
    assert torch.equal(adapt_stem(weight, 6), torch.cat([weight, weight], dim=1) / 2)
    four = adapt_stem(weight, 4)
    assert torch.equal(four[:, 1:3], weight[:, 1:3])
    assert torch.equal(four[:, 0] + four[:, 3], weight[:, 0])


def test_a_stem_for_the_encoders_bands_is_taken_as_it_is(state: State, tmp_path: Path) -> None:
    own = {**state, "conv1.weight": torch.randn(64, 13, 7, 7)}
    torch.save(own, tmp_path / "own.pth")
    encoder = ResNetEncoder("resnet18", bands=13)
    load_encoder_weights(encoder, tmp_path / "own.pth")
    assert_loaded(encoder, own)


Change = Callable[[State], object]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("layer3.1.bn2.running_var"), r"missing layer3\.1\.bn2\.running_var; unknown none"),
        (lambda s: s.pop("conv1.weight"), r"missing conv1\.weight"),
        (lambda s: s.update({"fc.scale": torch.zeros(1)}), r"missing none; unknown fc\.scale"),
        (lambda s: s.update({"head\x1b": torch.zeros(1)}), r"unknown head\?"),
        (
            lambda s: s.update({"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}),
            r"layer1\.0\.conv1\.weight of shape",
        ),
        (lambda s: s.update({"conv1.weight": torch.zeros(64, 5, 7, 7)}), r"conv1\.weight .* 3 or 4 bands"),
        (lambda s: s.update({"conv1.weight": torch.zeros(64)}), r"conv1\.weight .* 3 or 4 bands"),
        (lambda s: s.update({"bn1.weight": torch.full((64,), torch.nan)}), r"bn1\.weight .* NaN"),
        (lambda s: s.update({"bn1.weight": torch.ones(64, dtype=torch.int64)}), r"bn1\.weight .* floating"),
    ],
)
def test_what_is_not_this_network_is_refused_and_nothing_is_loaded(
    change: Change, words: str, state: State, tmp_path: Path
) -> None:
    other = dict(state)
    change(other)
    torch.save(other, tmp_path / "other.pth")
    encoder = ResNetEncoder("resnet18", bands=4)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(ModelError, match=words):
        load_encoder_weights(encoder, tmp_path / "other.pth")
    assert_loaded(encoder, before)


def test_another_depth_is_refused_with_the_first_names(file: Path) -> None:
    with pytest.raises(ModelError, match=r"missing layer1\.2\.conv1\.weight.* more; unknown none"):
        load_encoder_weights(ResNetEncoder("resnet34", bands=3), file)
    with pytest.raises(ModelError, match=r"missing layer1\.0\.conv3\.weight"):
        load_encoder_weights(ResNetEncoder("resnet50", bands=3), file)


def test_another_width_is_refused(file: Path) -> None:
    with pytest.raises(ModelError, match=r"width 1 .* got width 0\.5"):
        load_encoder_weights(ResNetEncoder("resnet18", bands=3, width=0.5), file)


def test_group_normalization_is_refused(file: Path) -> None:
    encoder = ResNetEncoder("resnet18", bands=3, normalization="group")
    with pytest.raises(
        ModelError, match=r"expected batch normalization .* got group: set architecture.normalization"
    ):
        load_encoder_weights(encoder, file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no weights file"):
        load_encoder_weights(ResNetEncoder("resnet18", bands=3), tmp_path / "none.pth")
