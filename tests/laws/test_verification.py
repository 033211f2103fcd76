"""The laws hold for embeddings: a verification task is unforgotten, resumed and never decided by its test pairs."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core.people import SIZE, face_task, people_backbone, people_spec, who_task, write_faces
from core.tiny import begun, frozen_bytes, learn
from core.witness import Witness
from torch import Tensor

from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.recall.audit import audit
from cpg_core.recall.export.cost import counted
from cpg_core.recall.export.network import plain_network
from cpg_core.recall.forget import carry_out, plan
from cpg_core.recall.recall import evaluate, recalled
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from cpg_core.training.step import TrainStep
from laws.stopping import attempts
from laws.test_4_evaluation import TestSplitRead, decide_blindly

GROWS = ("check.min_train_accuracy=1.0", "grow.max_x=1.5")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("people")
    with people_backbone(folder):
        yield write_faces(folder / "faces", trained=20, pictures=4, tested=20, each=3)


@pytest.fixture(scope="module")
def tasks(root: Path) -> list[TaskSpec]:
    """A classification between two verifications of different losses and sizes."""
    return [face_task(root), who_task(root), face_task(root, "again", loss={"kind": "cosface", "s": 16}, embedding=8)]


@pytest.fixture(scope="module")
def learned_faces(root: Path, tasks: list[TaskSpec]) -> Run:
    return learn(root / "learned", people_spec(tasks[:2]))


def test_no_later_task_changes_a_bit_of_an_embedding(tmp_path: Path, tasks: list[TaskSpec]) -> None:
    run = begun(tmp_path, people_spec(tasks, GROWS))
    witness = Witness().learn(run)
    assert [witness.trained[index].shape[1] for index in (1, 2, 3)] == [16, 2, 8]
    assert run.record(3).budget_x == 1.5
    assert witness.forgotten() == set()
    assert all(finding.ok for finding in audit(run))
    assert [evaluate(run, record.name) for record in run.records()] == [r.test_accuracy for r in run.records()]


@pytest.mark.parametrize(("task", "left"), [("faces", "who"), ("who", "faces")])
def test_where_one_of_them_is_erased_the_other_is_recalled_to_the_bit(
    tmp_path: Path, learned_faces: Run, task: str, left: str
) -> None:
    shutil.copytree(learned_faces.root, tmp_path, dirs_exist_ok=True)
    run = open_run(tmp_path, learned_faces.spec.name)
    index = [record.name for record in run.records()].index(left) + 1
    before, points = run.record(index), run.roc(index)
    after = carry_out(plan(run, task))
    (record,) = after.records()
    assert (record.name, record.probe_sha256, record.figures) == (left, before.probe_sha256, before.figures)
    assert after.roc(1) == points
    assert all(finding.ok for finding in audit(after))
    assert evaluate(after, left) == before.test_accuracy


def test_a_method_that_forgets_fails_the_same_check(tmp_path: Path, tasks: list[TaskSpec]) -> None:
    run = begun(tmp_path, people_spec(tasks[:2], method="sequential"))
    witness = Witness().learn(run)
    assert witness.forgotten() == {(1, 2)}
    (recall,) = run.recalls(2)
    assert not recall.unchanged
    assert not all(finding.ok for finding in audit(run))


def test_stopped_every_few_batches_it_ends_in_the_same_bytes(
    tmp_path: Path, tasks: list[TaskSpec], learned_faces: Run
) -> None:
    run = begun(tmp_path, people_spec(tasks[:2]))
    assert attempts(run, batches=4) > 3
    assert frozen_bytes(run) == frozen_bytes(learned_faces)


def test_were_the_steps_of_the_loss_counted_from_each_attempt_it_would_not(
    tmp_path: Path, tasks: list[TaskSpec], learned_faces: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the steps, which lambda of A-Softmax depends on, are part of what a resume must restore."""
    real, taken = TrainStep.__call__, Counter[TrainStep]()

    def counted_anew(self: TrainStep, images: Tensor, labels: Tensor, **step: Any) -> None:  # noqa: ANN401
        real(self, images, labels, **{**step, "done": taken[self]})
        taken[self] += 1

    monkeypatch.setattr(TrainStep, "__call__", counted_anew)
    name, whole = "001-faces/delta.safetensors", frozen_bytes(learned_faces)
    assert frozen_bytes(learn(tmp_path / "whole", people_spec(tasks[:1])))[name] == whole[name]
    run = begun(tmp_path / "stopped", people_spec(tasks[:1]))
    assert attempts(run, batches=5) > 1
    assert frozen_bytes(run)[name] != whole[name]


def test_no_decision_is_made_by_a_test_pair(tmp_path: Path, tasks: list[TaskSpec]) -> None:
    assert decide_blindly(begun(tmp_path, people_spec(tasks[:1]))).count("freeze") == 1


def test_the_papers_protocol_fails_the_same_check(tmp_path: Path, tasks: list[TaskSpec]) -> None:
    with pytest.raises(TestSplitRead):
        decide_blindly(begun(tmp_path, people_spec(tasks[:1], ("goal_split=test",))))


@pytest.mark.parametrize("method", ["ewc", "lwf"])
def test_methods_that_hold_on_to_class_probabilities_refuse_pairs(
    tmp_path: Path, tasks: list[TaskSpec], method: str
) -> None:
    with pytest.raises(CpgError, match=f"task 'faces' is of kind verification, and {method} holds on"):
        learn(tmp_path, people_spec(tasks[:2], method=method))
    assert not list(tmp_path.rglob("record.json"))


def test_multiply_adds_are_those_of_the_recalled_network(tmp_path: Path, tasks: list[TaskSpec]) -> None:
    """An embedding of 8 numbers, of more people than that."""
    run = learn(tmp_path, people_spec(tasks[2:], ("prune.unit=channel",)))
    record, network = recalled(run, "again")
    assert len(record.classes) > 8
    _, multiply_adds = counted(plain_network(network, record), (3, SIZE, SIZE))
    assert record.living is not None
    assert record.living.of_multiply_adds == multiply_adds
