"""A reporter that keeps what it is told."""

from __future__ import annotations

from cpg_core.training.reporter import Silent


class Notes(Silent):
    """Keeps the notes, in their order."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)
