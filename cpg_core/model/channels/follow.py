"""Follow the channels of an image through a network, operation by operation (`torch.fx`).

What this file does not know may do anything: its inputs stay, and so do its outputs.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from cpg_core.model.channels.flow import Channels, Flow, Groups, Layer

LAYERS = (nn.Conv2d, nn.Linear, _BatchNorm, nn.PReLU)
POINTWISE = (
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
    nn.GELU,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Sigmoid,
    nn.Tanh,
    nn.LeakyReLU,
    nn.ELU,
    nn.PReLU,  # with one slope for all channels
    nn.Dropout,
)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
MULTIPLY = (operator.mul, operator.imul, torch.mul)
ADD = (operator.add, operator.iadd, torch.add)
UNARY = (F.relu, torch.relu, F.relu6, F.silu, F.hardswish, F.sigmoid, torch.sigmoid)
METHODS: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "add_": torch.add,
    "mul": torch.mul,
    "mul_": torch.mul,
    "relu": torch.relu,
    "relu_": torch.relu,
    "sigmoid": torch.sigmoid,
    "flatten": torch.flatten,
    "mean": torch.mean,
    "contiguous": torch.clone,
}


class _Tracer(fx.Tracer):
    """Takes what holds weights as one operation, whatever its class does around them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """As in torch.fx."""
        return isinstance(m, LAYERS) or super().is_leaf_module(m, module_qualified_name)


def followed(network: nn.Module, shape: tuple[int, ...]) -> Flow | None:
    """How channels run through a network in evaluation mode; None where its operations depend on the image.

    Args:
        network: takes images, and is not changed.
        shape: of an image, `(C, H, W)`.
    """
    try:
        graph = _Tracer().trace(network)
    except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError):
        return None
    module = fx.GraphModule(network, graph)
    with torch.inference_mode():
        ShapeProp(module).propagate(torch.zeros(1, *shape))
        return _Follower(module).flow()


class _Follower:
    """Goes through the operations of a graph, of which the shape of each result is known."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self._groups = Groups()
        self._layers: list[Layer] = []
        self._channels: dict[fx.Node, Channels] = {}
        calls = [node.target for node in module.graph.nodes if node.op == "call_module"]
        self._called_once = {target for target in calls if calls.count(target) == 1}

    def flow(self) -> Flow:
        """All that was found."""
        for node in self._module.graph.nodes:
            found = self._step(node)
            if found is None:
                for read in node.all_input_nodes:
                    if read in self._channels:
                        self._groups.fix(self._channels[read])
                shape = _shape(node)
                found = self._groups.new(shape[1], fixed=True) if len(shape) > 1 else None
            if found is not None:
                self._channels[node] = found
        return self._groups.flow(self._layers)

    def _step(self, node: fx.Node) -> Channels | None:
        """The channels of what an operation gives; None: it is one that may do anything."""
        if any(read not in self._channels for read in node.all_input_nodes):
            return None
        if node.op == "call_module":
            return self._call_module(node, self._module.get_submodule(str(node.target)))
        if node.op == "call_method":
            return self._call_function(node, METHODS.get(str(node.target)))
        return self._call_function(node, node.target) if node.op == "call_function" else None

    def _call_module(self, node: fx.Node, module: nn.Module) -> Channels | None:
        if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], fx.Node):
            return None
        inputs = self._channels[node.args[0]]
        if isinstance(module, nn.Conv2d | nn.Linear):
            return self._dense_or_depthwise(node, module, inputs)
        slopes = module.num_parameters if isinstance(module, nn.PReLU) else 0
        if slopes > 1 or isinstance(module, _BatchNorm):
            return self._norm(node, module, inputs)
        if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
            return self._flattened(node, inputs)
        if isinstance(module, POINTWISE):
            return Channels(inputs.groups, _at_a_place(module, inputs, _dimensions(node)))
        if isinstance(module, POOLS):
            bordered = isinstance(module, nn.AvgPool2d) and module.padding not in (0, (0, 0))
            constant = torch.where(inputs.constant == 0, 0.0, torch.nan) if bordered else inputs.constant
            return Channels(inputs.groups, constant)
        return None

    def _dense_or_depthwise(self, node: fx.Node, module: nn.Conv2d | nn.Linear, inputs: Channels) -> Channels | None:
        name = str(node.target)
        if name not in self._called_once:
            return None
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            if not module.groups == module.in_channels == module.out_channels:
                return None  # groups of several channels must stay of one size
            constant = _constant_depthwise(module, inputs.constant)
            return self._added(Layer(name, module, inputs, inputs, dense=False), constant)
        if _dimensions(node) != (2 if isinstance(module, nn.Linear) else 4):
            return None
        layer = Layer(name, module, inputs, inputs, dense=True)
        outputs = self._groups.new(module.weight.shape[0], constant=_constant_dense(module, layer))
        self._layers.append(replace(layer, outputs=outputs))
        return outputs

    def _norm(self, node: fx.Node, module: nn.Module, inputs: Channels) -> Channels | None:
        by_batch = isinstance(module, _BatchNorm) and module.running_mean is None
        if str(node.target) not in self._called_once or by_batch:
            return None
        constant = _at_a_place(module, inputs, _dimensions(node))
        if isinstance(module, _BatchNorm) and module.affine:
            constant = torch.where(module.weight == 0, module.bias, constant)
        return self._added(Layer(str(node.target), module, inputs, inputs, dense=False), constant)

    def _added(self, layer: Layer, constant: Tensor) -> Channels:
        self._layers.append(layer)
        return Channels(layer.inputs.groups, constant)

    def _flattened(self, node: fx.Node, inputs: Channels) -> Channels:
        """From channels and their places to one number each, place by place."""
        places = _shape(node)[1] // len(inputs)
        return Channels(inputs.groups.repeat_interleave(places), inputs.constant.repeat_interleave(places))

    def _call_function(self, node: fx.Node, function: object) -> Channels | None:
        if function is torch.cat:
            return self._concatenated(node)
        if function is torch.flatten and node.args[1:] in ((1,), (1, -1)) and not node.kwargs:
            return self._flattened(node, self._channels[node.all_input_nodes[0]])
        if function is torch.mean and _over_places(node):
            return self._channels[node.all_input_nodes[0]]
        if function is F.adaptive_avg_pool2d or function is torch.clone:
            return self._channels[node.all_input_nodes[0]]
        if function in UNARY:
            inputs = self._channels[node.all_input_nodes[0]]
            return Channels(inputs.groups, _at_a_place(function, inputs, _dimensions(node)))
        if function in ADD or function in MULTIPLY:
            return self._combined(node, torch.add if function in ADD else torch.mul)
        return None

    def _combined(self, node: fx.Node, function: Callable[..., Tensor]) -> Channels | None:
        """A sum or product of two tensors, channel by channel, or of a tensor and a number."""
        count, dimensions = _shape(node)[1], _dimensions(node)
        sides = [self._channels[side] if isinstance(side, fx.Node) else side for side in node.args]
        tensors = [side for side in sides if isinstance(side, Channels)]
        alike = all(len(_shape(read)) == dimensions and _shape(read)[1] == count for read in node.all_input_nodes)
        if len(sides) != 2 or node.kwargs or not alike or not all(isinstance(s, Channels | int | float) for s in sides):
            return None
        values = [side.constant if isinstance(side, Channels) else torch.tensor(side) for side in sides]
        constant = function(*values)
        if function is torch.mul:  # whatever the other may be
            constant = torch.where((values[0] == 0) | (values[1] == 0), 0.0, constant)
        for other in tensors[1:]:
            self._groups.tie(tensors[0], other)
        return Channels(tensors[0].groups, constant)

    def _concatenated(self, node: fx.Node) -> Channels | None:
        parts, *rest = node.args
        dimension = rest[0] if rest else node.kwargs.get("dim", 0)
        if dimension != 1 or not isinstance(parts, Sequence):
            return None
        found = [self._channels[part] for part in parts if isinstance(part, fx.Node)]
        return Channels(torch.cat([one.groups for one in found]), torch.cat([one.constant for one in found]))


def _constant_dense(module: nn.Conv2d | nn.Linear, layer: Layer) -> Tensor:
    """The outputs that are constant, since they use constant inputs alone."""
    constant, known = layer.inputs.constant, layer.foldable
    certain = ~layer.uses[:, ~known].any(dim=1)
    added = layer.strength @ torch.where(known, constant, 0.0)
    return torch.where(certain, added + (0.0 if module.bias is None else module.bias), torch.nan)


def _constant_depthwise(module: nn.Module, constant: Tensor) -> Tensor:
    """The same of a depthwise convolution, whose border is of zeros."""
    assert isinstance(module, nn.Conv2d)
    nothing = (module.weight == 0).flatten(1).all(dim=1) | (constant == 0)
    return torch.where(nothing, torch.zeros(()) if module.bias is None else module.bias, torch.nan)


def _at_a_place(function: Callable[[Tensor], Tensor], inputs: Channels, dimensions: int) -> Tensor:
    """What an operation that works on each place makes of each channel's constant."""
    image = inputs.constant.clone().reshape(1, -1, *[1] * (dimensions - 2))
    return function(image).flatten()


def _over_places(node: fx.Node) -> bool:
    """Whether a mean is over all but images and channels."""
    over = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    return over in ([2, 3], (2, 3), [-2, -1], (-2, -1))


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Of the tensor that an operation gives; `()` where it gives none."""
    found = node.meta.get("tensor_meta")
    return tuple(getattr(found, "shape", ()))


def _dimensions(node: fx.Node) -> int:
    return len(_shape(node))
