"""What is done with a run whenever there is more of it on disk: it is put under DVC, and recorded in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cpg_core.storage.run import Run
from flows.versioning.sync import choose_version

if TYPE_CHECKING:
    from flows.tracking.sync import Note, Tracker


class Persist:
    """Versions what is in `root`, if it is a DVC repository, and tracks it, if that is wished.

    It makes up for all that is on disk and not persisted yet, tells a person what goes wrong, and never raises.
    """

    def __init__(self, root: Path, *, track: bool) -> None:
        self._version = choose_version(root)
        self._tracker = _tracker() if track else None

    def __call__(self, run: Run, note: Note) -> None:
        """Version and track a run as far as it is on disk."""
        self._version(run, note)
        if self._tracker is not None:
            self._tracker(run, note)

    @property
    def unrecorded(self) -> str | None:
        """Why MLflow refused when it was asked last, and what helps; None if it did not."""
        refusal = self._tracker and self._tracker.refusal
        return str(refusal) if refusal else None


def _tracker() -> Tracker:
    from flows.tracking.sync import Tracker  # it needs the extra `workflow`, and learning without it does not

    return Tracker()
