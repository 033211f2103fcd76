"""A method that cannot learn with a backbone says so before anything is learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from core.test_plug_in import plug_in
from core.tiny import settings
from cpg_core import backbones, methods
from cpg_core.config.backbone import BackboneSpec
from cpg_core.errors import CpgError
from cpg_core.model.network import build, shared_shapes
from cpg_core.runner import learn_sequence
from cpg_core.stages.backbone_rules import is_chain, require_fit
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Silent

ONE_WIDTH = BackboneSpec(name="torchvision/alexnet")
FIXED = ("base_width=1", "grow.max_x=1")


def problems(method: str, backbone: BackboneSpec, *overrides: str) -> list[str]:
    try:
        require_fit(methods.find(method), backbone, settings(*overrides))
    except CpgError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("method", methods.names())
def test_every_method_learns_with_a_chain_that_grows(method: str) -> None:
    assert problems(method, BackboneSpec(name="digits_cnn"), "grow.max_x=2") == []


@pytest.mark.parametrize("method", sorted({*methods.names()} - {"den"}))
def test_every_method_but_den_learns_with_a_residual_network(method: str) -> None:
    assert problems(method, BackboneSpec(name="resnet18_32"), "grow.max_x=2") == []


def test_channels_are_followed_at_the_size_that_is_asked_for() -> None:
    small = BackboneSpec(name="sphereface20", size=16)
    assert problems("cpg", small, "base_width=0.05", "prune.unit=channel", "grow.max_x=1") == []


@pytest.mark.parametrize("name", sorted({*backbones.names()} - {"digits_cnn", "vgg16_bn"}))
def test_den_needs_a_chain(name: str) -> None:
    (said,) = problems("den", BackboneSpec(name=name))
    assert said.startswith(f"backbone {name}: den needs a chain of layers")


def test_a_chain_is_layers_in_sequence_that_read_all_channels() -> None:
    assert is_chain(nn.Sequential(nn.Conv2d(1, 4, 1), nn.Sequential(nn.ReLU(), nn.Flatten())))
    assert not is_chain(nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1, groups=2)))
    assert not is_chain(build("resnet18_32", 0.05, 2).backbone)


@pytest.mark.parametrize("method", ["cpg", "pae", "den"])
def test_one_of_one_width_needs_settings_that_cannot_grow(method: str) -> None:
    said = problems(method, ONE_WIDTH, "base_width=0.5", "grow.max_x=1.5")
    assert "base_width is 0.5: --set base_width=1" in said[0]
    assert f"cannot grow, as {method} may: --set grow.max_x=1 (it is 1.5)" in said[1]
    assert [line for line in problems(method, ONE_WIDTH, *FIXED) if "grow" in line or "width" in line] == []


def test_shares_of_random_picks_name_every_shared_layer_once() -> None:
    small, share = (
        BackboneSpec(name="digits_cnn"),
        dict.fromkeys(shared_shapes(BackboneSpec(name="digits_cnn"), 1.0), 0.5),
    )

    def said(share: dict[str, float], *overrides: str, method: str = "cpg") -> list[str]:
        return problems(method, small, f"pick_train.picks={{kind: random, share: {share}}}", *overrides)

    assert said(share) == []
    (missing,) = said(dict(list(share.items())[1:]))
    assert missing.endswith(f"missing or unknown: {next(iter(share))}")
    (unknown,) = said(share | {"conv9.weight": 0.5})
    assert unknown.endswith("missing or unknown: conv9.weight")
    (channels,) = said(share, "prune.unit=channel")
    assert "one number where channels are picked" in channels
    assert said({"conv9.weight": 0.5}, method="pae") == []  # which picks none


def test_a_method_that_always_grows_is_no_matter_of_settings() -> None:
    assert problems("progressive", ONE_WIDTH, *FIXED) == [
        "backbone torchvision/alexnet: it cannot grow, as progressive may: take another method"
    ]


@pytest.mark.parametrize("method", ["cpg", "packnet", "piggyback", "finetune", "scratch", "lwf"])
def test_the_others_take_one_of_one_width(method: str) -> None:
    assert problems(method, ONE_WIDTH, *FIXED) == []


NET = """
import torch
from torch import nn
from cpg_core.backbones import Input
INPUT = Input(channels=1, size=8)
class Blur(nn.Module):
    def __init__(self, **how):
        super().__init__()
        if how:
            self.register_buffer("kernel", torch.ones(1), **how)
        else:
            self.kernel = torch.ones(1)
    def forward(self, features):
        return features * self.kernel
def build(width):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), {more})
    network.out_features = {features}
    return network
"""


@pytest.mark.parametrize(
    ("more", "features", "said"),
    [
        ("nn.ReLU()", 10, None),
        ("nn.Dropout(0.0)", 10, None),
        ("nn.Dropout(0.5)", 10, "2 is dropout: what it draws is not saved"),
        ("nn.Linear(11, 10)", 10, "it does not take images of 8 pixels a side: "),
        ("Blur(persistent=True)", 10, None),
        ("Blur(persistent=False)", 10, "2.kernel is a tensor that no state_dict holds"),
        ("Blur()", 10, "2.kernel is a tensor that no state_dict holds"),
        ("nn.ReLU()", None, "two images give [2, 10] where features [2, None] are expected"),
        ("nn.ReLU()", 12, "two images give [2, 10] where features [2, 12] are expected"),
    ],
)
def test_a_file_of_somebodys_own_is_looked_at_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, features: int | None, said: str | None
) -> None:
    plug_in(tmp_path, monkeypatch, backbones, "mine", NET.format(more=more, features=features))
    found = problems("cpg", BackboneSpec(name="mine"))
    assert found == [] if said is None else said in found[0]


def test_nothing_is_begun_by_a_run_that_does_not_fit(new_run: Callable[..., Run]) -> None:
    run = new_run(method="den", tasks="1", backbone="resnet18_32")
    with pytest.raises(CpgError, match="den needs a chain"):
        learn_sequence(run, Silent())
    assert run.frozen() == 0 and not run.task_work(1).exists()
