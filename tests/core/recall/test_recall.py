"""Recall: an old task on the current model, on its own test images or on a folder of others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from core.tiny import learn, spec
from cpg_core.data.reading import reading
from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.recall.audit import audit
from cpg_core.recall.convert import convert
from cpg_core.recall.recall import device_note, evaluate, evaluated
from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Silent


def computed(run: Run, **how: object) -> Run:
    compute = run.spec.settings.compute.model_copy(update=how)
    settings = run.spec.settings.model_copy(update={"compute": compute})
    return Run(run.root, run.spec.model_copy(update={"settings": settings}))


def test_every_task_is_recalled_as_it_was_frozen(learned: Callable[..., Run]) -> None:
    run = learned()
    for record in run.records():
        assert evaluate(run, record.name) == record.test_accuracy


def test_it_is_recalled_without_the_work_in_progress(damageable: Callable[..., Run]) -> None:
    run = damageable()
    shutil.rmtree(run.work)
    assert evaluate(run, "two-three") == run.record(2).test_accuracy


@pytest.mark.parametrize("right", [True, False])
def test_a_folder_of_images_is_judged_by_its_own_labels(
    learned: Callable[..., Run], tmp_path: Path, right: bool
) -> None:
    """The task's training images under their own names, then under each other's: what was right is now wrong."""
    run = learned()
    data = run.data(1)
    assert data.train.images is not None
    for number, (pixels, label) in enumerate(zip(data.train.images, data.train.labels.tolist(), strict=True)):
        folder = tmp_path / "test" / data.classes[label if right else 1 - label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0].numpy()).save(folder / f"{number}.png")
    found = evaluate(run, data.name, tmp_path)
    assert found > 0.9 if right else found < 0.1


@pytest.fixture
def of_a_folder(tmp_path: Path, write_folder: Callable[..., Path]) -> Run:
    """A run of a task that has all classes of its folder: `images/train/ant` and so on."""
    counts = {f"{part}/{name}": count for part, count in (("train", 10), ("test", 4)) for name in ("ant", "cow", "eel")}
    task = TaskSpec.model_validate({"name": "animals", "source": {"kind": "folder", "folder": write_folder(counts)}})
    of_folder = {"tasks": (task,), "goals": {task.name: 0.0}}
    return learn(tmp_path, spec(tasks="1").model_copy(update=of_folder))


def test_a_class_that_comes_later_is_no_class_of_the_task(of_a_folder: Run) -> None:
    run, folder = of_a_folder, of_a_folder.root / "images"
    for part in ("train", "test"):
        shutil.copytree(folder / part / "cow", folder / part / "bee")
    found = evaluated(run, "animals")
    assert (found.score, found.classes) == (run.record(1).test_accuracy, ("ant", "cow", "eel"))
    assert found.confusion is not None and found.confusion.sum() == 3 * 4
    assert run.data(1).digest == run.record(1).data_sha256
    assert [task.after.test_accuracy for task in convert(run, "small", run.spec.settings.store)] == [found.score]


def test_a_class_whose_images_are_gone_is_named(of_a_folder: Run) -> None:
    shutil.rmtree(of_a_folder.root / "images/test/ant")
    with pytest.raises(CpgError, match=r"test: there is no class 'ant'"):
        evaluate(of_a_folder, "animals")


@pytest.mark.parametrize("workers", [1, 3])
def test_a_folder_of_images_is_read_by_as_many_threads_as_the_run_says(
    learned: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    run, found = computed(learned(), workers=workers), list[int]()
    (tmp_path / run.record(1).classes[0]).mkdir()
    Image.new("L", (8, 8)).save(tmp_path / run.record(1).classes[0] / "1.png")
    read = reading.ahead
    monkeypatch.setattr(reading, "ahead", lambda do, items, threads: found.append(threads) or read(do, items, threads))
    evaluate(run, run.record(1).name, tmp_path)
    assert found == [workers]


def test_an_unknown_task_is_named_with_the_nearest(learned: Callable[..., Run]) -> None:
    with pytest.raises(CpgError, match=r"two-thre.*'two-three'"):
        evaluate(learned(), "two-thre")


def test_where_nothing_can_be_written_it_is_recalled_all_the_same(damageable: Callable[..., Run]) -> None:
    run = damageable()
    shutil.rmtree(run.root / "work")
    (run.root / "work").write_text("a file, so that no folder can be made in its place")
    assert evaluate(run, "two-three") == run.record(2).test_accuracy
    assert all(finding.ok for finding in audit(run))


def test_a_run_learned_on_a_gpu_is_read_without_one_and_not_learned(
    learned: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = learned()
    elsewhere = computed(run, device="cuda")
    assert evaluate(elsewhere, "two-three") == run.record(2).test_accuracy
    assert all(finding.ok for finding in audit(elsewhere))
    assert device_note(elsewhere) is not None
    assert device_note(run) is None


def test_learning_on_a_gpu_that_is_not_there_is_told_before_anything_is_read(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = new_run(overrides=("compute.device=cuda",))
    monkeypatch.setattr(Run, "data", lambda *_: pytest.fail("images are read"))
    with pytest.raises(CpgError, match=r"compute\.device is cuda.*no GPU.*compute\.device=auto"):
        learn_sequence(run, Silent())


def test_an_audit_of_nothing_fails(new_run: Callable[..., Run]) -> None:
    assert [finding.ok for finding in audit(new_run())] == [False]
