"""A new method and a new backbone are a file each: nothing else is changed to learn with them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from core.tiny import learn, spec
from cpg_core import backbones, methods
from cpg_core.errors import CpgError
from cpg_core.methods import assembly_of
from cpg_core.recall.audit import audit
from cpg_core.stages.source_hash import sources

METHOD = '''
"""Task k trains and holds every third row, from row k on."""

import torch

from cpg_core.stages.growth_rules import NoGrowth
from cpg_core.stages.context import Method
from cpg_core.stages.prune_rules import NoPruning
from cpg_core.stages.stage_table import STAGES


def every_third_row(older, index, grown_from):
    own = torch.zeros_like(older)
    own[index - 1 :: 3] = True
    return own & ~older


METHOD = Method(
    name="every_third",
    source="nobody",
    stages=STAGES,
    growth=NoGrowth(),
    pruning=NoPruning(),
    trainable=every_third_row,
)
'''
BACKBONE = '''
"""One hidden layer."""

from torch import nn

from cpg_core.backbones import Input, channels

INPUT = Input(channels=1, size=8)


def build(width):
    hidden = channels(30, width)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU())
    network.out_features = hidden
    return network
'''


@pytest.fixture
def plugged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for package, name, text in ((methods, "every_third", METHOD), (backbones, "one_layer", BACKBONE)):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / f"{name}.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}", raising=False)
    return tmp_path


def test_a_run_learns_with_both(plugged_in: Path) -> None:
    run = learn(plugged_in, spec(method="every_third", backbone="one_layer"))
    owner = assembly_of(run).shared().owner["1.weight"]
    assert [row.unique().tolist() for row in owner[:4]] == [[1], [2], [3], [1]]
    assert all(finding.ok for finding in audit(run))


def test_their_own_files_are_part_of_what_a_stage_depends_on(plugged_in: Path) -> None:
    found = dict(sources(methods="every_third", backbones="one_layer"))
    assert found["methods/every_third.py"].is_relative_to(plugged_in)
    assert found["backbones/one_layer.py"].is_relative_to(plugged_in)


def test_without_the_files_their_names_are_unknown() -> None:
    with pytest.raises(CpgError, match="method 'every_third'"):
        methods.find("every_third")
    with pytest.raises(CpgError, match="backbone 'one_layer'"):
        backbones.find("one_layer")
