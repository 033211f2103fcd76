"""What the tables and the report need of a finished run: small enough for git, and enough without its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
from pydantic import Field

from cpg_core.config.method_settings import settings_of
from cpg_core.config.schema import Strict
from cpg_core.config.store import Store
from cpg_core.recall import weight_usage as sharing
from cpg_core.recall.metrics import matrix, stage_seconds, summary
from cpg_core.recall.sizes import MASK_KINDS, PRIVATE_KINDS, VALUE_KINDS, kinds_of
from cpg_core.stages.freezing.split_evaluation import LABELLED_ACCURACY
from cpg_core.storage.codecs import EXACT
from cpg_core.storage.records import StageName, TaskRecord
from cpg_core.storage.run import Run

BYTES = {"private_bytes": PRIVATE_KINDS, "value_bytes": VALUE_KINDS, "mask_bytes": MASK_KINDS}


class StageResult(Strict):
    """One stage of a task: `number`, from 1, and that of the stage whose state it read."""

    number: int
    stage: StageName
    source: int | None
    budget_x: float
    target: float | None
    accuracy: float | None
    met: bool | None
    sparsity: float | None
    seconds: float


class TaskResult(Strict):
    """One task; accuracies in [0, 1], `accuracy` on the split that decides.

    Attributes:
        final_accuracy: test accuracy after the last task of the run.
        changed_by: how many later tasks changed a bit of its logits.
        picked: share of all earlier tasks' weights that it uses; `picked_of`: of each earlier task's.
        private_bytes: of batch norm, biases and head; None in results of before it was counted.
        value_bytes: of the weights that it owns, likewise; `mask_bytes`: of where these lie, and of its picks.
        figures: what else its record tells of the test split, such as the standard deviation over folds of pairs.
        roc: points of the curve of false and true accepts of a task that is tested on pairs, in [0, 1].
        agreement: its accuracies are agreement with a pretrained network, of whose own images there are none.
    """

    name: str
    goal: float
    goal_met: bool
    accuracy: float
    test_accuracy: float
    final_accuracy: float
    changed_by: int
    budget_x: float
    sparsity: float
    picked: float | None
    picked_of: tuple[float, ...]
    delta_bytes: int
    private_bytes: int | None = None
    value_bytes: int | None = None
    mask_bytes: int | None = None
    figures: dict[str, float] = Field(default_factory=dict, exclude_if=lambda figures: not figures)
    roc: tuple[tuple[float, float], ...] = Field(default=(), exclude_if=lambda points: not points)
    agreement: bool = Field(default=False, exclude_if=lambda agreement: not agreement)
    stages: tuple[StageResult, ...]

    @property
    def by_labels(self) -> float | None:
        """Accuracy in [0, 1] in the end, by labels; where `agreement`, on the images it was imported with, if these
        have any."""
        return self.figures.get(LABELLED_ACCURACY) if self.agreement else self.final_accuracy


class RunResult(Strict):
    """A finished run.

    Attributes:
        matrix: row i holds the test accuracies of tasks 1 to i once task i was frozen.
        variant: what its settings have of their own beside the profile's, in words; "" for a row of the paper.
        owned: of each shared layer, how many weights are released and each task's, in the end; empty where tasks do
            not stand side by side in one network.
        summary: the figures of `cpg_core.recall.metrics.summary`.
        store: how the tasks are stored; older results: exactly.
        settings: all that it rests on, as `settings_of` tells them; empty in results of before they were kept.
    """

    run: str
    sequence: str
    profile: str
    method: str
    goal: str
    ordering: str
    seed: int
    goal_split: str
    variant: str = ""
    git_commit: str | None
    tasks: tuple[TaskResult, ...]
    matrix: tuple[tuple[float, ...], ...]
    owned: dict[str, tuple[int, ...]]
    summary: dict[str, float]
    store: Store = Field(default=EXACT, exclude_if=lambda store: store == EXACT)
    settings: dict[str, Any] = Field(default_factory=dict, exclude_if=lambda settings: not settings)


def labelled_matrix(run: RunResult) -> tuple[tuple[float, ...], ...]:
    """Its `matrix`, with NaN for agreement, which is no accuracy."""
    agree = [task.agreement for task in run.tasks]
    return tuple(tuple(nan if no else value for no, value in zip(agree, row, strict=False)) for row in run.matrix)


def judged(run: RunResult) -> int:
    """How many tasks its average accuracy and its goals met are of, as in `summary`."""
    return sum(not task.agreement for task in run.tasks) or len(run.tasks)


def averages(runs: Iterable[RunResult]) -> list[float]:
    """The average test accuracy of each run after its last task, in percent."""
    return [100 * run.summary["average_accuracy"] for run in runs]


def sd(values: Sequence[float]) -> float | None:
    """The standard deviation over runs that differ in their seed; None of a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def first_seeds(results: Mapping[str, RunResult]) -> dict[str, RunResult]:
    """Of each method the runs of its first seed: what figures draw, where tables have the mean over seeds."""
    firsts: dict[str, int] = {}
    for result in results.values():
        firsts[result.method] = min(result.seed, firsts.get(result.method, result.seed))
    return {key: result for key, result in results.items() if result.seed == firsts[result.method]}


def as_in_the_profile(results: Mapping[str, RunResult]) -> dict[str, RunResult]:
    """The results that the paper's tables and figures are made of: no variants."""
    return {key: result for key, result in results.items() if not result.variant}


def result_of(run: Run, variant: str = "") -> RunResult:
    """The result of a finished run."""
    spec, records, accuracies = run.spec, run.records(), matrix(run)
    recalls = [recall for index in range(1, len(records) + 1) for recall in run.recalls(index)]
    changed = {record.name: sum(not r.unchanged for r in recalls if r.task == record.name) for record in records}
    final = accuracies.iloc[-1]
    return RunResult(
        run=spec.name,
        sequence=spec.sequence,
        profile=spec.profile,
        method=spec.method,
        goal=str(spec.settings.goal),
        ordering=spec.ordering,
        seed=spec.seed,
        goal_split=spec.settings.goal_split,
        variant=variant,
        git_commit=spec.git_commit,
        tasks=tuple(_task(run, record, float(final[record.name]), changed[record.name]) for record in records),
        matrix=tuple(tuple(accuracies.iloc[row, : row + 1].tolist()) for row in range(len(records))),
        owned={name: tuple(counts) for name, counts in sharing.owned(run).items()},
        summary=summary(run),
        store=spec.settings.store,
        settings=settings_of(spec.method, spec.settings),
    )


def _task(run: Run, record: TaskRecord, final_accuracy: float, changed_by: int) -> TaskResult:
    seconds = stage_seconds(run, record.index)
    stages = tuple(
        StageResult(
            number=stage.number,
            stage=stage.stage,
            source=stage.source,
            budget_x=stage.budget_x,
            target=stage.target,
            accuracy=stage.accuracy,
            met=stage.met,
            sparsity=stage.sparsity,
            seconds=seconds.get(stage.label, 0.0),
        )
        for stage in record.stages
    )
    kinds = kinds_of(run.delta(record.index, record))
    bytes_of = {kind: sum(kinds[name] for name in names) for kind, names in BYTES.items()}
    return TaskResult(
        name=record.name,
        goal=record.goal,
        goal_met=record.goal_met,
        accuracy=record.accuracy,
        test_accuracy=record.test_accuracy,
        final_accuracy=final_accuracy,
        changed_by=changed_by,
        budget_x=record.budget_x,
        sparsity=record.sparsity,
        picked=record.picked,
        picked_of=tuple(sharing.picked(run, record.index)),
        delta_bytes=record.delta_bytes,
        **bytes_of,
        figures=record.figures,
        roc=tuple(run.roc(record.index)),
        agreement=run.spec.tasks[record.index - 1].source.imitates,
        stages=stages,
    )
