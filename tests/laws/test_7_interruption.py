"""Law 7: stopped anywhere and started again, a run ends in the same bytes as one that was never stopped."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from core.tiny import FORGETTING, GROWS, KEEPING, OPTIMIZERS, frozen_bytes, learn, spec

from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.storage.runs import begin, open_run
from cpg_core.training.reporter import Interrupted, Silent

TWO_TASKS = {"tasks": "1-2"}
EPOCH = 9  # batches
Harm = Callable[[Path], None]


class StopsAfter(Silent):
    """Asks to stop at one batch, counted from 0 over all that is trained in this attempt."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def stop_requested(self) -> bool:
        self.left -= 1
        return self.left < 0


def attempt(run: Run, batches: int) -> bool:
    """Learn until that batch, everything read from disk; whether it was stopped before the end."""
    try:
        learn_sequence(open_run(run.root, run.spec.name), StopsAfter(batches))
    except Interrupted:
        return True
    return False


def attempts(run: Run, batches: int) -> int:
    """How many attempts of so many batches the run takes."""
    for number in range(1, 300):
        if not attempt(run, batches):
            return number
    raise AssertionError("the run does not get on")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", [*KEEPING, *FORGETTING])
def test_stopped_every_few_batches(
    learned: Callable[..., Run], new_run: Callable[..., Run], method: str, optimizer: str
) -> None:
    how = {"method": method, "overrides": OPTIMIZERS[optimizer], **TWO_TASKS}
    run = new_run(**how)
    assert attempts(run, batches=13) > 3
    assert frozen_bytes(run) == frozen_bytes(learned(**how))


def test_stopped_before_every_single_batch_of_a_run_that_grows_and_retrains(
    learned: Callable[..., Run], new_run: Callable[..., Run]
) -> None:
    short = ("grow.max_x=1.5", "pick_train.epochs=2", "pick_train.score_freeze_epoch=1", "prune.targets=[0.5]")
    how = {"overrides": (*GROWS, *short), **TWO_TASKS}
    run = new_run(**how)
    assert attempts(run, batches=1) > 50
    done = {stage.stage for record in run.records() for stage in record.stages}
    assert done == {"pick_train", "check", "grow", "prune", "retrain", "freeze"}
    assert frozen_bytes(run) == frozen_bytes(learned(**how))


def test_one_seed_gives_the_same_bytes_twice_and_another_seed_others(
    learned: Callable[..., Run], tmp_path: Path
) -> None:
    first = frozen_bytes(learned(**TWO_TASKS))
    assert frozen_bytes(learn(tmp_path / "again", spec(**TWO_TASKS))) == first
    other = frozen_bytes(learn(tmp_path / "other", spec(seed=2, **TWO_TASKS)))
    assert other.keys() == first.keys()
    assert [name for name in first if name.endswith("delta.safetensors") and other[name] == first[name]] == []


def newest(folder: Path, pattern: str) -> Path:
    return sorted(folder.rglob(pattern))[-1]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_a_digit(path: Path) -> None:
    """JSON that is still whole and well typed, but says something else: the loss so far, or an accuracy."""
    text = path.read_text()
    found = re.search(r'"(loss_sum|accuracy)": \d+\.', text)
    assert found is not None
    digit = (int(text[found.end()]) + 1) % 10
    path.write_text(f"{text[: found.end()]}{digit}{text[found.end() + 1 :]}")


HARMS: dict[str, Harm] = {
    "a snapshot cut short": lambda work: cut(newest(work, "at-*.safetensors")),
    "a bit of a snapshot": lambda work: flip(newest(work, "at-*.safetensors")),
    "a snapshot's entry cut short": lambda work: cut(newest(work, "at-*.json")),
    "a digit of a snapshot's entry": lambda work: change_a_digit(newest(work, "at-*.json")),
    "a snapshot without its entry": lambda work: newest(work, "at-*.json").unlink(),
    "an entry without its snapshot": lambda work: newest(work, "at-*.safetensors").unlink(),
    "a stage's record cut short": lambda work: cut(newest(work, "01-pick_train/record.json")),
    "a digit of a stage's record": lambda work: change_a_digit(newest(work, "01-pick_train/record.json")),
    "a stage's record gone": lambda work: newest(work, "02-check/record.json").unlink(),
    "a stage's state gone": lambda work: newest(work, "state.safetensors").unlink(),
    "a bit of a stage's state": lambda work: flip(newest(work, "state.safetensors")),
    "a stage's seconds gone": lambda work: newest(work, "01-pick_train/seconds.json").unlink(),
    "a stage's whole output gone": lambda work: shutil.rmtree(newest(work, "02-check")),
    "the cached model cut short": lambda work: cut(work / "shared.safetensors"),
    "a bit of the cached model": lambda work: flip(work / "shared.safetensors"),
    "the cached model's entry cut short": lambda work: cut(work / "shared.json"),
    "all work in progress gone": shutil.rmtree,
}


@pytest.fixture
def stopped(tmp_path: Path, stopped_once: Run) -> Run:
    """A copy of a run that was stopped while its second task was pruned."""
    shutil.copytree(stopped_once.root, tmp_path, dirs_exist_ok=True)
    return open_run(tmp_path, stopped_once.spec.name)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = begin(tmp_path_factory.mktemp("stopped"), spec(**TWO_TASKS))
    assert attempt(run, batches=EPOCH * 3 + EPOCH * 4 + EPOCH * 3 + 5)
    assert newest(run.work, "at-*.json").parent.name == "03-prune"
    return run


@pytest.mark.parametrize("harm", HARMS)
def test_damaged_work_in_progress_is_done_anew(stopped: Run, learned: Callable[..., Run], harm: str) -> None:
    HARMS[harm](stopped.work)
    learn_sequence(stopped, Silent())
    assert frozen_bytes(stopped) == frozen_bytes(learned(**TWO_TASKS))


def test_a_torn_freeze_is_done_anew(stopped: Run, learned: Callable[..., Run]) -> None:
    """Killed between its files: the delta is there, the record that makes it count is not."""
    stopped.task_folder(2).mkdir()
    (stopped.task_folder(2) / "delta.safetensors").write_bytes(b"half")
    (stopped.task_folder(2) / ".delta.safetensors.12345.part").write_bytes(b"quarter")
    (stopped.folder / ".run.json.12345.part").write_bytes(b"half")
    learn_sequence(stopped, Silent())
    assert frozen_bytes(stopped) == frozen_bytes(learned(**TWO_TASKS))


def test_a_stage_of_other_settings_is_never_taken_for_this_ones(tmp_path: Path, learned: Callable[..., Run]) -> None:
    """Nothing is frozen yet, so the settings may change; what stages of the old ones left must not be read."""
    grows = ("check.min_train_accuracy=1.0", "grow.first_task=true", "prune.targets=[0.3]")
    assert attempt(begin(tmp_path, spec(overrides=grows, **TWO_TASKS)), batches=EPOCH * 3 + 2)
    assert newest(tmp_path / "work", "03-*").name == "03-grow"
    run = begin(tmp_path, spec(**TWO_TASKS))
    learn_sequence(run, Silent())
    assert frozen_bytes(run) == frozen_bytes(learned(**TWO_TASKS))
