"""Law 7, where the files of a stopped run were damaged meanwhile: what they held is done anew, to the same bytes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from core.tiny import begun, flip, frozen_bytes, spec

from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from cpg_core.training.reporter import Silent
from laws.stopping import EPOCH, TWO_TASKS, attempt, newest

Harm = Callable[[Path], None]


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
    run = begun(tmp_path_factory.mktemp("stopped"), spec(**TWO_TASKS))
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
