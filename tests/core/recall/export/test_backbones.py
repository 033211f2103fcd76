"""Every backbone with dead filters: narrower, the same outputs, and the same from a file by onnxruntime."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cpg_core import backbones
from cpg_core.config.backbone import BackboneSpec
from cpg_core.model.network import build
from cpg_core.recall.export.cost import counted
from cpg_core.recall.export.formats import format_of
from cpg_core.recall.export.narrow import without_unused
from cpg_core.recall.export.network import PlainNetwork

WIDTH = {"efficientnet_lite0": 0.25, "digits_cnn": 1.0}
DEAD = 0.25
SHIFT = 1.0
"""Of norms, so that most activations pass. At 0 a deep random network makes a rounding error 300 times as large, which
instruction sets make differently."""
NOTHING = 1e-6
"""The variance of a dead channel is below."""
OF_OTHERS = ("torchvision/mobilenet_v3_small", "torchvision/densenet121", "torchvision/shufflenet_v2_x0_5")
FILES = {
    "vgg16_bn": "task.onnx",
    "resnet18_32": "task.onnx",
    "torchvision/mobilenet_v3_small": "task.onnx",
    "efficientnet_lite0": "task.pt2",
    "resnet18": "task.pt2",
    "resnet50": "task.pt2",
    "sphereface20": "task.pt2",
}
"""Those that have the operations of another, in the format that takes less time; digits_cnn: `test_export.py`.

ResNet-34 has the blocks of ResNet-18, and EfficientNet-Lite0 the operations of MobileNetV3."""


def pixels(shape: tuple[int, ...]) -> Tensor:
    luck = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (12, *shape), dtype=torch.uint8, generator=luck)


def made(name: str) -> tuple[PlainNetwork, tuple[int, ...]]:
    """A network whose norms fit what comes to them, with a quarter of its filters dead, and the shape of its images."""
    given = backbones.find(name).input
    size = min(given.size, 32)
    network = build(BackboneSpec(name=name, size=size), WIDTH.get(name, 0.125), 3, 1)
    shape = (given.channels, size, size)
    assert isinstance(network.head, nn.Linear)
    plain = PlainNetwork(network.backbone, network.head, (0.5,) * shape[0], (0.25,) * shape[0])
    luck = torch.Generator().manual_seed(4)
    norms = [module for module in plain.modules() if isinstance(module, _BatchNorm)]
    for module in network.backbone.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and len(module.weight) > 1:
            module.weight.data[torch.rand(len(module.weight), generator=luck) < DEAD] = 0
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for norm in norms:
        norm.momentum = 1.0
        nn.init.zeros_(norm.bias)
    for shift in (0.0, SHIFT):
        for norm in norms:
            assert norm.running_var is not None
            norm.bias.data[norm.running_var > NOTHING] = shift  # a dead one stays so
        with torch.no_grad():
            plain.train()(pixels(shape))
    for norm in norms:
        assert norm.running_var is not None
        norm.running_var[norm.running_var < NOTHING] = 1.0  # rounding errors are not to be made large
    return plain.requires_grad_(requires_grad=False).eval(), shape


@pytest.mark.parametrize("name", [*backbones.names(), *OF_OTHERS])
def test_without_its_dead_filters_it_computes_the_same(name: str) -> None:
    plain, shape = made(name)
    small = without_unused(plain, shape)
    with torch.inference_mode():
        # In float64, since processors round differently; what is constant was folded in float32.
        whole, less = deepcopy(plain).double()(pixels(shape)), deepcopy(small).double()(pixels(shape))
    scale = whole.abs().max()
    assert (whole.std(dim=0) / scale).max() > 1e-2
    assert (less - whole).abs().max() / scale < 1e-6
    (channels, multiply_adds), (fewer, less_work) = counted(plain, shape), counted(small, shape)
    assert fewer < 0.95 * channels
    assert less_work < 0.9 * multiply_adds


@pytest.mark.parametrize("name", FILES)
def test_its_file_answers_the_same(name: str, tmp_path: Path) -> None:
    plain, shape = made(name)
    file = tmp_path / FILES[name]
    form = format_of(file)
    form.write(without_unused(plain, shape), shape, "logits", {"classes": "[]"}, file)
    with torch.inference_mode():
        whole = plain(pixels(shape))
    assert (torch.from_numpy(form.load(file)(pixels(shape).numpy())) - whole).abs().max() / whole.abs().max() < 1e-4
