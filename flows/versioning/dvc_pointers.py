"""DVC's pointer files: `checkpoints/RUN/002-fish.dvc` stands in git for the folder `002-fish` beside it."""

from __future__ import annotations

from pathlib import Path

from cpg_core.errors import CpgError
from cpg_core.storage.branches import bases
from cpg_core.storage.run import RECORD, Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.runs import open_or_new

TEMPORARY = (".dvc", "tmp", "exps")
"""Where DVC puts the copies of a project that experiments beside the workspace run in."""


def pointer(folder: Path) -> Path:
    """The pointer file of a folder."""
    return folder.with_name(f"{folder.name}.dvc")


def versioned(folder: Path) -> bool:
    """Whether a folder is under DVC. A process that is killed as it writes the pointer leaves an empty one."""
    file = pointer(folder)
    return file.exists() and file.stat().st_size > 0


def require_lasting(root: Path) -> None:
    """Refuse a root that DVC makes for one experiment and throws away: all that is learned there would be lost.

    Raises:
        CpgError: it is one.
    """
    parts = root.resolve().parts
    if TEMPORARY in zip(parts, parts[1:], parts[2:], strict=False):
        raise CpgError(
            f"{root.resolve()}: DVC's temporary copy of the project (dvc exp run --temp or --queue), which is thrown "
            "away with all that is learned in it; give: dvc exp run, without --temp and --queue"
        )


def require_here(root: Path, name: str, seen: frozenset[str] = frozenset()) -> None:
    """Refuse a run of which tasks are under DVC that are not on this disk: it would be learned from the start.

    Also one that was branched from such a run.

    Raises:
        CpgError: naming the tasks, and the command that fetches them.
    """
    folder = root / "checkpoints" / name
    seen |= {name}  # a branch that was renamed to what its base was called
    for base in bases(folder):
        if base not in seen:
            require_here(root, base, seen)
    tasks = sorted(file.with_suffix("") for file in folder.glob("*.dvc"))
    away = [task.name for task in tasks if versioned(task) and not (task / RECORD).exists()]
    if away:
        raise CpgError(
            f"{folder}: not on this disk: {', '.join(away)}; fetch what is missing: dvc pull -R {folder}\n"
            "To learn a task anew instead, delete its .dvc file and those of the tasks after it."
        )


def open_or_new_checked(root: Path, spec: RunSpec) -> Run:
    """The run of `spec`, new or gone on with.

    Raises:
        CpgError: as `open_or_new`, `require_here` and `require_lasting` do.
    """
    require_lasting(root)
    require_here(root, spec.name)
    return open_or_new(root, spec)
