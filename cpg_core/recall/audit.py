"""Prove from the checkpoints alone that every task of a run is as it was at its freeze."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cpg_core.errors import CpgError
from cpg_core.machine import deterministic, device_at_hand, machine
from cpg_core.methods import assembly_of
from cpg_core.model.state import Shared
from cpg_core.stages.freezing.recalled_network import network_of, probe_of
from cpg_core.storage.assembly import Assembly
from cpg_core.storage.delta import Delta
from cpg_core.storage.files import digest, sha256
from cpg_core.storage.forgotten import Forgotten
from cpg_core.storage.records import TaskRecord
from cpg_core.storage.run import DELTA, RECORD, Run

ROUNDING = {"float32": 1e-3, "tf32": 1e-2, "bfloat16": 5e-2}
"""Logits of another processor, device or torch differ in their last bits, which lie higher in a coarser precision: by
more than this, of a logit and absolute, they count as different."""

UNKNOWN = ""
"""In place of the hash of a record that cannot be read: the one after it cannot be held against it."""


@dataclass(frozen=True)
class Finding:
    """One check of one task."""

    task: str
    check: str
    ok: bool
    detail: str


def audit(run: Run) -> list[Finding]:
    """Check every frozen task's files, place in the chain, and logits on the model that all of them make up.

    A task whose files are damaged or missing is named; tasks before it are still checked on the model up to it. Tasks
    after it are named as not recallable where their weights rest on it; independent ones are checked. Tasks that were
    forgotten are named, and fail where files of a task are back. A run that never had a frozen task fails: nothing is
    proven.
    """
    last = run.last_frozen()
    if last == 0 and not run.spec.forgotten:
        return [Finding(run.spec.name, "tasks", ok=False, detail="no task is frozen, so there is nothing to check")]
    findings: list[Finding] = []
    sound: list[tuple[TaskRecord, Delta]] = []
    assembly = assembly_of(run)
    shared = assembly.rebuild(0)
    parent: str | None = None
    for index in range(1, last + 1):
        label = run.label(index)
        before, parent = parent, UNKNOWN
        try:
            record = run.record(index)
            parent = sha256(run.task_folder(index) / RECORD)
            delta = run.delta(index, record)
            if before not in (record.parent_sha256, UNKNOWN):
                raise CpgError(f"{run.task_folder(index) / RECORD}: made after another model than the tasks before it")
            shared = assembly.add(shared, record, delta)
        except CpgError as error:
            findings.append(Finding(label, "files", ok=False, detail=str(error)))
            if assembly.independent:
                continue
            rest = (run.label(later) for later in range(index + 1, last + 1))
            findings += [
                Finding(later, "files", ok=False, detail=f"rests on {label}, which is damaged") for later in rest
            ]
            break
        findings.append(Finding(label, "files", ok=True, detail=f"delta {record.delta_sha256[:12]}"))
        sound.append((record, delta))
        findings += _results(run, index)
    for record, delta in sound:
        findings.append(_probe(assembly, shared, record, delta))
    return findings + [_forgotten(run, gone) for gone in run.spec.forgotten]


def _forgotten(run: Run, gone: Forgotten) -> Finding:
    """Whether nothing of a forgotten task lies in the run's folder."""
    known = {run.label(index) for index in range(1, len(run.spec.tasks) + 1)}
    strays = sorted({path.parent.name for path in run.folder.glob("*/*") if path.name in (RECORD, DELTA)} - known)
    if strays:
        return Finding(
            gone.label, "forgotten", ok=False, detail=f"files of no task of this run: {', '.join(strays)}; delete them"
        )
    detail = f"forgotten on {gone.time[:10]}; {gone.freed_share:.1%} of its weights were freed"
    left = "; not erased everywhere yet: cpg forget " + run.spec.name if gone.left else ""
    return Finding(gone.label, "forgotten", ok=True, detail=detail + left)


def _results(run: Run, index: int) -> list[Finding]:
    """What is wrong with the files of a task that no later task rests on."""
    found = []
    for read in (run.recalls, run.seconds):
        try:
            read(index)
        except CpgError as error:
            found.append(Finding(run.label(index), "files", ok=False, detail=str(error)))
    return found


def _probe(assembly: Assembly, shared: Shared, record: TaskRecord, delta: Delta) -> Finding:
    run = assembly.run
    label = run.label(record.index)
    with deterministic(record.machine.threads):
        logits = probe_of(run, network_of(assembly, shared, record, delta))
        here = machine(device_at_hand(run.spec.settings.compute.device), torch.get_num_threads())
    if digest(logits) == record.probe_sha256:
        return Finding(label, "probe", ok=True, detail="logits are the same bits as at the freeze")
    apart = float((logits - delta.probe).abs().max())
    near = ROUNDING[run.spec.settings.compute.precision]
    if here != record.machine and torch.allclose(logits, delta.probe, rtol=near, atol=near):
        where = f"{record.machine.processor}, torch {record.machine.torch}"
        return Finding(
            label, "probe", ok=True, detail=f"logits agree to {apart:.1e} (frozen on another machine: {where})"
        )
    return Finding(label, "probe", ok=False, detail=f"logits differ from those at the freeze by up to {apart:.3g}")
