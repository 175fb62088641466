import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from geoseg.models.blocks import initialize_he, pad_to_multiple, scaled_channels


@given(st.integers(1, 4096), st.floats(1e-3, 8))
def test_scaled_channels_are_the_nearest_positive_multiple_of_8(channels: int, width: float) -> None:
    scaled = scaled_channels(channels, width)
    assert scaled % 8 == 0
    assert scaled >= 8
    assert scaled == 8 or abs(scaled - channels * width) <= 4 + 1e-6


@given(st.integers(1, 500))
def test_width_1_keeps_multiples_of_8(eighth: int) -> None:
    assert scaled_channels(8 * eighth, 1.0) == 8 * eighth


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 16, 32]))
def test_padding_is_numpys_edge_padding(height: int, width: int, stride_px: int) -> None:
    image_nchw = torch.arange(2 * height * width, dtype=torch.float32).reshape(1, 2, height, width)
    padded_nchw = pad_to_multiple(image_nchw, stride_px)
    tall, wide = padded_nchw.shape[-2:]
    assert tall % stride_px == wide % stride_px == 0
    assert tall - height < stride_px
    assert wide - width < stride_px
    oracle_nchw = np.pad(image_nchw.numpy(), ((0, 0), (0, 0), (0, tall - height), (0, wide - width)), mode="edge")
    np.testing.assert_array_equal(padded_nchw.numpy(), oracle_nchw)


@pytest.mark.parametrize("groups", [1, 8, 512])
def test_initialization_keeps_the_variance_of_each_group(groups: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(512, 512, 3, groups=groups, bias=False)
    initialize_he(layer)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 512 // groups)), rel=0.05)
