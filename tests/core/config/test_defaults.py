"""A run that was made before a setting was: it is audited and added to all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core import tiny
from cpg_core.config.defaults import SINCE, completed
from cpg_core.config.settings import Settings
from cpg_core.errors import CpgError
from cpg_core.recall.audit import audit
from cpg_core.runner import learn_sequence
from cpg_core.storage.files import read_json, write_json
from cpg_core.storage.run import RUN, Run
from cpg_core.storage.runs import extend, open_run
from cpg_core.training.reporter import Silent


def without(run: Run, *names: str) -> None:
    """Rewrite `run.json` without some settings."""
    content = read_json(run.folder / RUN)
    for name in names:
        *groups, last = name.split(".")
        place = content["settings"]
        for group in groups:
            place = place[group]
        del place[last]
    write_json(run.folder / RUN, content)


NEWER = [
    f"{group}.{name}" if group == "compute" else group for group, values in SINCE.items() for name in values
]  # a group that is new as a whole, or a field of one that was there


def test_a_run_of_before_is_audited_and_goes_on_with_another_task(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    before = tiny.frozen_bytes(run)
    without(run, *dict.fromkeys(NEWER))
    older = open_run(run.root, run.spec.name)
    assert older.spec.settings.compute.processes == 1
    assert all(finding.ok for finding in audit(older))
    third = extend(older, tiny.spec(tasks="3").tasks[0], 0.6)
    learn_sequence(third, Silent())
    after = tiny.frozen_bytes(third)
    assert {name: after[name] for name in before if name != RUN} == {n: b for n, b in before.items() if n != RUN}
    assert all(finding.ok for finding in audit(third))


def test_a_setting_that_there_always_was_may_not_be_missing(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    without(run, "retrain")
    with pytest.raises(CpgError, match="retrain"):
        open_run(run.root, run.spec.name)


def test_what_a_run_says_stays() -> None:
    said: dict[str, Any] = {"finetune": {"lr": 0.5}, "compute": {"threads": 3, "processes": 2, "precision": "tf32"}}
    found = completed(said)
    assert (found["finetune"], found["compute"]) == (said["finetune"], said["compute"])
    assert found["lwf"] == SINCE["lwf"]


def test_what_stands_for_new_settings_is_of_their_kind() -> None:
    whole = tiny.settings().model_dump()
    for name, value in SINCE.items():
        whole[name] = {**whole[name], **value}
    Settings.model_validate(whole)
