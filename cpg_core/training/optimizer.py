"""Moves a task's network: shared weights by the one-pass update, private parameters by torch's own optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from cpg_core.config.settings import Optimizer
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, shared_parameters
from cpg_core.training.channel_picks import ChannelPicks
from cpg_core.training.compiler import runner
from cpg_core.training.score_rules import ScoreRule
from cpg_core.training.update_rules import (
    BETA2,
    Rule,
    adam,
    adam_rates,
    encode_fixed,
    is_trainable,
    mark_trainable,
    picks_pass,
    sgd,
    weights_pass,
)


@dataclass
class Slot:
    """One shared layer and its buffers, all as flat views `[n]` in the parameter's own storage order."""

    parameter: nn.Parameter
    value: Tensor
    fixed_values: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor | None
    score: Tensor | None

    def buffers(self) -> dict[str, Tensor]:
        """What a snapshot must keep besides the network's own tensors."""
        named = {
            "fixed_values": self.fixed_values,
            "exp_avg": self.exp_avg,
            "exp_avg_sq": self.exp_avg_sq,
            "score": self.score,
        }
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def flat(tensor: Tensor) -> Tensor:
    """A dense tensor's own storage as one dimension, in storage order, whatever its memory format.

    No view of it: a compiled pass is made anew for each shape that a view is of, and one pass must serve all layers.
    """
    alike = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return alike.set_(tensor.untyped_storage(), tensor.storage_offset(), (tensor.numel(),), (1,))


class TaskOptimizer:
    """Trains what a task may change, and keeps what it must not.

    A step is `set_rates`, which sends numbers to the device, and `update`, which reads nothing but static tensors
    there: so it can be captured once and replayed. Between them, `backward` may move layers already.

    Args:
        network: its shared parameters hold the effective weights, and keep holding them after every step.
        trainable: per layer, where the task trains the weight: bool.
        fixed_values: per layer, the value that a weight keeps where it is not trained; ignored elsewhere.
        config: the weight rule.
        scores: how a pick score learns whether each fixed value is used; None: fixed values are used as they are.
        channels: the scores, where one decides about a whole channel; None: each fixed value has its own.
        compiled: run the pass through `torch.compile`.
    """

    def __init__(
        self,
        network: Network,
        trainable: Layers,
        fixed_values: Layers,
        config: Optimizer,
        *,
        scores: ScoreRule | None,
        channels: ChannelPicks | None = None,
        compiled: bool,
    ) -> None:
        self.config = config
        self._scores, self._channels = scores, channels
        self.steps = 0
        self._rule = cast(Rule, sgd if config.kind == "sgd" else adam)
        self.slots = {
            name: self._slot(parameter, encode_fixed(trainable[name], fixed_values[name]))
            for name, parameter in shared_parameters(network).items()
        }
        self._affine = {} if channels is None else {name: network.get_parameter(name) for name in channels.affine}
        shared = {id(slot.parameter) for slot in self.slots.values()}
        self._device = network.device
        self._hyper = torch.zeros(len(self._weight_rates(0.0)), device=self._device)
        self._score_hyper = torch.zeros(len(self._score_rates(0.0)), device=self._device)
        self._private = _private_optimizer([p for p in network.parameters() if id(p) not in shared], config)
        self._weights = runner(weights_pass, compiled)
        self._picks = runner(picks_pass, compiled)

    @property
    def learns_picks(self) -> bool:
        """Whether pick scores are learned; they no longer are once the picks are frozen."""
        return self._channels is not None or any(slot.score is not None for slot in self.slots.values())

    def _slot(self, parameter: nn.Parameter, fixed_values: Tensor) -> Slot:
        layout = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(fixed_values)
        value = flat(parameter.data)
        scored = self._scores is not None and self._channels is None
        adaptive = self.config.kind == "adamw" or scored
        return Slot(
            parameter=parameter,
            value=value,
            fixed_values=flat(layout),
            exp_avg=torch.zeros_like(value),
            exp_avg_sq=torch.zeros_like(value) if adaptive else None,
            score=torch.full_like(value, self._scores.init) if self._scores is not None and scored else None,
        )

    def set_rates(self, lr: float, score_lr: float = 0.0) -> None:
        """Count a step and send its rates to where `update` reads them."""
        self.steps += 1
        send(self._hyper, self._weight_rates(lr))
        send(self._score_hyper, self._score_rates(score_lr))
        for group in self._private.param_groups:
            group["lr"] = self._hyper[0] if self._device.type == "cuda" else lr

    def backward(self, loss: Tensor) -> None:
        """The backward pass, in which a shared layer moves as soon as its gradient is complete; `update` does the rest.

        So one of these gradients lives at a time. Whatever reads a layer's weight in a backward pass adds to its
        gradient too, so all of that is done by then. Scores of whole channels need every gradient: they wait.
        """
        moving = self.slots.values() if self._channels is None else []
        hooks = [
            slot.parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                lambda _, slot=slot: self._move(slot)
            )
            for slot in moving
        ]
        try:
            torch.autograd.backward(loss)
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def update(self) -> None:
        """Move by the rates that were set, from the gradients of the backward pass, which are dropped."""
        straight = self._channel_gradient()
        self._private.step()
        self._private.zero_grad()
        for slot in self.slots.values():
            self._move(slot)
        if self._channels is not None and straight is not None:
            picked = self._channels.move(straight, self._score_hyper)
            self._channels.leave_out({name: slot.parameter.data for name, slot in self.slots.items()}, picked)

    @torch.no_grad()
    def _move(self, slot: Slot) -> None:
        """Move a layer that has a gradient, and drop the gradient."""
        grad, slot.parameter.grad = slot.parameter.grad, None
        if grad is None:
            return
        if grad.stride() != slot.parameter.stride():
            grad = torch.empty_like(slot.parameter).copy_(grad)
        if slot.score is None or self._scores is None:
            buffers = (slot.fixed_values, slot.exp_avg, slot.exp_avg_sq)
            self._weights(self._rule, slot.value, flat(grad), *buffers, self._hyper)
        else:
            scored = (slot.fixed_values, slot.score, slot.exp_avg, slot.exp_avg_sq)
            rates = self._hyper, self._score_hyper
            self._picks(self._rule, slot.value, flat(grad), *scored, *rates, self._scores.move)

    def _channel_gradient(self) -> Tensor | None:
        """Of the scores of whole channels, from the gradients of the backward pass."""
        if self._channels is None:
            return None
        slots = {name: slot for name, slot in self.slots.items() if slot.parameter.grad is not None}
        fixed = {name: _shaped(slot, slot.fixed_values) for name, slot in slots.items()}
        grads = {name: cast(Tensor, slot.parameter.grad) for name, slot in slots.items()}
        affine = {name: entry * cast(Tensor, entry.grad) for name, entry in self._affine.items()}
        return self._channels.gradient(fixed, grads, affine)

    def _weight_rates(self, lr: float) -> list[float]:
        if self.config.kind == "sgd":
            return [lr, self.config.momentum, self.config.weight_decay]
        return adam_rates(lr, self.config.momentum, self.config.weight_decay, self.steps)

    def _score_rates(self, lr: float) -> list[float]:
        """The numbers of the score rule, and the threshold."""
        return [] if self._scores is None else [*self._scores.rates(lr, self.steps), self._scores.threshold]

    @torch.no_grad()
    def freeze_picks(self) -> None:
        """From now on the picks stand still: what is fixed is the picked value, or 0."""
        for slot in self.slots.values():
            slot.fixed_values.copy_(encode_fixed(is_trainable(slot.fixed_values), slot.value))
            slot.score = None
            slot.exp_avg_sq = slot.exp_avg_sq if self.config.kind == "adamw" else None
        self._channels = None

    def trainable(self) -> Layers:
        """Per layer, in the parameter's shape: where the task trains the weight, bool."""
        return {name: is_trainable(_shaped(slot, slot.fixed_values)) for name, slot in self.slots.items()}

    def set_trainable(self, name: str, positions: Tensor) -> None:
        """Train the weights at `positions` (bool, in the layer's shape) from now on, without momentum of before."""
        slot = self.slots[name]
        mark_trainable(_shaped(slot, slot.fixed_values), positions)
        for average in (slot.exp_avg, slot.exp_avg_sq):
            if average is not None:
                _shaped(slot, average).masked_fill_(positions, 0.0)

    def set_fixed(self, name: str, positions: Tensor, value: float) -> None:
        """Keep `value` at `positions` (bool, in the layer's shape) from now on: how pruning takes weights out."""
        slot = self.slots[name]
        for tensor in (_shaped(slot, slot.fixed_values), slot.parameter.data):
            tensor.masked_fill_(positions, value)
        _shaped(slot, slot.exp_avg).masked_fill_(positions, 0.0)

    def tensors(self) -> Layers:
        """Everything that a later `load` needs to go on from here, in standard layout."""
        out = {
            f"shared.{key}.{name}": _shaped(slot, tensor).contiguous()
            for name, slot in self.slots.items()
            for key, tensor in slot.buffers().items()
        }
        for number, state in self._private.state_dict()["state"].items():
            out |= {f"private.{number}.{key}": value for key, value in state.items() if value is not None}
        if self._channels is not None:
            out |= {f"channels.{key}": value for key, value in self._channels.tensors().items()}
        return out | {"steps": torch.tensor(self.steps)}

    def load(self, tensors: Layers) -> None:
        """Go on from what `tensors` gave; the network's own tensors are restored by the caller."""
        self.steps = int(tensors["steps"])
        if self._channels is not None and "channels.score" not in tensors:
            self.freeze_picks()
        elif self._channels is not None:
            self._channels.load({key: tensors[f"channels.{key}"] for key in self._channels.tensors()})
        for name, slot in self.slots.items():
            if f"shared.score.{name}" not in tensors and slot.score is not None:
                self.freeze_picks()
            for key, tensor in slot.buffers().items():
                _shaped(slot, tensor).copy_(tensors[f"shared.{key}.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for path, tensor in tensors.items():
            if path.startswith("private."):
                _, number, key = path.split(".")
                state.setdefault(int(number), {})[key] = tensor.clone()
        self._private.load_state_dict({**self._private.state_dict(), "state": state})


def _shaped(slot: Slot, storage_order: Tensor) -> Tensor:
    """A flat buffer seen in the parameter's shape and memory format, as a view."""
    return torch.as_strided(storage_order, slot.parameter.shape, slot.parameter.stride())


def send(target: Tensor, numbers: list[float]) -> None:
    """Write numbers into a tensor on any device, without waiting for the device."""
    values = torch.tensor(numbers, dtype=target.dtype)
    target.copy_(values.pin_memory() if target.is_cuda else values, non_blocking=True)


def _private_optimizer(parameters: list[nn.Parameter], config: Optimizer) -> torch.optim.Optimizer:
    if config.kind == "sgd":
        return torch.optim.SGD(parameters, lr=0.0, momentum=config.momentum, nesterov=config.momentum > 0, fused=True)
    capturable, betas = parameters[0].is_cuda, (config.momentum, BETA2)
    return torch.optim.AdamW(parameters, lr=0.0, betas=betas, weight_decay=0.0, fused=True, capturable=capturable)
