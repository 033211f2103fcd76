"""What a run keeps of a task that was forgotten: that there was one, and what may be left of it elsewhere."""

from __future__ import annotations

from pydantic import Field

from cpg_core.config.schema import Strict


class Left(Strict):
    """What is still to be erased outside the run's folders; a name goes from here once it is.

    Attributes:
        cache: hashes of files in DVC's cache.
        remote: of files that may be in DVC's remote.
        records: SHA-256 of the records of the old chain, from the forgotten task on: MLflow knows runs and models so.
        origin: SHA-256 of the record of the first task before it was forgotten: MLflow knows the whole run so.
    """

    cache: tuple[str, ...] = ()
    remote: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    origin: str | None = None

    def __bool__(self) -> bool:
        return bool(self.cache or self.remote or self.records)


class Forgotten(Strict):
    """A task that was forgotten.

    Attributes:
        index: its place in the run when it was, from 1.
        time: when, in UTC, ISO 8601.
        own: weights that it owned.
        freed: how many of them no later task uses; the others were handed to later tasks.
        name: None, as the two below, where these were to be erased too.
        accuracy: of its freeze, on the split that decides.
        test_accuracy: of its freeze.
        left: what is still to be erased elsewhere.
    """

    index: int
    time: str
    own: int
    freed: int
    name: str | None = None
    accuracy: float | None = None
    test_accuracy: float | None = None
    left: Left = Field(default=Left(), exclude_if=lambda left: not left)

    @property
    def label(self) -> str:
        """As its folder was called: `002-fish`; its place alone where its name was erased."""
        return f"{self.index:03d}" + (f"-{self.name}" if self.name else "")

    @property
    def freed_share(self) -> float:
        """Of its weights; 1 where it owned none."""
        return self.freed / self.own if self.own else 1.0
