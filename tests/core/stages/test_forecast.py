"""How long a run takes at the most, from a measured batch: by a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.notes import Notes
from core.tiny import settings
from cpg_core.methods import find
from cpg_core.runner import learn_sequence
from cpg_core.stages.forecast import Forecast, forecast_line, longest_way
from cpg_core.stages.request import Rules
from cpg_core.storage.run import Run
from cpg_core.training.first_batches import FirstBatches
from cpg_core.training.reporter import Silent

GROWS = ("grow.max_x=2.0", "grow.step_x=0.5", "prune.targets=[0.5, 0.8]")


class Clock:
    """Goes on by `step` seconds whenever it is looked at."""

    def __init__(self, step: float) -> None:
        self.step, self.now = step, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def forecasts(run: Run, clock: Clock) -> list[str]:
    notes = Notes()
    learn_sequence(run, notes, clock=clock)
    return [note for note in notes.notes if "at most" in note]


def test_the_longest_way_grows_as_far_as_it_may_and_prunes_to_every_target() -> None:
    way = longest_way(find("cpg"), Rules(settings(*GROWS), index=2, tasks_left=1, budget_x=1.0))
    stages = [(request.stage, request.budget_x) for request in way]
    trained = [pair for pair in stages if pair[0] in ("pick_train", "prune", "retrain")]
    assert trained == [
        ("pick_train", 1.0),
        ("pick_train", 1.5),
        ("pick_train", 2.0),
        ("prune", 2.0),
        ("prune", 2.0),
        ("retrain", 2.0),
    ]


@pytest.mark.parametrize(("method", "stages"), [("scratch", ["pick_train"]), ("packnet", ["pick_train", "prune"])])
def test_a_method_that_does_neither_has_a_shorter_way(method: str, stages: list[str]) -> None:
    way = longest_way(find(method), Rules(settings(*GROWS), index=2, tasks_left=1, budget_x=1.0))
    assert [request.stage for request in way if request.stage in ("pick_train", "grow", "prune", "retrain")] == stages


@pytest.mark.parametrize(
    ("images", "tasks", "told"),
    [
        (12_000.0, 6, "about 3 h 20 min for 6 tasks at most, 45 MB, if each has as many images as fish"),
        (12_001.0, 1, "about 3 h 21 min for 1 task at most, 45 MB"),
        (600.0, 1, "about 10 min for 1 task at most, 45 MB"),
        (599.0, 1, None),
    ],
)
def test_the_line(images: float, tasks: int, told: str | None) -> None:
    assert forecast_line(Forecast(images, 45 * 2**20, tasks), 1.0, "fish") == told


def test_a_long_run_is_told_once_and_takes_no_longer_than_that(new_run: Callable[..., Run]) -> None:
    """13 batches an epoch, of which 8 are measured between two looks at the clock: 8 batches of 32 images in 32 s."""
    run = new_run(tasks="1-2", overrides=("pick_train.epochs=2", "grow.max_x=1.0"))
    (told,) = forecasts(run, Clock(32.0))
    train, val, test = (run.record(1).images[part] for part in ("train", "val", "test"))
    assert train // 32 < 25
    batches = -(-train // 32) - 5
    first = (2 + 2 * 2) * (train + val) + 5 * val + test  # pick_train, two targets; with check and freeze five stages
    second = first + 2 * (train + val) + val  # and a retrain
    minutes = -int(-(first + second) * (32.0 / batches / 32) // 60)
    hours = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    assert told == f"about {hours} for 2 tasks at most, 1 MB, if each has as many images as zero-one"
    stored = sum(record.delta_bytes for record in run.records())
    assert stored <= 2**20


def test_a_short_run_is_not_told(new_run: Callable[..., Run]) -> None:
    assert forecasts(new_run(tasks="1"), Clock(0.001)) == []


def test_nothing_is_told_where_later_steps_are_dearer_than_those_measured(new_run: Callable[..., Run]) -> None:
    assert forecasts(new_run(method="ewc", tasks="1"), Clock(1000.0)) == []


def test_the_bytes_are_never_fewer_than_are_stored(new_run: Callable[..., Run]) -> None:
    found: list[Forecast] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cpg_core.runner.forecast_line", lambda forecast, *_: found.append(forecast))
        run = new_run(tasks="1-3", overrides=("grow.max_x=1.5", "check.min_train_accuracy=1.0", "grow.first_task=true"))
        learn_sequence(run, Silent())
    (forecast,) = found
    stored = sum(record.delta_bytes for record in run.records())
    assert stored <= forecast.bytes <= 4 * stored
    assert run.record(3).budget_x == 1.5


@pytest.mark.parametrize("batches", [5, 9, 40])
def test_a_batch_is_measured_without_the_evaluation_between_two_epochs(batches: int) -> None:
    clock, told = Clock(0.0), list[float]()
    first = FirstBatches(clock)
    first.measure(told.append)
    first.stage_begins("fish", "pick_train", 9)
    for step in range(3 * batches):
        clock.now += 1
        first.batch_done((step % batches + 1) / batches)
        if (step + 1) % batches == 0:
            clock.now += 100
    assert told == [1.0]
