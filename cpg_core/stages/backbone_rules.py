"""Whether a method can learn some tasks with a backbone under its settings, told before anything is learned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from cpg_core import backbones, objectives
from cpg_core.config.backbone import BackboneSpec
from cpg_core.config.picks import RandomPicks
from cpg_core.config.settings import Settings
from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.model.channels.units import channel_units
from cpg_core.model.network import shared_layers, width
from cpg_core.stages.context import Method


def require_fit(method: Method, spec: BackboneSpec, settings: Settings) -> None:
    """Let a method learn with a backbone only if it can.

    Raises:
        CpgError: with a line for each reason why not, or since its channels cannot be followed where they are pruned.
    """
    backbone, takes = backbones.find(spec.name), backbones.input_of(spec)
    with torch.device("meta"):
        try:
            network = backbones.build(spec, width(settings.base_width, 1.0))
        except RuntimeError as error:  # more weights than can be counted
            raise CpgError(
                f"backbone {spec}: base_width {settings.base_width:g} is out of its range: {error}"
            ) from error
    problems = []
    if not backbone.growable:
        problems += _of_one_width(method, settings)
    if method.chain_only and not is_chain(network):
        problems.append(f"{method.name} needs a chain of layers, each of which reads the one before it alone")
    if random := [name for name, module in network.named_modules() if isinstance(module, _DropoutNd) and module.p > 0]:
        problems.append(
            f"{random[0]} is dropout: what it draws is not saved, so a stopped run would end in other bytes"
        )
    if lost := list(_unsaved_tensors(network)):
        problems.append(
            f"{lost[0]} is a tensor that no state_dict holds, so a recalled network would compute with other values: "
            "register_buffer it, or make it in forward"
        )
    if method.learns_picks(2):
        problems += _of_its_layers(network, settings)
    problems += _of_its_features(network, takes)
    if settings.prune.unit == "channel" and not problems:
        channel_units(spec, width(settings.base_width, 1.0), 2)
    if problems:
        raise CpgError("\n".join(f"backbone {spec}: {problem}" for problem in problems))


def require_kinds(method: Method, tasks: Iterable[TaskSpec]) -> None:
    """Let a method learn only kinds of task that it can.

    Raises:
        CpgError: naming the first task that it cannot.
    """
    for task in tasks:
        if method.classes_only and objectives.of(task).compares_pairs:
            raise CpgError(
                f"task '{task.name}' is of kind {task.kind}, and {method.name} holds on to tasks by the probabilities "
                "of their classes; take another method"
            )


def _unsaved_tensors(network: nn.Module) -> Iterator[str]:
    """Networks are put together from their weights and their `state_dict` alone."""
    for home, module in network.named_modules():
        plain = [name for name, value in vars(module).items() if isinstance(value, torch.Tensor)]
        yield from (f"{home}.{name}".lstrip(".") for name in (*sorted(module._non_persistent_buffers_set), *plain))


def is_chain(network: nn.Module) -> bool:
    """Whether each layer reads the one before it alone, and all of its channels: plain layers in sequence."""
    modules = list(network.modules())
    in_sequence = all(isinstance(module, nn.Sequential) or not any(module.children()) for module in modules)
    return in_sequence and all(module.groups == 1 for module in modules if isinstance(module, nn.Conv2d))


def _of_one_width(method: Method, settings: Settings) -> list[str]:
    problems = []
    if settings.base_width != 1.0:
        problems.append(f"it has one width, and base_width is {settings.base_width:g}: --set base_width=1")
    if method.growth.may_grow(settings):
        cure = f"--set grow.max_x=1 (it is {settings.grow.max_x:g})"
        try_grown = settings.model_copy(update={"grow": settings.grow.model_copy(update={"max_x": 1.0})})
        stays = not method.growth.may_grow(try_grown)
        problems.append(f"it cannot grow, as {method.name} may: {cure if stays else 'take another method'}")
    return problems


def _of_its_layers(network: nn.Module, settings: Settings) -> list[str]:
    """Random picks with a share a layer: channels run through several, and every shared layer is named once."""
    picks = settings.pick_train.picks
    if not isinstance(picks, RandomPicks) or not isinstance(picks.share, dict):
        return []
    if settings.prune.unit == "channel":
        return ["pick_train.picks.share: one number where channels are picked (prune.unit: channel)"]
    odd = sorted(picks.share.keys() ^ {f"{name}.weight" for name in shared_layers(network)})
    return (
        [f"pick_train.picks.share: name every shared layer once; missing or unknown: {', '.join(odd)}"] if odd else []
    )


def _of_its_features(network: nn.Module, takes: backbones.Input) -> list[str]:
    """One pass without values, in which every layer looks at the shape of what it reads."""
    images = torch.zeros(2, takes.channels, takes.size, takes.size, device="meta")
    try:
        features = network(images)
    except (RuntimeError, ValueError, AssertionError) as error:
        return [f"it does not take images of {takes.size} pixels a side: {str(error).splitlines()[0]}"]
    found = list(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
    wanted = [2, getattr(network, "out_features", None)]
    return [] if found == wanted else [f"two images give {found} where features {wanted} are expected"]
