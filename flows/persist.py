"""What is done with a run whenever there is more of it on disk: it is put under DVC, and recorded in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cpg_core.storage.run import Run
from flows.tracking.sync import Note, choose_track
from flows.versioning.sync import choose_version

Persist = Callable[[Run, Note], None]
"""Makes up for all that is on disk and not persisted yet; tells a person what goes wrong, and never raises."""


def choose_persist(root: Path, *, track: bool) -> Persist:
    """To version what is in `root`, if it is a DVC repository, and to track it, if that is wished."""
    version, tracked = choose_version(root), choose_track(track)

    def persist(run: Run, note: Note) -> None:
        version(run, note)
        tracked(run, note)

    return persist
