"""Runs that earlier versions wrote, two tasks of digits-5 by cpg: readable for ever.

`run_0_1` was learned before there was another format than 1; `run_0_2` is it in format 2, by `cpg convert`.

Its probe logits are the same bits on the processor that learned it, and agree on any other: `audit` knows both.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.tiny import ROOT, spec
from cpg_core.recall.audit import audit
from cpg_core.recall.recall import evaluate
from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.storage.runs import extend, open_run
from cpg_core.training.reporter import Silent

FIXTURES = ROOT / "tests" / "fixtures"


@pytest.fixture(params=["run_0_1", "run_0_2"])
def older(tmp_path: Path, request: pytest.FixtureRequest) -> Run:
    """A copy, under another name than its own."""
    shutil.copytree(FIXTURES / request.param, tmp_path / "checkpoints" / "older")
    return open_run(tmp_path, "older")


def test_it_is_audited(older: Run) -> None:
    findings = audit(older)
    assert [finding.check for finding in findings] == ["files", "files", "probe", "probe"]
    assert all(finding.ok for finding in findings), findings


def test_its_tasks_are_recalled(older: Run) -> None:
    """One test image in a hundred may turn by rounding."""
    for record in older.records():
        assert evaluate(older, record.name) == pytest.approx(record.test_accuracy, abs=0.02)


def test_it_takes_one_more_task_and_keeps_the_others_to_the_byte(older: Run) -> None:
    tasks = [older.task_folder(index) for index in (1, 2)]
    before = {path: path.read_bytes() for task in tasks for path in task.iterdir()}
    longer = extend(older, spec(tasks="3").tasks[0], 0.5)
    learn_sequence(longer, Silent())
    assert {path: path.read_bytes() for path in before} == before
    assert longer.frozen() == 3
    assert all(finding.ok for finding in audit(longer))


def test_it_has_no_confusions_and_no_settings_a_task(older: Run) -> None:
    assert older.confusion(1) is None
    assert older.settings(1) is older.spec.settings
