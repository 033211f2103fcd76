"""Networks named as torchvision's are torchvision's; its own come through the family, or are refused by their name."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from core.backbones.batch_statistics import with_statistics
from cpg_core import backbones
from cpg_core.backbones.families import torchvision as family
from cpg_core.config.backbone import BackboneSpec
from cpg_core.errors import CpgError
from cpg_core.stages.importing.import_weights import checked


def theirs(name: str) -> nn.Module:
    """torchvision's own network with random weights."""
    return with_statistics(models.get_model(name, weights=None), images(64, count=8))


def images(size: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("ours", "name", "head"),
    [
        ("resnet18", "resnet18", "fc"),
        ("resnet50", "resnet50", "fc"),
        ("torchvision/shufflenet_v2_x0_5", "shufflenet_v2_x0_5", "fc"),
        ("torchvision/mobilenet_v3_small", "mobilenet_v3_small", "classifier.3"),
    ],
)
def test_its_weights_fit_by_name_and_give_its_logits_to_the_bit(ours: str, name: str, head: str) -> None:
    original = theirs(name)
    network = backbones.find(ours).build(1.0).eval()
    weights = {key: value for key, value in original.state_dict().items() if not key.startswith(f"{head}.")}
    assert {key: value.shape for key, value in network.state_dict().items()} == {
        key: value.shape for key, value in weights.items()
    }
    network.load_state_dict(weights)
    with torch.inference_mode():
        logits = original.get_submodule(head)(network(images(64)))
        assert torch.equal(logits, original(images(64)))
        assert (logits[0] - logits[1]).abs().max() > 1e-3, "they depend on the image"


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0"])  # dropout; stochastic depth beside it
def test_nothing_is_drawn_at_random_in_training(name: str) -> None:
    network = backbones.find(f"torchvision/{name}").build(1.0).train()
    before = torch.get_rng_state()
    network(images(32))
    assert torch.equal(torch.get_rng_state(), before)
    models.get_model(name, weights=None).train()(images(32))
    assert not torch.equal(torch.get_rng_state(), before), "torchvision's own does"


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return backbones.find(f"torchvision/{name}").build(1.0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vit_b_16", r"torchvision/vit_b_16 has weights outside.*class_token, encoder.pos_embedding.* more"),
        ("convnext_tiny", r"torchvision/convnext_tiny .*layer_scale"),
        ("swin_t", r"torchvision/swin_t .*relative_position_bias_table"),
        ("squeezenet1_1", "torchvision/squeezenet1_1 does not end in a linear layer"),
        ("mobilenet_v3", r"unknown network of torchvision 'mobilenet_v3'; did you mean 'mobilenet_v2'"),
    ],
)
def test_one_that_tasks_could_not_share_is_refused_by_its_name(name: str, said: str) -> None:
    with pytest.raises(CpgError, match=said):
        on_meta(name)


@pytest.mark.parametrize("name", ["googlenet", "regnet_y_400mf", "resnext50_32x4d", "vgg11_bn"])
def test_others_give_one_vector_an_image_in_training_too(name: str) -> None:
    network = on_meta(name).train()
    assert all(value.is_meta for value in network.state_dict().values())
    assert list(network(images(64).to("meta")).shape) == [2, network.out_features]


@pytest.mark.parametrize("name", sorted(family.OTHERWISE_PUBLISHED))
def test_published_weights_that_would_not_fit_are_not_offered(name: str) -> None:
    assert models.get_model_weights(name).DEFAULT.name == "IMAGENET1K_V1"
    with pytest.raises(CpgError, match=r"unknown weights of backbone.*\.pth or \.safetensors"):
        checked(BackboneSpec(name=f"torchvision/{name}", weights="IMAGENET1K_V1"), 1.0)
    assert "IMAGENET1K_V1" in backbones.find("torchvision/mobilenet_v3_small").weights()


def test_its_input_is_that_of_its_pretrained_weights_and_it_has_one_width() -> None:
    found = backbones.find("torchvision/efficientnet_b3")
    assert (found.input.channels, found.input.size, found.growable) == (3, 300, False)
    with torch.device("meta"):
        sizes = [sum(value.numel() for value in family.build("alexnet", width).parameters()) for width in (0.5, 1.0)]
    assert sizes[0] == sizes[1]
