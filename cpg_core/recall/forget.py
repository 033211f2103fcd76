"""Forget a task: what it alone needs is erased, and every other task is recalled to the bit as before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cpg_core.errors import CpgError
from cpg_core.machine import deterministic
from cpg_core.methods import assembly_of
from cpg_core.model.state import Shared
from cpg_core.recall.handover import Handover, handed_over
from cpg_core.recall.rewritten_task import rewrite
from cpg_core.stages.freezing.recalled_network import network_of, probe_of
from cpg_core.storage.assembly import Assembly
from cpg_core.storage.branches import every_branch
from cpg_core.storage.exchange import exchanged
from cpg_core.storage.files import as_bytes, disk_errors, sha256, write_json
from cpg_core.storage.forgotten import Forgotten, Left
from cpg_core.storage.lock import locked
from cpg_core.storage.run import RECORD, RUN, Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.runs import open_run, without_unfinished


@dataclass(frozen=True)
class Plan:
    """A task that may be forgotten, and what that means.

    Attributes:
        run: as it is.
        index: the task's place in it, from 1.
        shared: the weights of all tasks.
        handover: what becomes of its weights; None: it has a network of its own, which goes with it.
        own: weights that it owns.
    """

    run: Run
    index: int
    shared: Shared
    handover: Handover | None
    own: int

    @property
    def freed(self) -> int:
        """How many of its weights no other task uses."""
        return self.own if self.handover is None else self.handover.freed

    def lines(self) -> list[str]:
        """For a person: what share of its weights is freed, and what stays since others use it."""
        name = self.run.spec.tasks[self.index - 1].name
        if self.handover is None:
            return [f"{name} has a network of its own, of {self.own:,} weights: it goes with it"]
        if self.own == 0:
            return [f"{name} owns no weight: its picks, batch norm, biases and head go"]
        share = self.freed / self.own
        lines = [f"{name} owns {self.own:,} weights: {self.freed:,} ({share:.1%}) are free once it is forgotten"]
        if self.handover.heirs:
            names = [f"{self.run.spec.tasks[k - 1].name} {count:,}" for k, count in self.handover.heirs.items()]
            lines.append(
                f"{self.own - self.freed:,} ({1 - share:.1%}) stay, since later tasks use them; each goes to the first "
                f"that does: {', '.join(names)}"
            )
        return lines


def plan(run: Run, task: str) -> Plan:
    """What forgetting a frozen task means. Nothing is written.

    Raises:
        CpgError: there is no such task, it is not frozen, or its method keeps no task apart from the others.
    """
    names = [known.name for known in run.spec.tasks]
    if task not in names:
        raise run.unknown_task(task, names)
    index = names.index(task) + 1
    if not run.is_frozen(index):
        instead = (
            "" if task in without_unfinished(run).spec.goals else f"; cpg add {run.spec.name} TASK.yaml replaces it"
        )
        raise CpgError(f"task {task!r} is not learned yet; there is nothing to forget{instead}")
    assembly, frozen = assembly_of(run), run.frozen()
    _require_own(run, index)
    if assembly.overwrites:
        raise CpgError(
            f"run {run.spec.name}: method {run.spec.method} trains one network in place, so what a task left in it "
            "cannot be told from what the others did; to be rid of it, remove the run and learn the others anew"
        )
    if assembly.independent:
        return Plan(run, index, assembly.rebuild(0), None, run.record(index).own)
    shared = assembly.rebuild(frozen)
    later = ((k, run.delta(k)) for k in range(index + 1, frozen + 1))
    handover = handed_over(shared.owner, index, later)
    return Plan(run, index, shared, handover, handover.own)


def _require_own(run: Run, index: int) -> None:
    """Refuse a task that lies in another run, or that tasks of another run rest on.

    Raises:
        CpgError: naming the runs, and what to do first.
    """
    name, label = run.spec.name, run.label(index)
    if run.folder.is_symlink():
        raise CpgError(
            f"{run.folder} is a link to another folder, whose files would stay; put the folder itself in its place"
        )
    if (home := run.task_folder(index).parent) != run.folder:
        raise CpgError(
            f"{label} lies in run {home.name}, which {name} was branched from; make {name} a run of its own first: "
            f"cpg convert {name} --to NEW --masks zlib"
        )
    opened = {branch: open_run(run.root, branch) for branch in every_branch(run.root, name)}
    resting = [
        branch for branch, there in opened.items() if any(b.run == name and b.tasks >= index for b in there.spec.base)
    ]
    if resting:
        raise CpgError(
            f"{', '.join(resting)} rests on {label}: a branch has no copy of it; make it a run of its own first: "
            f"cpg convert {resting[0]} --to NEW --masks zlib, then cpg remove {resting[0]}"
        )


def carry_out(plan: Plan, *, cache: Sequence[str] = (), remote: Sequence[str] = (), keep_name: bool = True) -> Run:
    """Forget the task: the chain of records is written anew from its place on, in one step, and the old files are gone.

    Every other task is recalled from the new files before they take their place.

    Args:
        plan: what to do.
        cache: hashes of what is to be erased from DVC's cache then.
        remote: from its remote.
        keep_name: let the run say which task it was, and how well it did.

    Returns:
        The run as it is then. It says what is left to be erased elsewhere.

    Raises:
        CpgError: the run has changed since, another rests on the task by now, a process is learning it, a file of it
            is damaged, or another task would not be recalled to the bit. Then nothing has changed.
    """
    run = plan.run
    with locked(run.work):
        there = open_run(run.root, run.spec.name)
        if there.spec != run.spec or there.frozen() != run.frozen():
            raise CpgError(f"run {run.spec.name} has changed meanwhile; give the same command again")
        _require_own(run, plan.index)  # a branch may have been made since it was planned
        spec = _without(plan, Left(cache=tuple(cache), remote=tuple(remote), **_identities(run, plan.index)), keep_name)
        with exchanged(run.folder, run.work) as folder:
            aside = Run(run.root, spec.model_copy(update={"name": folder.name}))
            _keep_unchanged(run, plan.index, folder)
            _rewrite_later(plan, aside)
            write_json(folder / RUN, spec.to_json(run.root))
            _require_same(plan, aside)
    return open_run(run.root, run.spec.name)


def _identities(run: Run, index: int) -> dict[str, object]:
    chain = [sha256(run.task_folder(k) / RECORD) for k in range(1, run.frozen() + 1)]
    return {"records": tuple(chain[index - 1 :]), "origin": chain[0]}


def _without(plan: Plan, left: Left, keep_name: bool) -> RunSpec:
    """The run without the task."""
    spec, record = plan.run.spec, plan.run.record(plan.index)
    told = {"name": record.name, "accuracy": record.accuracy, "test_accuracy": record.test_accuracy}
    entry = Forgotten(
        index=plan.index,
        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        own=plan.own,
        freed=plan.freed,
        left=left,
        **(told if keep_name else {}),
    )
    changed = {
        "tasks": tuple(task for task in spec.tasks if task.name != record.name),
        "goals": {name: goal for name, goal in spec.goals.items() if name != record.name},
        "forgotten": (*spec.forgotten, entry),
        "added": None,
    }
    return spec.model_copy(update=changed)


def _keep_unchanged(run: Run, index: int, folder: Path) -> None:
    """All of a run's folder but what the forgotten task and those after it have, with their pointers."""
    gone = {run.label(k) for k in range(index, len(run.spec.tasks) + 1)}
    gone |= {f"{label}.dvc" for label in gone} | {RUN}
    with disk_errors(folder):
        for entry in sorted(run.folder.iterdir()):
            if entry.name in gone:
                continue
            if entry.is_dir():
                shutil.copytree(entry, folder / entry.name, copy_function=_link)
            elif entry.name == ".gitignore":
                text = entry.read_text(encoding="utf-8")
                lines = [line for line in text.splitlines(True) if line.strip().strip("/") not in gone]
                (folder / entry.name).write_text("".join(lines), encoding="utf-8")
            else:
                _link(str(entry), str(folder / entry.name))


def _link(source: str, target: str) -> None:
    """A second name for the same bytes, which are never written to; a copy where there is no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _rewrite_later(plan: Plan, aside: Run) -> None:
    """The tasks after the forgotten one, in order."""
    old, new = assembly_of(plan.run), assembly_of(aside)
    shared = new.rebuild(plan.index - 1)
    for index in range(plan.index + 1, plan.run.frozen() + 1):
        shared = rewrite(old, new, shared, index, plan.index, plan.shared, plan.handover)


def _require_same(plan: Plan, aside: Run) -> None:
    """Refuse where another task is not recalled to the bit from the new files: its weights, private parameters, probe.

    Raises:
        CpgError: naming the task.
    """
    old, new = assembly_of(plan.run), assembly_of(aside)
    after = new.rebuild(0 if plan.handover is None else aside.frozen())
    kept = [k for k in range(1, plan.run.frozen() + 1) if k != plan.index]
    if len(kept) != aside.frozen():
        raise CpgError(
            f"run {plan.run.spec.name}: {aside.frozen()} of {len(kept)} tasks would be left; nothing has changed"
        )
    for number, index in enumerate(kept, 1):
        if _recalled(old, plan.shared, index) != _recalled(new, after, number):
            name = plan.run.label(index)
            raise CpgError(
                f"{name} would not be recalled to the bit as before; nothing has changed. Please report this"
            )


def _recalled(assembly: Assembly, shared: Shared, index: int) -> tuple[bytes, ...]:
    """All that a task computes with, and its logits on the probe batch, as bytes."""
    run = assembly.run
    record = run.record(index)
    delta = run.delta(index, record)
    weights = assembly.weights(shared, record, delta)
    with deterministic(record.machine.threads):
        probe = probe_of(run, network_of(assembly, shared, record, delta))
    return tuple(as_bytes(tensor) for tensor in (*weights.values(), *delta.private.values(), delta.probe, probe))
