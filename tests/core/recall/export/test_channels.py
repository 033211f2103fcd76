"""Channels that nothing reaches or leaves are left out, and nothing else: the outputs stay what they are."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from cpg_core.model.channels.follow import followed
from cpg_core.recall.export.narrow import narrowed, without_unused
from cpg_core.recall.export.unused import unused

SHAPE = (2, 6, 6)


class Sum(nn.Module):
    """A residual sum around a block."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, maps: Tensor) -> Tensor:
        return self.block(maps) + maps


class Gate(nn.Module):
    """Squeeze and excitation: a factor a channel, from the mean of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.conv(maps.mean([2, 3], keepdim=True)).sigmoid() * maps


class Shuffle(nn.Module):
    """Something that is not known: the channels in the opposite order."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flip(1)


def conv(before: int, after: int, kernel: int = 3, groups: int = 1, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, groups=groups, bias=bias)


def network(*layers: nn.Module) -> nn.Sequential:
    """In evaluation mode, with weights that let every channel be seen in the outputs."""
    made = nn.Sequential(*layers).eval()
    luck = torch.Generator().manual_seed(1)
    for module in made.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data = torch.randn(module.weight.shape, generator=luck) / 2
        elif isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.data = torch.rand(tensor.shape, generator=luck) + 0.5
    return made.requires_grad_(requires_grad=False)


def end(channels: int) -> tuple[nn.Module, ...]:
    return nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3)


def kill(module: nn.Module, channels: Iterable[int], shift: float = 0.0) -> None:
    """Let a convolution, and the norm that follows it, give a constant in these channels."""
    assert isinstance(module, nn.Sequential)
    convolution, norm = module[0], module[1]
    assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    for channel in channels:
        convolution.weight[channel] = norm.running_mean[channel] = 0
        norm.bias[channel] = shift


def block(before: int, after: int, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(conv(before, after, kernel, groups), nn.BatchNorm2d(after))


def outputs(made: nn.Module) -> Tensor:
    with torch.inference_mode():
        return made(torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(2)))


def narrow(made: nn.Sequential, multiple: int = 1) -> nn.Sequential:
    """The network without what it does not need, which answers as the whole one does."""
    small = without_unused(made, SHAPE, multiple)
    assert outputs(made).std(dim=0).min() > 1e-4
    torch.testing.assert_close(outputs(small), outputs(made), rtol=1e-5, atol=1e-6)
    return small


def widths(made: nn.Module) -> list[tuple[int, int]]:
    """Of each convolution and linear layer: inputs (of a filter) and outputs."""
    layers = (module for module in made.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    return [(layer.weight.shape[1], layer.weight.shape[0]) for layer in layers]


def test_a_channel_that_nothing_reaches_is_left_out() -> None:
    made = network(block(2, 4), nn.ReLU(), conv(4, 5), *end(5))
    kill(made[0], [1, 3])
    small = narrow(made)
    assert widths(small) == [(2, 2), (2, 5), (5, 3)]
    norm = small.get_submodule("0.1")
    assert isinstance(norm, nn.BatchNorm2d) and norm.num_features == 2


def test_a_channel_that_nothing_reads_is_left_out_and_what_it_alone_reads() -> None:
    made = network(block(2, 4), nn.ReLU(), conv(4, 5), *end(5))
    last = made[-1].weight
    last[:, 2] = 0  # nothing reads channel 2 of the second convolution, which alone reads channel 0 of the first
    made[2].weight[[0, 1, 3, 4], 0] = 0
    assert widths(narrow(made)) == [(2, 3), (3, 4), (4, 3)]


def test_a_constant_goes_into_the_bias_where_there_is_no_border() -> None:
    made = network(block(2, 4), nn.ReLU(), conv(4, 5, 1), *end(5))
    kill(made[0], [1, 3], shift=0.7)
    small = narrow(made)
    assert widths(small) == [(2, 2), (2, 5), (5, 3)]
    assert small[2].bias is not None


def test_a_constant_that_a_border_of_zeros_cuts_off_is_kept() -> None:
    made = network(block(2, 4), nn.ReLU(), conv(4, 5), *end(5))
    kill(made[0], [1, 3], shift=0.7)
    assert narrow(made) is made


def test_a_negative_constant_ends_at_an_activation() -> None:
    made = network(block(2, 4), nn.ReLU(), conv(4, 5), *end(5))
    kill(made[0], [1, 3], shift=-0.7)
    assert widths(narrow(made)) == [(2, 2), (2, 5), (5, 3)]


def test_a_constant_reaches_the_last_layer_through_pooling_and_flattening() -> None:
    made = network(block(2, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3, bias=False))
    kill(made[0], [2], shift=0.7)
    small = narrow(made)
    assert widths(small) == [(2, 3), (27, 3)]


def test_a_norm_without_a_factor_makes_a_constant() -> None:
    made = network(block(2, 4), nn.ReLU(), conv(4, 5, 1), *end(5))
    made[0][1].weight[2] = 0
    assert widths(narrow(made))[:2] == [(2, 3), (3, 5)]


@pytest.mark.parametrize(("both", "left"), [(True, 3), (False, 4)])
def test_a_channel_of_a_residual_sum_goes_on_both_sides_or_stays(both: bool, left: int) -> None:
    made = network(block(2, 4), Sum(block(4, 4)), conv(4, 5), *end(5))
    kill(made[1].block, [1])
    if both:
        kill(made[0], [1])
    assert widths(narrow(made)) == [(2, left), (left, left), (left, 5), (5, 3)]


def test_a_channel_goes_with_its_depthwise_filter() -> None:
    made = network(block(2, 6, 1), nn.ReLU6(), block(6, 6, groups=6), nn.ReLU6(), conv(6, 5, 1), *end(5))
    kill(made[0], [0])
    kill(made[2], [0])
    kill(made[2], [3])  # what reaches it ends there
    made[-1].weight[:, 1] = 0
    made[4].weight[:, 5] = 0  # and this is not read
    small = narrow(made)
    assert widths(small) == [(2, 3), (1, 3), (3, 4), (4, 3)]
    assert small[2][0].groups == 3


@pytest.mark.parametrize(("multiple", "left"), [(1, (4, 5)), (2, (4, 6)), (3, (6, 6)), (4, (4, 8)), (8, (8, 8))])
def test_of_each_layer_a_multiple_of_channels_stays_or_all(multiple: int, left: tuple[int, int]) -> None:
    """Of what stays for that a part has lost what it reads: the second layer, of which channels 0 to 2 are not read."""
    first, second = left
    made = network(block(2, 8, 1), nn.ReLU(), block(8, 8, groups=8), conv(8, 8, 1), *end(8))
    kill(made[0], [1, 4])
    kill(made[2], [1, 4])
    made[3].weight[3:, 6:] = 0  # channels 6 and 7 are read by those alone
    made[-1].weight[:, :3] = 0
    assert widths(narrow(made, multiple)) == [(2, first), (1, first), (first, second), (second, 3)]


def test_what_a_factor_multiplies_goes_with_it() -> None:
    made = network(block(2, 4), nn.ReLU(), Gate(4), conv(4, 5), *end(5))
    kill(made[0], [1])
    assert widths(narrow(made)) == [(2, 3), (3, 3), (3, 5), (5, 3)]


def test_one_channel_stays_of_a_layer_that_does_nothing() -> None:
    made = network(block(2, 4), Sum(nn.Sequential(block(4, 6), nn.ReLU(), block(6, 4))), conv(4, 5), *end(5))
    kill(made[1].block[0], range(6))
    assert widths(narrow(made)) == [(2, 4), (4, 1), (1, 4), (4, 5), (5, 3)]


def test_around_what_is_not_known_every_channel_stays() -> None:
    made = network(block(2, 4), nn.ReLU(), Shuffle(), conv(4, 5), *end(5))
    kill(made[0], [1, 3])
    assert narrow(made) is made


def test_a_layer_that_computes_twice_is_left_alone() -> None:
    twice = block(4, 4)
    made = network(block(2, 4), twice, nn.ReLU(), twice, *end(4))
    kill(twice, [1])
    assert narrow(made) is made


def test_a_network_that_looks_at_its_images_is_left_as_it_is() -> None:
    class Looks(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return maps if maps.sum() > 0 else -maps

    made = network(block(2, 4), Looks(), *end(4))
    assert followed(made, SHAPE) is None
    assert without_unused(made, SHAPE) is made


def living() -> nn.Sequential:
    made = network(block(2, 4), nn.ReLU(), block(4, 5), nn.ReLU(), conv(5, 4), *end(4))
    kill(made[0], [1])
    return made


def test_every_channel_that_stays_is_needed() -> None:
    """Control: left out too, it changes the outputs."""
    made = living()
    flow = followed(made, SHAPE)
    assert flow is not None
    left_out = unused(flow)
    assert left_out.sum() == 1
    others = (~flow.fixed & ~left_out).nonzero().flatten().tolist()
    assert len(others) == 3 + 5 + 4
    for group in others:
        more = left_out.clone()
        more[group] = True
        assert (outputs(narrowed(made, flow.layers, more)) - outputs(made)).abs().max() > 1e-4
