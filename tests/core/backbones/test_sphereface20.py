"""SphereFace-20: the published size, residual pairs, heads that follow the size of the images, and what is private."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from cpg_core import backbones
from cpg_core.config.backbone import BackboneSpec
from cpg_core.model.network import build, private_tensors, shared_parameters

# 3x3 convolutions, in x out: 3 x 64 + 2 x 64^2; 64 x 128 + 4 x 128^2; 128 x 256 + 8 x 256^2; 256 x 512 + 2 x 512^2.
SHARED = 9 * (192 + 8_192 + 8_192 + 65_536 + 32_768 + 524_288 + 131_072 + 524_288)


def test_it_has_twenty_convolutions_of_the_published_size() -> None:
    with torch.device("meta"):
        found = shared_parameters(build("sphereface20", 1.0, 2))
    assert len(found) == 20
    assert SHARED == 11_650_752
    assert sum(parameter.numel() for parameter in found.values()) == SHARED


def test_biases_and_slopes_are_private_and_nothing_is_normalised() -> None:
    with torch.device("meta"):
        network = build("sphereface20", 1.0, 3)
    layers = [
        f"{stage}_{number}" for stage, count in ((1, 3), (2, 5), (3, 9), (4, 3)) for number in range(1, count + 1)
    ]
    names = {f"backbone.{kind}" for layer in layers for kind in (f"conv{layer}.bias", f"relu{layer}.weight")}
    assert set(private_tensors(network)) == names | {"head.weight", "head.bias"}
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


@pytest.mark.parametrize(("size", "features"), [(None, 25_088), (112, 25_088), (96, 18_432), (64, 8_192), (16, 512)])
def test_a_head_reads_the_flattened_map_of_the_size_asked_for(size: int | None, features: int) -> None:
    spec = BackboneSpec(name="sphereface20", size=size)
    with torch.device("meta"):
        network = build(spec, 1.0, 7)
    assert network.head.weight.shape == (7, features)
    pixels = backbones.input_of(spec).size
    assert network(torch.zeros(2, 3, pixels, pixels, device="meta")).shape == (2, 7)


def test_a_residual_pair_whose_last_convolution_is_0_changes_nothing() -> None:
    network = build(BackboneSpec(name="sphereface20", size=32), 0.05, 2, "pairs").backbone.eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    plain = images
    with torch.inference_mode():
        for stage in (1, 2, 3, 4):
            first, slope = (network.get_submodule(f"{kind}{stage}_1") for kind in ("conv", "relu"))
            plain = slope(conv2d(plain, first.weight, first.bias, stride=2, padding=1))
        as_built = network(images)
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d) and name.endswith(("_3", "_5", "_7", "_9")):
                module.weight.zero_()
        assert network(images).allclose(plain.flatten(1), atol=1e-6)
        assert not as_built.allclose(plain.flatten(1), atol=1e-6)
