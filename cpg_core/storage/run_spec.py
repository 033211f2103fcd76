"""What a run is, resolved: the content of its `run.json`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from cpg_core.config.backbone import BackboneSpec
from cpg_core.config.defaults import with_old_defaults
from cpg_core.config.schema import Strict
from cpg_core.config.settings import Settings
from cpg_core.data.spec import TaskSpec
from cpg_core.storage.forgotten import Forgotten


class Base(Strict):
    """Frozen tasks that a run has of another one, which its own tasks are built on.

    Attributes:
        run: the other run, beside this one in `checkpoints`.
        tasks: tasks 1 to this one are those of the other run, or of a base that stands before this one in the list.
        record_sha256: of the record of that task, whose chain names the whole model up to it.
    """

    run: str
    tasks: int = Field(ge=1)
    record_sha256: str


class RunSpec(Strict):
    """What a run is, resolved: enough to do it again, or to add to it.

    A run that was branched from others names them in `base`, the one with the earliest tasks first.

    Attributes:
        forgotten: the tasks that it had and has no longer, in the order in which they were forgotten.
        added: the task that was last put at its end, as by `cpg add`; None for one that is all of its sequence.
    """

    name: str
    sequence: str
    ordering: str
    method: str
    backbone: BackboneSpec
    profile: str
    seed: int
    goals: dict[str, float]
    settings: Settings
    tasks: tuple[TaskSpec, ...]
    versions: dict[str, str]
    git_commit: str | None
    forgotten: tuple[Forgotten, ...] = Field(default=(), exclude_if=lambda forgotten: not forgotten)
    added: str | None = Field(default=None, exclude_if=lambda added: added is None)
    base: tuple[Base, ...] = Field(default=(), exclude_if=lambda base: not base)

    def to_json(self, root: Path) -> dict[str, object]:
        """For `run.json`: images inside the root lie relative to it, so that a project can be moved."""
        return self.model_dump(mode="json", context={"folder": root})

    @property
    def seed_words(self) -> tuple[int | str, ...]:
        """What initial weights and the order of batches are drawn by, with the task's name and stage."""
        return (self.seed,) if self.settings.seeds == "shared" else (self.seed, self.method)

    @field_validator("settings", mode="before")
    @classmethod
    def _of_an_older_run(cls, settings: object) -> object:
        return with_old_defaults(settings) if isinstance(settings, dict) else settings
