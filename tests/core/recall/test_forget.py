"""A task is forgotten: what it alone needs is gone, and every other task is recalled to the bit as before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.tiny import GROWS, KEEPING, bits
from cpg_core.methods import assembly_of
from cpg_core.recall.audit import audit
from cpg_core.recall.forget import carry_out, plan
from cpg_core.stages.frozen_tasks import network_of, probe_of
from cpg_core.storage.run import Run

NAMES = ("zero-one", "two-three", "four-five")
Answers = dict[str, dict[str, bytes]]


def answers(run: Run) -> Answers:
    """Of each task the logits on the probe batch, and the state of its network."""
    assembly, found = assembly_of(run), Answers()
    shared = assembly.rebuild(run.frozen())
    for index in range(1, run.frozen() + 1):
        record = run.record(index)
        network = network_of(assembly, shared, record, run.delta(index, record))
        found[record.name] = bits({"probe": probe_of(run, network), **network.state_dict()})
    return found


def forget(run: Run, task: str, **how: bool) -> Run:
    return carry_out(plan(run, task), **how)


def others(before: Answers, task: str) -> Answers:
    return {name: answer for name, answer in before.items() if name != task}


@pytest.mark.parametrize("task", NAMES)
@pytest.mark.parametrize("how", [{"method": method} for method in KEEPING] + [{"overrides": GROWS}])
def test_every_other_task_is_recalled_to_the_bit(
    damageable: Callable[..., Run], how: dict[str, object], task: str
) -> None:
    run = damageable(**how)
    before = answers(run)
    after = forget(run, task)
    assert answers(after) == others(before, task)
    findings = audit(after)
    assert all(finding.ok for finding in findings), findings
