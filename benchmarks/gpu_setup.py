"""What the parts of `gpu.py` have in common: the device, the time that is left, and how a run is specified."""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from cpg_core.config.settings import Settings, load_settings
from cpg_core.data.spec import load_sequence, select
from cpg_core.machine import versions
from cpg_core.storage.records import StageRecord
from cpg_core.storage.run_spec import RunSpec
from cpg_core.training.reporter import Silent

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "results/published/table2.csv"


@dataclass(frozen=True)
class Setup:
    """How this call of the benchmark runs.

    Attributes:
        device: that is measured.
        precision: of `compute.precision`.
        quick: everything as small as can be.
        real_data: CIFAR-100 is there; otherwise the digits of scikit-learn stand in.
        root: of the runs.
        ends: when the part must have ended, by `time.monotonic`.
    """

    device: torch.device
    precision: str
    quick: bool
    real_data: bool
    root: Path
    ends: float

    @property
    def device_name(self) -> str:
        """As its maker calls it."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "processor"

    @property
    def left(self) -> float:
        """Seconds until the part must have ended."""
        return self.ends - time.monotonic()

    def settings(self, profile: str, *overrides: str) -> Settings:
        """The settings of a profile on this device."""
        here = (f"compute.device={self.device.type}", f"compute.precision={self.precision}")
        return load_settings(ROOT / "params.yaml", profile, (*here, *overrides))


def run_spec(
    name: str,
    sequence: str,
    method: str,
    settings: Settings,
    profile: str,
    goals: list[float],
    tasks: str | None = None,
) -> RunSpec:
    """A run over a sequence of this checkout; `goals` in the order of its tasks."""
    defined = load_sequence(sequence, ROOT / "data")
    chosen = select(defined, tasks)
    return RunSpec(
        name=name,
        sequence=sequence,
        ordering="0",
        method=method,
        backbone=defined.backbone,
        profile=profile,
        seed=1,
        goals={task.name: goal for task, goal in zip(chosen, goals, strict=False)},
        settings=settings,
        tasks=chosen,
        versions=versions(),
        git_commit=None,
    )


def paper_row(method: str) -> list[float]:
    """Accuracies of tasks 1 to 20 in [0, 1], of a row of the paper's Table 2."""
    with PAPER.open() as file:
        row = next(row for row in csv.DictReader(file) if row["method"] == method)
    return [float(row[str(task)]) / 100 for task in range(1, 21)]


@dataclass
class Clock(Silent):
    """A reporter that prints stages as they end and asks to stop when the time is up, or at one batch."""

    ends: float
    stop_at: int | None = None
    say: bool = True
    batches: int = 0

    def stage_done(self, task: str, record: StageRecord, seconds: float, *, reused: bool) -> None:
        """Print it."""
        if self.say:
            steps = f"{len(record.epochs)} epochs in {seconds:.1f} s" if record.epochs else f"{seconds:.1f} s"
            target = "" if record.target is None else f" to {record.target:.3f}"
            accuracy = "" if record.accuracy is None else f", accuracy {record.accuracy:.3f}"
            gate = "" if record.train_accuracy is None else f", in training {record.train_accuracy:.3f}"
            print(f"{task}: {record.stage}{target} at x{record.budget_x:g}: {steps}{accuracy}{gate}", flush=True)

    def note(self, message: str) -> None:
        """Print it."""
        if self.say:
            print(f"note: {message}", flush=True)

    def stop_requested(self) -> bool:
        """Whether the time is up or the batch is reached."""
        self.batches += 1
        return time.monotonic() > self.ends or self.batches == self.stop_at
