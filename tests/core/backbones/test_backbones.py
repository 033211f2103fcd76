"""Backbones: the published size, and the narrower network in the leading slices of the wider."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from cpg_core import backbones
from cpg_core.errors import CpgError
from cpg_core.model.network import build, private_tensors, shared_parameters, width

# VGG16 for 32x32, layer by layer: 3x3 convolutions as (in, out), then hidden linear layers after 512 x 1 x 1.
#   (3 x 64 + 64 x 64) x 9                         =     38,592
#   (64 x 128 + 128 x 128) x 9                     =    221,184
#   (128 x 256 + 2 x 256 x 256) x 9                =  1,474,560
#   (256 x 512 + 2 x 512 x 512) x 9                =  5,898,240
#   (3 x 512 x 512) x 9                            =  7,077,888
#   512 x 4096 + 4096 x 4096                       = 18,874,368
VGG16_SHARED = 38_592 + 221_184 + 1_474_560 + 5_898_240 + 7_077_888 + 18_874_368
# Digits: 1 x 16 x 9 + 16 x 32 x 9 + 32 x 2 x 2 x 64
DIGITS_SHARED = 144 + 4_608 + 8_192


def shared_count(name: str, at: float) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in shared_parameters(build(name, at, 5)).values())


def test_vgg16_has_the_shared_weights_of_the_paper() -> None:
    assert VGG16_SHARED == 33_584_832
    assert shared_count("vgg16_bn", 1.0) == VGG16_SHARED


def test_the_digits_network_has_what_its_layers_say() -> None:
    assert shared_count("digits_cnn", 1.0) == DIGITS_SHARED


@pytest.mark.parametrize("name", backbones.names())
def test_a_budget_is_a_multiple_of_the_shared_weights(name: str) -> None:
    base = shared_count(name, width(1.0, 1.0))
    for budget_x in (1.5, 2.0, 4.0):
        assert shared_count(name, width(1.0, budget_x)) / base == pytest.approx(budget_x, rel=0.03)


@pytest.mark.parametrize("name", backbones.names())
def test_a_wider_network_is_no_smaller_in_any_dimension(name: str) -> None:
    with torch.device("meta"):
        sizes = [build(name, width(0.1, budget_x), 2).state_dict() for budget_x in (1.0, 1.1, 1.5, 2.25, 4.0)]
    for narrow, wide in pairwise(sizes):
        assert list(narrow) == list(wide)
        for key, value in narrow.items():
            assert all(small <= large for small, large in zip(value.shape, wide[key].shape, strict=True))


@pytest.mark.parametrize("name", backbones.names())
def test_it_has_the_same_layers_where_all_channel_counts_are_rounded_to_one(name: str) -> None:
    with torch.device("meta"):
        least, published = build(name, 1e-4, 2), build(name, 1.0, 2)
    assert all(value.shape[0] == 1 for value in shared_parameters(least).values())
    assert list(least.state_dict()) == list(published.state_dict())


@pytest.mark.parametrize("name", backbones.names())
def test_it_takes_its_input_to_one_feature_vector_an_image(name: str) -> None:
    inputs = backbones.find(name).input
    network = build(name, 0.05, 3, "seed").eval()
    assert network(torch.zeros(2, inputs.channels, inputs.size, inputs.size)).shape == (2, 3)


@pytest.mark.parametrize("name", backbones.names())
def test_every_tensor_is_shared_or_private_and_the_head_is_private(name: str) -> None:
    network = build(name, 0.05, 3, "seed")
    shared, private = shared_parameters(network), private_tensors(network)
    assert len(shared) + len(private) == len(network.state_dict())
    assert {"head.weight", "head.bias"} <= set(private)
    assert all(parameter.dim() >= 2 for parameter in shared.values())


def test_the_same_seed_words_build_the_same_weights() -> None:
    one, two, other = (build("digits_cnn", 0.5, 2, *words).head.weight for words in (("a", 1), ("a", 1), ("a", 2)))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_an_unknown_backbone_is_named_with_the_nearest() -> None:
    with pytest.raises(CpgError, match=r"vgg16.*'vgg16_bn'"):
        backbones.find("vgg16")
