"""After a task is forgotten: its copies in DVC and MLflow are erased, as far as they can be reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cpg_core.errors import one_line
from cpg_core.storage.files import sweep, write_json
from cpg_core.storage.forgotten import Forgotten, Left
from cpg_core.storage.leftovers import erase_leftovers
from cpg_core.storage.lock import locked
from cpg_core.storage.run import RUN, Run
from cpg_core.storage.runs import open_run
from flows.persist import Persist
from flows.tracking.address import in_use, tracking_address, without_password
from flows.versioning.erase import Erased, erase_cached, erase_pushed

Say = Callable[[str], None]


def mlflow_place(root: Path) -> str | None:
    """Where MLflow may hold something of a run, for a person; None: nowhere.

    Raises:
        ModuleNotFoundError: there is such a place, and MLflow is not installed.
    """
    return f"MLflow at {without_password(tracking_address(root))}" if in_use(root) else None


def erase_elsewhere(run: Run, say: Say, *, pushed: bool) -> list[str]:
    """Erase what is left of forgotten tasks outside the run's folder; then `run.json` says what is left still.

    Args:
        run: as it was opened.
        say: told what is erased, and what stays since others use it.
        pushed: erase from DVC's remote too.

    Returns:
        What could not be erased, and why, a line each.
    """
    leftovers = erase_leftovers(run.root, say)  # first: their pointers would tell that what is erased is used
    with locked(run.work):
        run = open_run(run.root, run.spec.name)  # another process may have forgotten or learned a task since
        sweep(run.folder)  # of a process that was killed as it wrote what is left
        Persist(run.root, track=False)(run, say)  # new pointers first: they tell what is still used
        erasure = _Erasure(run, say, pushed)
        entries = tuple(erasure.erased(entry) for entry in run.spec.forgotten)
        if entries != run.spec.forgotten:
            run = replace(run, spec=run.spec.model_copy(update={"forgotten": entries}))
            write_json(run.folder / RUN, run.spec.to_json(run.root))
    return leftovers + erasure.problems


class _Erasure:
    """Erases place by place; a place that cannot be reached is a problem, and left for the next time."""

    def __init__(self, run: Run, say: Say, pushed: bool) -> None:
        self._run, self._say, self._pushed = run, say, pushed
        self.problems: list[str] = []

    def erased(self, entry: Forgotten) -> Forgotten:
        """The entry of a forgotten task with what is left of it then."""
        left = entry.left
        if left.cache and self._done(entry, "DVC's cache", lambda: self._from_cache(left)):
            left = left.model_copy(update={"cache": ()})
        if left.remote and self._done(entry, "DVC's remote", lambda: self._from_remote(left)):
            left = left.model_copy(update={"remote": ()})
        place = mlflow_place(self._run.root)
        if left.records and (place is None or self._done(entry, place, lambda: self._from_mlflow(left))):
            left = left.model_copy(update={"records": (), "origin": None})
        return entry.model_copy(update={"left": left})

    def _done(self, entry: Forgotten, place: str, erase: Callable[[], None]) -> bool:
        try:
            erase()
        except Exception as error:  # whatever ails the place, a person is told, and the same command tries again
            self.problems.append(f"{entry.label} in {place}: {one_line(str(error)) or type(error).__name__}")
            return False
        return True

    def _from_cache(self, left: Left) -> None:
        self._tell(erase_cached(self._run.root, left.cache), "DVC's cache")

    def _from_remote(self, left: Left) -> None:
        if not self._pushed:
            raise _NotAskedError(
                f"not asked for; give --remote to erase {len(left.remote)} files, where they are there"
            )
        self._tell(erase_pushed(self._run.root, left.remote), "DVC's remote")

    def _tell(self, erased: Erased, place: str) -> None:
        """What other runs use is named; what the run itself still uses is of the tasks that are left."""
        self._say(f"{place}: {erased.deleted} files erased")
        for pointer, hashes in sorted(erased.used.items()):
            if not pointer.startswith(f"checkpoints/{self._run.folder.name}/"):
                names = ", ".join(name[:12] for name in hashes)
                self._say(f"{place}: {len(hashes)} files are kept, since {pointer} uses them: {names}")

    def _from_mlflow(self, left: Left) -> None:
        """Erased once MLflow has the run again, as it is now: until then the same command finds what was deleted."""
        from flows.tracking.erase import erase
        from flows.tracking.sync import sync

        deleted = erase(self._run, left.records, left.origin)
        if deleted:
            self._say(f"MLflow: deleted with their files: {', '.join(deleted)}; mlflow gc removes the rows of runs")
        if deleted is not None:
            sync(_with_nothing_left(self._run))


def _with_nothing_left(run: Run) -> Run:
    """The run as others are told of it: what is still to be erased is told by its `run.json` alone."""
    forgotten = tuple(entry.model_copy(update={"left": Left()}) for entry in run.spec.forgotten)
    return replace(run, spec=run.spec.model_copy(update={"forgotten": forgotten}))


class _NotAskedError(Exception):
    """A place that the command was not told to erase."""
