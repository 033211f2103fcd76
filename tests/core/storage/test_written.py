"""A run is on disk from its first task on: what is refused before takes no name, and adds no task."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.notes import Notes
from core.tiny import frozen_bytes, spec
from cpg_core.errors import CpgError
from cpg_core.recall.forget import carry_out, plan
from cpg_core.runner import learn_sequence
from cpg_core.storage.manage import rename
from cpg_core.storage.run import RUN, Run
from cpg_core.storage.runs import extend, names, open_or_new, open_run, without_unfinished, write_spec
from cpg_core.training.reporter import Silent

HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[None]:
    """Another process holds the run's lock."""
    lock = tmp_path / "work" / "tiny" / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield
        other.stdin.close()


def refused(run: Run) -> str:
    with pytest.raises(CpgError) as told:
        learn_sequence(run, Silent())
    return str(told.value)


REFUSED = {
    "no GPU": (spec(tasks="1", overrides=("compute.device=cuda",)), "finds no GPU"),
    "no such class": (
        spec(tasks="1").model_copy(
            update={"tasks": (spec(tasks="1").tasks[0].model_copy(update={"classes": ("1", "eleven")}),)}
        ),
        "eleven",
    ),
    "diverges": (
        spec(tasks="1", overrides=("pick_train.lr=1.0e+30", "pick_train.schedule={kind: constant}")),
        "too high",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_run_takes_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    wanted, said = REFUSED[case]
    assert said in refused(open_or_new(tmp_path, wanted))
    assert not (tmp_path / "checkpoints" / "tiny").exists()
    other = open_or_new(tmp_path, spec(tasks="1", method="pae"))
    learn_sequence(other, Silent())
    assert names(tmp_path) == ["tiny"]


def test_a_run_with_work_in_progress_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    diverges = spec(tasks="1", overrides=("prune.lr=1.0e+30", "prune.schedule={kind: constant}", "retrain.epochs=0"))
    assert "stage prune" in refused(open_or_new(tmp_path, diverges))
    assert open_run(tmp_path, "tiny").frozen() == 0


def test_a_refused_task_is_not_added(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    before = (run.folder / RUN).read_bytes()
    task = spec(tasks="3").tasks[0]
    assert "eleven" in refused(extend(run, task.model_copy(update={"classes": ("1", "eleven")}), 0.6))
    assert (run.folder / RUN).read_bytes() == before
    learn_sequence(extend(run, task, 0.6), Silent())
    assert open_run(run.root, "tiny").frozen() == 3


def test_a_task_that_was_added_and_stopped_gives_its_place_to_another(damageable: Callable[..., Run]) -> None:
    run, task = damageable(tasks="1-2"), spec(tasks="3").tasks[0]
    stopped = extend(run, task.model_copy(update={"name": "mistaken"}), 0.9)
    write_spec(stopped)
    stage = stopped.task_work(3) / "01-pick_train"
    stage.mkdir(parents=True)
    told = Notes()
    learn_sequence(extend(without_unfinished(open_run(run.root, "tiny")), task, 0.6), told)
    found = open_run(run.root, "tiny")
    assert found.spec.goals == dict.fromkeys(("zero-one", "two-three", "four-five"), 0.6)
    assert (found.frozen(), found.label(3), stage.exists()) == (3, "003-four-five", False)
    assert "task mistaken was not learned to its end; the run has it no longer" in told.notes


def test_only_the_last_task_and_that_alone_gives_its_place(damageable: Callable[..., Run], tmp_path: Path) -> None:
    run, (three, four) = damageable(tasks="1-2"), spec(tasks="3-4").tasks
    first = open_or_new(tmp_path / "new", spec(tasks="1"))
    longer = extend(run, three, 0.6)
    both = longer.spec.model_copy(update={"tasks": (*longer.spec.tasks, four)})
    for kept in (run, first, Run(run.root, both)):
        assert without_unfinished(kept) == kept
    assert without_unfinished(longer) == run
    of_sequence = Run(run.root, longer.spec.model_copy(update={"added": None}))  # never put there by `cpg add`
    assert without_unfinished(of_sequence) == of_sequence
    with pytest.raises(CpgError, match="task 003-four-five is not frozen yet; finish it first, with the command that"):
        extend(of_sequence, four, 0.6)
    longer.task_folder(3).mkdir()  # a kill as it was frozen, or a record that is lost
    assert without_unfinished(longer) == longer


def test_a_task_that_another_process_learns_stays(
    damageable: Callable[..., Run], request: pytest.FixtureRequest
) -> None:
    longer = extend(damageable(tasks="1-2"), spec(tasks="3").tasks[0], 0.6)
    write_spec(longer)
    before = (longer.folder / RUN).read_bytes()
    request.getfixturevalue("held")
    assert "another process is learning it" in refused(longer)
    assert (longer.folder / RUN).read_bytes() == before


@pytest.mark.usefixtures("held")
def test_a_run_that_another_process_learns_is_not_begun(tmp_path: Path) -> None:
    assert "another process is learning it" in refused(open_or_new(tmp_path, spec(tasks="1")))
    assert names(tmp_path) == []


def test_another_run_that_has_got_the_name_since_is_not_written_over(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    before = (run.folder / RUN).read_bytes()
    other = Run(run.root, run.spec.model_copy(update={"seed": 2}))
    with pytest.raises(CpgError, match="another process has made another run of that name"):
        write_spec(other)
    assert (run.folder / RUN).read_bytes() == before


def test_a_task_that_was_frozen_since_is_not_written_over(damageable: Callable[..., Run]) -> None:
    run, task = damageable(tasks="1-2"), spec(tasks="3").tasks[0]
    late = extend(run, task.model_copy(update={"name": "late"}), 0.6)
    learn_sequence(extend(run, task, 0.6), Silent())
    before = (run.folder / RUN).read_bytes()
    assert "another process has changed its tasks" in refused(late)
    assert (run.folder / RUN).read_bytes() == before


def by_add(run: Run) -> Run:
    return extend(run, spec(tasks="3").tasks[0], 0.6)


def by_run(run: Run) -> Run:
    return open_or_new(run.root, run.spec)


def forget_last(run: Run) -> Run:
    return carry_out(plan(run, run.spec.tasks[-1].name))


def give_other_name(run: Run) -> Run:
    rename(run.root, "tiny", "small")
    return open_run(run.root, "small")


SINCE = [
    *[(opened, change, 2) for opened in (by_add, by_run) for change in (forget_last, give_other_name)],
    (by_add, forget_last, 1),
    (by_add, give_other_name, 0),
]
"""How a run is opened, what another process does then, and how many of two tasks are not forgotten before."""


@pytest.mark.parametrize(("opened", "change", "left"), SINCE)
def test_what_another_process_did_since_the_run_was_opened_stays(
    damageable: Callable[..., Run], opened: Callable[[Run], Run], change: Callable[[Run], Run], left: int
) -> None:
    run = damageable(tasks="1-2")
    while len(run.spec.tasks) > left:
        run = forget_last(run)
    late = opened(run)
    changed = change(run)
    before = frozen_bytes(changed)
    said = refused(late)
    assert "another process has changed its tasks" in said and said.endswith("; give the same command again")
    assert names(run.root) == [changed.spec.name] and frozen_bytes(changed) == before
