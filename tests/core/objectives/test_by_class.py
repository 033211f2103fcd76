"""Balanced accuracy and the matrix of confusions, by numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cpg_core import objectives
from cpg_core.data.spec import SequenceSpec
from cpg_core.errors import CpgError
from cpg_core.model.network import build
from cpg_core.objectives import ObjectiveSpec
from cpg_core.objectives.measures.confusion import from_rows, recalls, to_rows
from cpg_core.recall.recall import evaluate, evaluated
from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Silent

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 2])
TAKEN_FOR = torch.tensor([0, 0, 0, 2, 1, 0, 2])
MATRIX = [[3, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
"""Class 3 has no images."""


def logits_of(taken_for: Tensor, classes: int = 4) -> Tensor:
    return torch.nn.functional.one_hot(taken_for, classes).float()


@pytest.mark.parametrize(("metric", "expected"), [("accuracy", 5 / 7), ("balanced_accuracy", (3 / 4 + 1 / 2 + 1) / 3)])
def test_scores(metric: str, expected: float) -> None:
    objective = build("digits_cnn", 0.5, 4, "s", objective=objectives.of(ObjectiveSpec(metric=metric))).objective
    halves = [slice(0, 3), slice(3, None)]
    total = sum(objective.tally(logits_of(TAKEN_FOR[half]), LABELS[half]) for half in halves)
    assert isinstance(total, Tensor) and len(total) == objective.tally_size
    assert objective.score(total.tolist()) == expected
    assert objective.by_class is not None
    measure = objective.by_class(4)
    matrix = measure.start(torch.device("cpu"))
    for half in halves:
        measure.add(matrix, logits_of(TAKEN_FOR[half]), LABELS[half])
    assert matrix.tolist() == MATRIX
    assert measure.score(matrix) == expected


def test_a_loss_of_its_own_keeps_the_metric() -> None:
    spec = ObjectiveSpec.model_validate(
        {"metric": "balanced_accuracy", "loss": {"kind": "weighted_cross_entropy", "counts": [1, 2, 4]}}
    )
    sized = objectives.of(spec).of_classes(3)
    assert sized.tally_size == 6
    logits, labels, steps = torch.tensor([[2.0, 0, 0], [0, 1, 0]]), torch.tensor([0, 2]), torch.zeros(())
    assert sized.loss(logits, labels, steps) != objectives.of(ObjectiveSpec()).loss(logits, labels, steps)


def test_rows_as_text() -> None:
    matrix = torch.tensor(MATRIX)
    assert to_rows(matrix) == ["0:3 2:1", "0:1 1:1", "2:1", ""]
    assert from_rows(to_rows(matrix)).equal(matrix)
    assert recalls(matrix) == [0.75, 0.5, 1.0, None]


def test_pairs_have_no_classes() -> None:
    with pytest.raises(CpgError, match="measured on pairs, which have no classes; leave it out"):
        objectives.of(ObjectiveSpec(kind="verification", metric="balanced_accuracy"))
    task = {"name": "a", "classes": ["1", "2"], "metric": "balanced"}
    sequence = {"name": "s", "backbone": "digits_cnn", "profile": "digits", "source": {"kind": "digits"}}
    with pytest.raises(ValueError, match="'accuracy' or 'balanced_accuracy'"):
        SequenceSpec.model_validate({**sequence, "tasks": [task]})


def test_a_run_is_judged_by_it_and_writes_its_confusions_down(new_run: Callable[..., Run]) -> None:
    made = new_run(tasks="1")
    (task,) = made.spec.tasks
    spec = made.spec.model_copy(update={"tasks": (task.model_copy(update={"metric": "balanced_accuracy"}),)})
    run = Run(made.root, spec)
    learn_sequence(run, Silent())
    record, matrix = run.record(1), run.confusion(1)
    assert matrix is not None and int(matrix.sum()) == record.images["test"]
    by_hand = [value for value in recalls(matrix) if value is not None]
    assert record.test_accuracy == sum(by_hand) / len(by_hand) == evaluate(run, record.name)
    found = evaluated(run, record.name)
    assert found.confusion is not None and found.confusion.equal(matrix)
