"""Picks of whole channels: the gradient of one gate for all older weights, and at least one channel that lives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from core.tiny import settings
from cpg_core.config.backbone import BackboneSpec
from cpg_core.model.channels.units import Units, channel_units
from cpg_core.model.network import build, shared_parameters
from cpg_core.training.channel_picks import ChannelPicks, picked_units
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.score_rules import sgd_scores

YES, NO = True, False


def units_of(count: int, *stay: int) -> Units:
    """So many units in one pool, of a layer `0.weight` with an output channel each; some must stay."""
    removable = torch.ones(count, dtype=torch.bool)
    removable[list(stay)] = False
    return Units({"0.weight": torch.arange(count)}, {}, torch.zeros(count, dtype=torch.int64), removable, ())


def test_the_gradient_of_a_score_is_that_of_a_gate_before_all_older_weights_of_its_channel() -> None:
    generator = torch.Generator().manual_seed(1)
    weight, older = torch.randn(4, 3, generator=generator), torch.rand(4, 3, generator=generator) < 0.6
    images, gates = torch.randn(5, 3, generator=generator), torch.ones(4, requires_grad=True)
    effective = torch.where(older, gates[:, None] * weight, weight)
    loss = F.linear(images, effective).square().sum()
    of_gates, of_weights = torch.autograd.grad(loss, (gates, effective))
    picks = ChannelPicks(units_of(4), sgd_scores(1.0, 0.5), {"0.weight": ~older}, {"0.weight": older})
    found = picks.gradient({"0.weight": torch.where(older, weight, torch.nan)}, {"0.weight": of_weights}, {})
    assert torch.allclose(found, of_gates)
    assert not torch.allclose((of_weights * weight).sum(dim=1), of_gates)  # own weights are not behind the gate


def test_the_score_of_a_channel_that_is_all_older_moves_as_a_gate_of_its_output_behind_the_norm() -> None:
    net = build("digits_cnn", 0.3, 2, "gates").train()
    units = channel_units(BackboneSpec(name="digits_cnn"), 0.3, 2)
    weights = shared_parameters(net)
    generator = torch.Generator().manual_seed(1)
    for name in units.affine:  # as of an earlier task: not 1 and 0
        torch.nn.init.uniform_(net.get_parameter(name), 0.5, 1.5, generator=generator)
    gates = torch.ones(len(units), requires_grad=True)
    of_layer = {
        place: units.outputs[name].clone() for place, name in ((1, "0.weight"), (5, "4.weight"), (9, "9.weight"))
    }
    hooks = [
        net.backbone.get_submodule(str(place)).register_forward_hook(
            lambda _module, _input, output, of=of: output * gates[of].view(1, -1, *[1] * (output.dim() - 2))
        )
        for place, of in of_layer.items()
    ]
    images = torch.randn(16, 1, 8, 8, generator=generator)
    F.cross_entropy(net(images), torch.arange(16) % 2).backward()
    for hook in hooks:
        hook.remove()
    used = torch.cat(list(of_layer.values()))
    expected = gates.grad
    assert expected is not None
    filters = {name: weight.grad * weight.detach() for name, weight in weights.items() if weight.grad is not None}
    older = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    own = {name: ~mask for name, mask in older.items()}
    rule = sgd_scores(1.0, 0.0)
    picks = ChannelPicks(units, rule, own, older)
    values = {name: weight.detach().clone() for name, weight in weights.items()}
    config = settings().optimizer
    optimizer = TaskOptimizer(net, own, values, config, scores=rule, channels=picks, compiled=False)
    optimizer.set_rates(lr=0.1, score_lr=1.0)
    optimizer.update()
    moved = 1.0 - picks.score
    assert torch.allclose(moved[used], expected[used], rtol=1e-3, atol=1e-6)
    by_filters = units.total({name: product.flatten(1).sum(dim=1) for name, product in filters.items()})
    behind_norms = torch.cat([of_layer[1], of_layer[5]])
    assert by_filters[behind_norms].abs().max() < 0.01 * expected[behind_norms].abs().max()  # what the norm leaves


def test_what_falls_below_the_threshold_is_left_out_whole_and_comes_back() -> None:
    older = torch.tensor([[YES, NO], [YES, YES]])
    picks = ChannelPicks(units_of(2), sgd_scores(1.0, 0.5), {"0.weight": ~older}, {"0.weight": older})
    hyper = torch.tensor([1.0, 0.5])  # rate and threshold
    for gradient, left in ((0.9, [[2.0, 2.0], [0.0, 0.0]]), (-0.9, [[2.0, 2.0], [2.0, 2.0]])):
        value = torch.full((2, 2), 2.0)
        picks.leave_out({"0.weight": value}, picks.move(torch.tensor([0.0, gradient]), hyper))
        assert value.tolist() == left


def chosen(wanted: list[bool], older: list[bool], own: list[bool], *stay: int) -> list[bool]:
    score = torch.tensor([0.1, 0.3, 0.2, 0.0])[: len(wanted)]
    masks = [torch.tensor(mask) for mask in (older, own)]
    picked: Tensor = picked_units(torch.tensor(wanted), score, *masks, units_of(len(wanted), *stay))
    return (picked & masks[0]).tolist()


def test_where_no_channel_would_live_the_best_older_one_is_picked() -> None:
    none = [NO, NO, NO, NO]
    assert chosen(none, [YES, NO, YES, YES], none) == [NO, NO, YES, NO]
    assert chosen(none, [YES, NO, YES, YES], [NO, YES, NO, NO]) == none
    assert chosen([YES, NO, NO, NO], [YES, NO, YES, YES], none) == [YES, NO, NO, NO]
    assert chosen(none, none, none) == none


def test_a_channel_that_cannot_be_left_out_is_picked() -> None:
    assert chosen([NO, NO], [YES, YES], [YES, YES], 1) == [NO, YES]
