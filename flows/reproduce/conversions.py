"""Runs of the tables stored otherwise: made from a finished run, with the accuracies of what is read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cpg_core.config.store import Store
from cpg_core.data.reading.reading import Progress, silent
from cpg_core.errors import CpgError
from cpg_core.recall.convert import convert
from cpg_core.storage.files import hash_of, read_record, sha256
from cpg_core.storage.run import RECORD, Run
from cpg_core.storage.runs import open_run
from flows.reproduce.plan import Plan
from flows.reproduce.result import RunResult, as_in_the_profile
from flows.versioning.dvc_pointers import require_here


@dataclass(frozen=True)
class Converted:
    """The result of a run, and of the same run stored otherwise."""

    before: RunResult
    after: RunResult


def converted(plan: Plan, key: str, root: Path, progress: Progress = silent) -> Run:
    """The run that a conversion of a plan makes, or made when it was asked for before.

    Its name holds a digest of what it was made from, so a run that was learned anew is converted anew, beside it.

    Raises:
        CpgError: the plan has none of that name, its run is not finished, or files or images of it are not at hand.
    """
    wanted = plan.conversion(key)
    file = root / plan.file(wanted.run)
    if not file.exists():
        raise CpgError(f"{key}: {wanted.run} has no result yet; first: {plan.command('learn', wanted.run)}")
    name = read_record(file, RunResult).run
    require_here(root, name)
    run = open_run(root, name)
    store = Store.model_validate(wanted.model_dump(exclude={"run"}))
    last = sha256(run.task_folder(run.frozen()) / RECORD)  # each record names the one before it
    made = f"{plan.profile}-{key}-{hash_of([name, last, store.model_dump()])[:8]}"
    require_here(root, made)
    if not (root / "checkpoints" / made).exists():
        convert(run, made, store, progress)
    return open_run(root, made)


def pairs(plan: Plan, results: Mapping[str, RunResult], conversions: Mapping[str, RunResult]) -> dict[str, Converted]:
    """Each conversion with the run that it was made from, where both results are there and that is no variant."""
    rows = as_in_the_profile(results)
    sources = {key: plan.conversions[key].run for key in conversions}
    return {key: Converted(rows[run], conversions[key]) for key, run in sources.items() if run in rows}
