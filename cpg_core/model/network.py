"""A task's network: a backbone that knows nothing of tasks, and the head that the task's objective asks for."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import cast

import torch
from torch import Tensor, nn

from cpg_core import backbones
from cpg_core.config.backbone import BackboneSpec
from cpg_core.model.layers import Layers
from cpg_core.model.precision import activations, products
from cpg_core.objectives import Objective
from cpg_core.objectives.classification import OBJECTIVE as CLASSIFICATION
from cpg_core.seeds import seeded


class Network(nn.Module):
    """`head(backbone(images))`: images `[N, C, H, W]` to outputs, such as logits `[N, classes]`."""

    def __init__(self, backbone: nn.Module, classes: int, objective: Objective) -> None:
        super().__init__()
        self.backbone = backbone
        self.objective = objective.of_classes(classes)
        self.head = objective.head(cast(int, backbone.out_features), classes)
        self.precision = "float32"

    def place(self, device: torch.device, precision: str) -> Network:
        """The network on a device, channels last in memory, to be computed with in a precision of `Compute`."""
        self.precision = precision
        return self.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    def computing(self) -> AbstractContextManager[None]:
        """Around forward and backward passes, so that they are in the network's precision."""
        return products(self.precision, self.device)

    def forward(self, images: Tensor) -> Tensor:
        """What the objective's loss and tally take, float32."""
        with activations(self.precision, images.device):
            outputs = self.head(self.backbone(images))
        return cast(Tensor, outputs.float())


def width(base_width: float, budget_x: float) -> float:
    """The channel width of a budget: shared weights grow with its square."""
    return base_width * math.sqrt(budget_x)


def build(
    backbone: BackboneSpec | str, width: float, classes: int, *seed: int | str, objective: Objective = CLASSIFICATION
) -> Network:
    """A freshly initialised network; the same seed words give the same weights. A name is the backbone as it is."""
    spec = BackboneSpec(name=backbone) if isinstance(backbone, str) else backbone
    with seeded(*seed):
        return Network(backbones.build(spec, width), classes, objective)


def empty(backbone: BackboneSpec, width: float, classes: int, objective: Objective) -> Network:
    """A network whose tensors hold nothing yet: all of them are to be written by `cpg_core.model.state.install`."""
    with torch.device("meta"):
        network = build(backbone, width, classes, objective=objective)
    return network.to_empty(device="cpu")


def shared_parameters(network: Network) -> dict[str, nn.Parameter]:
    """The weights of the backbone's convolutions and linear layers: what tasks compete for."""
    return {
        f"{name}.weight": cast(nn.Parameter, module.weight) for name, module in shared_layers(network.backbone).items()
    }


def shared_layers(backbone: nn.Module) -> dict[str, nn.Module]:
    """The convolutions and linear layers of a backbone by name, in its order."""
    kinds = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
    return {name: module for name, module in backbone.named_modules() if isinstance(module, kinds)}


def shared_shapes(backbone: BackboneSpec, width: float) -> dict[str, torch.Size]:
    """The shapes of the shared layers at a width, with no weight made."""
    with torch.device("meta"):
        network = build(backbone, width, 2)
    return {name: parameter.shape for name, parameter in shared_parameters(network).items()}


def private_tensors(network: Network) -> Layers:
    """Everything else that a task keeps alone: batch norm, biases, PReLU and the head, as the live tensors."""
    shared = {f"backbone.{name}" for name in shared_parameters(network)}
    return {name: value for name, value in network.state_dict().items() if name not in shared}
