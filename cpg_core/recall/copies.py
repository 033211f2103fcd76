"""Other runs that hold a task of a run: copies and conversions of it, and runs that learned the very same."""

from __future__ import annotations

from contextlib import suppress

from cpg_core.errors import CpgError
from cpg_core.storage.run import Run
from cpg_core.storage.runs import names, open_run


def runs_with_task(run: Run, index: int) -> list[str]:
    """The names of other runs at the same root of which a frozen task was learned from the same, to the same.

    The key of its freeze says so: it is a hash of all that the stages of a task depend on.
    """
    key, found = run.record(index).stages[-1].key, []
    for name in names(run.root):
        with suppress(CpgError):  # one that is damaged cannot be read
            if name != run.folder.name and key in {r.stages[-1].key for r in open_run(run.root, name).records()}:
                found.append(name)
    return found
