"""Branches: runs that go on from the frozen tasks of another one, of which nothing is copied.

A branch names its base by the hash of the record of the task that it was branched after. The base lies beside it in
`checkpoints`; where it has another name by now, the hash finds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cpg_core.config.schema import check
from cpg_core.config.suggestions import unknown
from cpg_core.errors import CpgError
from cpg_core.storage.exchange import interrupted, replaced, settle
from cpg_core.storage.files import RESTORE, Damaged, read_json, sha256
from cpg_core.storage.run import RECORD, RUN, Run, is_run
from cpg_core.storage.run_spec import Base, RunSpec


def branch_of(run: Run, after: str, name: str) -> Run:
    """The run `name` of the tasks of a run up to `after`, to add others to. Nothing is written.

    Raises:
        CpgError: there is no such task, or it is not frozen.
    """
    tasks = [task.name for task in run.spec.tasks[: run.frozen()]]
    if after not in tasks:
        raise unknown("frozen task", after, tasks)
    last = tasks.index(after) + 1
    record_sha256 = sha256(run.task_folder(last) / RECORD)
    before = [base for base in run.spec.base if base.tasks < last]
    home = next((base.run for base in run.spec.base if last <= base.tasks), run.spec.name)
    changed = {
        "name": name,
        "tasks": run.spec.tasks[:last],
        "goals": {task: run.spec.goals[task] for task in tasks[:last]},
        "forgotten": (),
        "added": None,
        "base": (*before, Base(run=home, tasks=last, record_sha256=record_sha256)),
    }
    return Run(run.root, run.spec.model_copy(update=changed))


def resolved(root: Path, spec: RunSpec) -> RunSpec:
    """The spec with its bases by the names that they have now.

    Raises:
        Damaged: a base is not there, or its tasks are others than those that the run was branched from.
        CpgError: a base is between two names, and its lock cannot be had.
    """
    if not spec.base:
        return spec
    for base in spec.base:
        settle(root / "checkpoints" / base.run, root / "work" / base.run)
    labels = [Run(root, spec).label(base.tasks) for base in spec.base]
    found = [_found(root, spec.name, base, label) for base, label in zip(spec.base, labels, strict=True)]
    return spec.model_copy(update={"base": tuple(found)})


def branches(root: Path, name: str) -> list[str]:
    """The runs that have tasks of run `name`, by the names that their bases have now; none that cannot be read."""
    return [branch for branch, bases in _all(root) if bases is not None and name in bases]


def every_branch(root: Path, name: str) -> list[str]:
    """The same, where it matters that none is missed.

    Raises:
        Damaged: what a run rests on, which may be a branch, cannot be read.
    """
    for branch, bases in _all(root):
        folder = root / "checkpoints" / branch
        if bases is None and branch != name and not any(folder.glob("001-*")):  # of which no branch has one of its own
            raise Damaged(
                f"{folder / RUN}: cannot be read, and this run may be a branch of {name}; bring it back from a copy "
                f"(git checkout), or delete {folder}"
            )
    return branches(root, name)


def bases(folder: Path) -> list[str]:
    """The runs that the run in a folder was branched from, as its `run.json` names them; none if it cannot be read."""
    try:
        return [str(base["run"]) for base in read_json(folder / RUN).get("base", ())]
    except (CpgError, KeyError, TypeError):
        return []


def require_no_branches(root: Path, name: str) -> None:
    """Refuse a run whose frozen tasks others rest on.

    Raises:
        CpgError: naming them; or one of them may be a run that cannot be read.
    """
    if found := every_branch(root, name):
        raise CpgError(
            f"run {name!r} is the base of {', '.join(found)}, which need it to be recalled; remove those first"
        )


def _all(root: Path) -> Iterator[tuple[str, set[str] | None]]:
    """Of every run by its name, the runs that it rests on; None where that cannot be read."""
    checkpoints = root / "checkpoints"
    folders = {path.name: path for path in checkpoints.glob("*") if not path.name.startswith(".") and is_run(path)}
    folders |= {name: replaced(checkpoints / name) for name in interrupted(checkpoints)}
    for name, folder in sorted(folders.items()):
        yield name, _bases_now(root, folder / RUN)


def _bases_now(root: Path, file: Path) -> set[str] | None:
    try:
        content = read_json(file)
        bases = [check(base, Base, str(file)) for base in content.get("base", ())]
        tasks = [str(task["name"]) for task in content["tasks"]]
    except (CpgError, KeyError, TypeError):
        return None
    labels = [f"{base.tasks:03d}-{tasks[base.tasks - 1]}" for base in bases if base.tasks <= len(tasks)]
    return {_name_now(root, *pair) for pair in zip(bases, labels, strict=False)}


def _name_now(root: Path, base: Base, label: str) -> str:
    try:
        return _found(root, "", base, label).run
    except CpgError:
        return base.run


def _found(root: Path, branch: str, base: Base, label: str) -> Base:
    """A base by its name, or where that is not it, by its hash."""
    named = root / "checkpoints" / base.run / label / RECORD
    others = (file for file in sorted((root / "checkpoints").glob(f"*/{label}/{RECORD}")) if file != named)
    for file in (named, *others):
        hidden = file.parents[1].name.startswith(".")
        if not hidden and file.is_file() and sha256(file) == base.record_sha256:
            return base.model_copy(update={"run": file.parents[1].name})
    what = "not the one that it was branched from" if named.exists() else "missing"
    raise Damaged(f"{named}: {what}: run {branch} goes on from this task of run {base.run}; {RESTORE}")
