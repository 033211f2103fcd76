"""What is learned: the weights that all tasks share, and what one task adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cpg_core.config.backbone import BackboneSpec
from cpg_core.model.layers import Layers, copy_leading_block
from cpg_core.model.network import Network, empty, private_tensors, shared_parameters
from cpg_core.model.ownership import released
from cpg_core.objectives import Objective


@dataclass(frozen=True)
class Shared:
    """The shared weights after some task, at the width of `budget_x`.

    Attributes:
        budget_x: shared weights allocated over the base network's.
        weight: float32 values of the owned weights, 0 where released.
        owner: int16; 0 = released, k = task k.
    """

    budget_x: float
    weight: Layers
    owner: Layers


@dataclass(frozen=True)
class TaskState:
    """One task in the making, or as frozen; its layers have the shapes of `budget_x`.

    Attributes:
        own: bool, the weights that this task holds. Never one that an earlier task owns.
        value: float32 values of those, 0 elsewhere.
        pick: bool, the weights of earlier tasks that this task uses.
        private: batch norm, biases and head by name.
    """

    budget_x: float
    own: Layers
    value: Layers
    pick: Layers
    private: Layers


def empty_shared(shapes: dict[str, torch.Size]) -> Shared:
    """The shared state before task 1, at the shapes of the base network: every weight is released."""
    return Shared(
        budget_x=1.0,
        weight={name: torch.zeros(shape) for name, shape in shapes.items()},
        owner={name: torch.zeros(shape, dtype=torch.int16) for name, shape in shapes.items()},
    )


def widened(shared: Shared, budget_x: float, shapes: dict[str, torch.Size]) -> Shared:
    """The same state in the leading block of wider layers; what is new is released."""

    def pad(old: Tensor, shape: torch.Size) -> Tensor:
        wide = old.new_zeros(shape)
        copy_leading_block(wide, old)
        return wide

    return Shared(
        budget_x=budget_x,
        weight={name: pad(old, shapes[name]) for name, old in shared.weight.items()},
        owner={name: pad(old, shapes[name]) for name, old in shared.owner.items()},
    )


def effective(shared: Shared, state: TaskState) -> Layers:
    """The weights that the task computes with: its own, the picked ones of earlier tasks, 0 elsewhere (section 3)."""
    return {
        name: torch.where(own, state.value[name], torch.where(state.pick[name], shared.weight[name], 0.0))
        for name, own in state.own.items()
    }


def install(network: Network, weights: Layers, private: Layers) -> None:
    """Write weights and private tensors into a network of the same shapes, in place."""
    write(shared_parameters(network), weights)
    write(private_tensors(network), private)


def write(tensors: Mapping[str, Tensor], values: Layers) -> None:
    """Write values into live tensors of the same names and shapes, in place."""
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(values[name])


def released_count(shared: Shared) -> int:
    """How many weights no task owns."""
    return sum(int(released(owner).sum()) for owner in shared.owner.values())


def loaded_network(
    backbone: BackboneSpec,
    width: float,
    classes: int,
    objective: Objective,
    weights: Layers,
    private: Layers,
    device: torch.device,
    precision: str,
) -> Network:
    """The network of a task that computes with these weights and private tensors, in a precision of `Compute`."""
    network = empty(backbone, width, classes, objective)
    install(network, weights, private)
    return network.place(device, precision)
