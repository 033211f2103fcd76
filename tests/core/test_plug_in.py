"""A new method, backbone, objective and source of data are a file each: nothing else is changed to learn with them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from core.tiny import begun, learn, spec
from cpg_core import backbones, methods, objectives
from cpg_core.data import sources as data_sources
from cpg_core.data.spec import SequenceSpec, TaskSpec, load_sequence, load_task
from cpg_core.errors import CpgError
from cpg_core.methods import assembly_of
from cpg_core.recall.audit import audit
from cpg_core.recall.recall import evaluate
from cpg_core.stages.source_hash import source_sha256, sources
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.runs import open_run

METHOD = '''
"""Task k trains and holds every third row, from row k on."""

import torch

from cpg_core.stages.growth_rules import NoGrowth
from cpg_core.stages.context import Method
from cpg_core.stages.pruning.prune_rules import NoPruning
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
OBJECTIVE = '''
"""Right by a margin: a head without biases, and the hinge loss."""

from torch import nn
from torch.nn.functional import multi_margin_loss

from cpg_core.objectives import Objective
from cpg_core.objectives.classification import accuracy, tally


def head(features, classes):
    return nn.Linear(features, classes, bias=False)


def loss(outputs, labels, steps):
    return multi_margin_loss(outputs, labels)


OBJECTIVE = Objective(head=head, loss=loss, tally=tally, tally_size=2, score=accuracy)
'''
SOURCE = '''
"""Stripes that run across or down, with noise."""

from typing import Literal

import numpy as np
from PIL import Image

from cpg_core.data.reading.listing import Item, Listing
from cpg_core.data.sources import Source


class StripesSource(Source):
    kind: Literal["stripes"]
    count: int
    period: int = 2

    def list_part(self, part):
        labels = np.arange(self.count, dtype=np.int64) % 2
        noise = np.random.default_rng(part == "test").integers(0, 100, (self.count, 8, 8), dtype=np.uint8)
        across = np.where(np.arange(8) // self.period % 2, 0, 155).astype(np.uint8)[:, None]

        def read(rows):
            for row in rows:
                yield Item(f"stripes {row}", Image.fromarray(noise[row] + (across.T if labels[row] else across)))

        return Listing(f"stripes, {part} part", ("across", "down"), labels, read)


SOURCE = StripesSource
'''
PLUGGED = (
    (methods, "every_third", METHOD),
    (backbones, "one_layer", BACKBONE),
    (objectives, "margin", OBJECTIVE),
    (data_sources, "stripes", SOURCE),
)
SEQUENCE = """
name: stripes
backbone: one_layer
profile: digits
source: {kind: stripes, count: 60}
tasks:
  - {name: narrow, kind: margin}
  - {name: zero-one, source: {kind: digits}, classes: ["0", "1"]}
  - {name: wide, kind: margin, source: {kind: stripes, count: 60, period: 4}}
"""


def plug_in(folder: Path, monkeypatch: pytest.MonkeyPatch, package: ModuleType, name: str, text: str) -> None:
    """One file, in a folder of its own that the room then reaches to."""
    home = folder / package.__name__
    home.mkdir()
    (home / f"{name}.py").write_text(text)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(home)])
    monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}", raising=False)


@pytest.fixture
def plugged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for package, name, text in PLUGGED:
        plug_in(tmp_path, monkeypatch, package, name, text)
    return tmp_path


def sequence(folder: Path) -> SequenceSpec:
    (folder / "stripes.yaml").write_text(SEQUENCE)
    return load_sequence(str(folder / "stripes.yaml"), folder)


def spec_of_stripes(folder: Path) -> RunSpec:
    tasks = sequence(folder).tasks
    goals = {task.name: 0.6 for task in tasks}
    common = spec(method="every_third", backbone="one_layer")
    return common.model_copy(update={"sequence": "stripes", "tasks": tasks, "goals": goals})


def test_a_run_learns_with_all_four(plugged_in: Path) -> None:
    run = learn(plugged_in, spec_of_stripes(plugged_in))
    owner = assembly_of(run).shared().owner["1.weight"]
    assert [row.unique().tolist() for row in owner[:4]] == [[1], [2], [3], [1]]
    assert ["head.bias" in run.delta(index).private for index in (1, 2, 3)] == [False, True, False]
    assert [recall.unchanged for recall in run.recalls(3)] == [True, True]
    assert run.record(1).test_accuracy > 0.7

    opened = open_run(plugged_in, "tiny")
    assert opened.spec == run.spec
    assert all(finding.ok for finding in audit(opened))
    for record in opened.records():
        assert evaluate(opened, record.name) == record.test_accuracy


def test_the_objective_is_stored_where_it_is_not_the_default(plugged_in: Path) -> None:
    run = learn(plugged_in, spec_of_stripes(plugged_in))
    kinds = ["margin", None, "margin"]
    assert [record.task.get("kind") for record in run.records()] == kinds
    assert [record.objective.kind for record in run.records()] == ["margin", "classification", "margin"]
    stored = json.loads((run.folder / "run.json").read_text())
    assert [task.get("kind") for task in stored["tasks"]] == kinds
    assert stored["tasks"][2]["source"] == {"kind": "stripes", "count": 60, "period": 4}


def test_their_own_files_are_part_of_what_a_stage_depends_on(plugged_in: Path) -> None:
    chosen = {"methods": "every_third", "backbones": "one_layer", "objectives": "margin"}
    found = dict(sources(**chosen))
    for room, name in chosen.items():
        assert found[f"{room}/{name}.py"].is_relative_to(plugged_in)
    assert "objectives/classification.py" in found  # which margin imports


def test_an_edit_of_its_objective_makes_a_stage_stale(plugged_in: Path) -> None:
    one_task = spec_of_stripes(plugged_in)
    one_task = one_task.model_copy(update={"tasks": one_task.tasks[:1]})

    def key(root: str) -> str:
        source_sha256.cache_clear()
        return learn(plugged_in / root, one_task).record(1).stages[0].key

    before = key("before")
    assert key("same") == before
    with (plugged_in / objectives.__name__ / "margin.py").open("a") as file:
        file.write("# another loss\n")
    edited = key("edited")
    source_sha256.cache_clear()
    assert edited != before


def test_without_the_files_their_names_are_unknown(tmp_path: Path) -> None:
    with pytest.raises(CpgError, match="method 'every_third'"):
        methods.find("every_third")
    with pytest.raises(CpgError, match="backbone 'one_layer'"):
        backbones.find("one_layer")
    with pytest.raises(CpgError) as error:
        sequence(tmp_path)
    for said in (
        "stripes.yaml: source: unknown kind of source 'stripes'. "
        "Known: digits, folder, imitation, parquet, torchvision.",
        "stripes.yaml: tasks > item 1 ('narrow') > kind: unknown kind of task 'margin'. "
        "Known: classification, verification.",
    ):
        assert f"{tmp_path}/{said}" in str(error.value).splitlines()


@pytest.mark.parametrize(
    ("room", "said"), [(objectives, "kind of task 'margin'"), (data_sources, "kind of source 'stripes'")]
)
def test_a_run_is_not_opened_without_the_file_that_it_needs(
    plugged_in: Path, monkeypatch: pytest.MonkeyPatch, room: ModuleType, said: str
) -> None:
    run = begun(plugged_in, spec_of_stripes(plugged_in))
    assert open_run(plugged_in, "tiny").spec == run.spec
    monkeypatch.setattr(room, "__path__", room.__path__[:1])
    with pytest.raises(CpgError, match=said):
        open_run(plugged_in, "tiny")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("source: {kind: stripe, count: 4}", "source: unknown kind of source 'stripe'; did you mean 'stripes'?"),
        ("source: {kind: stripes}", "source > count: Field required"),
        ("source: {kind: stripes, count: 4, perod: 1}", "source > perod: unknown key; did you mean 'period'?"),
        ("source: {kind: digits}\nkind: margins", "kind: unknown kind of task 'margins'; did you mean 'margin'?"),
    ],
)
def test_what_is_wrong_in_their_fields_is_told_in_a_line(plugged_in: Path, line: str, said: str) -> None:
    (plugged_in / "task.yaml").write_text(f"name: some\n{line}\n")
    with pytest.raises(CpgError) as error:
        load_task(plugged_in / "task.yaml")
    assert f"task.yaml: {said}" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_the_default_objective_is_not_written() -> None:
    task = TaskSpec.model_validate({"name": "some", "source": {"kind": "digits"}, "kind": "classification"})
    assert "kind" not in task.model_dump(mode="json")
    assert TaskSpec.model_validate_json(task.model_dump_json()) == task
