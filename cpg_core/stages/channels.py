"""Channels of a task, where they are what is pruned and picked (`prune.unit: channel`)."""

from __future__ import annotations

import torch
from torch import nn

from cpg_core.machine import device_of
from cpg_core.model.channels.units import Units, channel_units
from cpg_core.model.layers import Layers
from cpg_core.model.network import width
from cpg_core.model.state import TaskState, effective
from cpg_core.stages.context import TaskContext
from cpg_core.storage.records import Living
from cpg_core.training.channel_picks import ChannelPicks
from cpg_core.training.score_rules import ScoreRule


def units_of(context: TaskContext, budget_x: float) -> Units | None:
    """The units of the network at a budget, on the CPU; None where single weights are pruned and picked."""
    return None if context.settings.prune.unit == "weight" else channel_units_of(context, budget_x)


def channel_units_of(context: TaskContext, budget_x: float) -> Units:
    """The units of the network at a budget, on the CPU, whatever is pruned and picked."""
    spec = context.run.spec
    at = width(spec.settings.base_width, budget_x)
    with torch.device("meta"):
        head = context.objective.head(1, classes := len(context.data.classes))
    outputs = head.out_features if isinstance(head, nn.Linear) else classes  # of an embedding, not the people
    return channel_units(spec.backbone, at, outputs)


def channel_picks(context: TaskContext, budget_x: float, rule: ScoreRule, trainable: Layers) -> ChannelPicks | None:
    """Scores of whole channels over all that earlier tasks own, as they begin; None under unit weight."""
    units = units_of(context, budget_x)
    if units is None:
        return None
    device = device_of(context.settings.compute.device)
    older = context.older(context.shared(budget_x))
    there = ({name: mask.to(device) for name, mask in masks.items()} for masks in (trainable, older))
    return ChannelPicks(units.to(device), rule, *there)


def whole_channels(units: Units, used: Layers, older: Layers) -> Layers:
    """All older weights (bool) of units of which some are used (bool)."""
    picked = units.having(used)
    return {name: mask & units.weights(name, picked, mask.dim()) for name, mask in older.items()}


def living(context: TaskContext, state: TaskState) -> Living | None:
    """How many channels of a state's network are not constant, and their multiply-adds; None under unit weight."""
    units = units_of(context, state.budget_x)
    if units is None:
        return None
    weights = effective(context.shared(state.budget_x), state)
    lives = units.having({name: state.own[name] | (weight != 0) for name, weight in weights.items()})
    every = lives | True
    return Living(
        channels=units.channels(lives),
        of_channels=units.channels(every),
        multiply_adds=units.multiply_adds(lives),
        of_multiply_adds=units.multiply_adds(every),
    )
