"""A run's folder: gone on with by the command that made it, and by no other."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from core.tiny import frozen_bytes, spec
from cpg_core.errors import CpgError
from cpg_core.recall.audit import audit
from cpg_core.runner import alone, learn_sequence
from cpg_core.storage.run import Run
from cpg_core.storage.runs import extend, open_or_new, open_run
from cpg_core.training.reporter import Silent


def test_the_same_command_finds_the_run(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    before = frozen_bytes(run)
    again = open_or_new(run.root, run.spec)
    assert again.frozen() == 2
    learn_sequence(again, Silent())
    assert frozen_bytes(run) == before


def test_work_that_a_kill_left_behind_a_frozen_task_is_dropped(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    for index in (1, 2):
        (run.task_work(index) / "images").mkdir(parents=True)
        (run.task_work(index) / "images/train-00000").write_bytes(b"decoded")
    unfinished = run.work / "003-four-five/01-pick_train"
    unfinished.mkdir(parents=True)
    learn_sequence(open_run(run.root, run.spec.name), Silent())
    assert [path.name for path in run.work.iterdir() if path.is_dir()] == ["003-four-five"]


OTHERS = {
    "sequence: 'digits-5' there, 'cifar100-20' here": spec(tasks="1-2").model_copy(update={"sequence": "cifar100-20"}),
    "method: 'cpg' there, 'pae' here": spec(tasks="1-2", method="pae"),
    "backbone: 'digits_cnn' there, 'vgg16_bn' here": spec(tasks="1-2", backbone="vgg16_bn"),
    "seed: 1 there, 2 here": spec(tasks="1-2", seed=2),
    "goal of two-three: 0.6 there, 0.7 here": spec(tasks="1-2", goal=0.7),
    "setting pick_train.lr: 0.01 there, 0.02 here": spec(tasks="1-2", overrides=("pick_train.lr=0.02",)),
    "setting compute.processes: 1 there, 2 here": spec(tasks="1-2", overrides=("compute.processes=2",)),
    "task 1: zero-one there, two-three here": spec(tasks="2,1"),
    "task four-five: only here; to learn it at the end of that run: cpg add tiny": spec(tasks="1-3"),
}


@pytest.mark.parametrize("words", OTHERS)
def test_a_folder_with_frozen_tasks_of_another_run_is_refused(damageable: Callable[..., Run], words: str) -> None:
    run = damageable(tasks="1-2")
    before = frozen_bytes(run)
    with pytest.raises(CpgError, match=rf"holds another run(.|\n)*  {words}(.|\n)*--run"):
        open_or_new(run.root, OTHERS[words])
    assert frozen_bytes(run) == before


@pytest.mark.parametrize("words", list(OTHERS)[:3])
def test_even_with_nothing_frozen_a_folder_stays_with_its_sequence_method_and_backbone(
    new_run: Callable[..., Run], words: str
) -> None:
    run = new_run(tasks="1-2")
    with pytest.raises(CpgError, match=f"holds another run(.|\n)*{words}"):
        open_or_new(run.root, OTHERS[words])


def test_with_nothing_frozen_the_settings_may_still_change(new_run: Callable[..., Run]) -> None:
    run = new_run(tasks="1-2")
    wanted = spec(tasks="1-2", overrides=("pick_train.lr=0.02",), goal=0.5, seed=3)
    assert open_or_new(run.root, wanted).spec == wanted
    learn_sequence(open_or_new(run.root, wanted), Silent())
    assert open_run(run.root, "tiny").spec == wanted


def test_frozen_tasks_without_their_run_file_are_not_taken_over(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    (run.folder / "run.json").unlink()
    with pytest.raises(CpgError, match=r"run\.json"):
        open_or_new(run.root, spec(tasks="1-2", seed=2))


def test_a_run_that_is_not_there_is_told_with_those_that_are(damageable: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(CpgError, match="none yet"):
        open_run(tmp_path / "empty", "tiny")
    run = damageable(tasks="1-2")
    with pytest.raises(CpgError, match=r"'tinny'.*tiny"):
        open_run(run.root, "tinny")


def test_the_folder_is_the_run_whatever_its_file_calls_it(damageable: Callable[..., Run], tmp_path: Path) -> None:
    run = damageable(tasks="1-2")
    shutil.copytree(run.folder, tmp_path / "checkpoints" / "copy")
    copy, before = open_run(tmp_path, "copy"), frozen_bytes(run)
    assert (copy.spec.name, copy.folder.name, copy.work.name) == ("copy", "copy", "copy")
    flipped = copy.task_folder(1) / "delta.safetensors"
    flipped.write_bytes(flipped.read_bytes()[:-1] + b"?")
    assert [finding.ok for finding in audit(copy)][:2] == [False, False]
    assert all(finding.ok for finding in audit(open_run(tmp_path, "tiny")))
    longer = extend(open_run(tmp_path, "copy"), spec(tasks="3").tasks[0], 0.5)
    assert (longer.folder, len(longer.spec.tasks)) == (copy.folder, 3)
    assert frozen_bytes(run) == before


def test_a_run_that_was_moved_by_hand_is_audited_and_gone_on_with(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    moved = run.folder.rename(run.folder.with_name("moved"))
    assert len(audit(open_run(run.root, "moved"))) == 4
    assert open_or_new(run.root, run.spec.model_copy(update={"name": "moved"})).frozen() == 2
    with pytest.raises(CpgError, match=r"no run 'tiny'.*there is: moved"):
        open_run(run.root, "tiny")
    assert moved.exists()


@pytest.mark.parametrize("name", ["../checkpoints/tiny", "", ".", "tiny/../tiny"])
def test_a_path_is_no_name(damageable: Callable[..., Run], name: str) -> None:
    run = damageable(tasks="1-2")
    with pytest.raises(CpgError, match="no run"):
        open_run(run.root, name)
    assert open_run(run.root, "tiny/").spec.name == "tiny"


def test_one_more_task_is_learned_and_the_earlier_files_stay(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    before = {name: content for name, content in frozen_bytes(run).items() if name != "run.json"}
    longer = extend(run, spec(tasks="3").tasks[0], 0.5)
    assert (longer.frozen(), len(longer.spec.tasks), longer.spec.goals["four-five"]) == (2, 3, 0.5)
    learn_sequence(longer, Silent())
    after = frozen_bytes(open_run(run.root, "tiny"))
    assert {name: after[name] for name in before} == before
    assert [recall.unchanged for recall in longer.recalls(3)] == [True, True]
    assert open_or_new(run.root, run.spec).frozen() == 3, "the first command still finds its run"


def test_a_run_that_is_not_finished_is_not_extended(new_run: Callable[..., Run]) -> None:
    with pytest.raises(CpgError, match="001-zero-one is not frozen"):
        extend(new_run(tasks="1-2"), spec(tasks="3").tasks[0], 0.5)


def test_a_name_is_taken_once(damageable: Callable[..., Run]) -> None:
    with pytest.raises(CpgError, match="'two-three' already"):
        extend(damageable(tasks="1-2"), spec(tasks="2").tasks[0], 0.5)


def test_only_one_process_learns_a_run(new_run: Callable[..., Run]) -> None:
    run, said = new_run(tasks="1"), []

    def second() -> None:
        try:
            learn_sequence(run, Silent())
        except CpgError as error:
            said.append(str(error))

    with alone(run):
        other = threading.Thread(target=second)
        other.start()
        other.join()
    assert len(said) == 1
    assert "tiny: another process" in said[0]
    assert run.frozen() == 0
    learn_sequence(run, Silent())
    assert run.frozen() == 1


def test_settings_that_are_another_methods_own_do_not_make_another_run(learned: Callable[..., Run]) -> None:
    run = learned(tasks="1-2")
    assert open_or_new(run.root, spec(tasks="1-2", overrides=("ewc.strength=3.0",))).frozen() == 2
    forgetful = learned(method="ewc", tasks="1-2")
    with pytest.raises(CpgError, match=r"setting ewc\.strength: 1\.0 there, 3\.0 here"):
        open_or_new(forgetful.root, spec("ewc", tasks="1-2", overrides=("ewc.strength=3.0",)))
