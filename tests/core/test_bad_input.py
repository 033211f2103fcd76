"""A mistake or a misfortune in the middle of a run: named in words, and nothing earlier is lost."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from core.tiny import frozen_bytes, spec
from cpg_core.config.backbone import BackboneSpec
from cpg_core.errors import CpgError
from cpg_core.recall.audit import audit
from cpg_core.runner import learn_sequence
from cpg_core.storage import files
from cpg_core.storage.run import Run
from cpg_core.storage.runs import extend, open_or_new
from cpg_core.training.reporter import Silent

DIVERGES = ("pick_train.lr=1.0e+30", "pick_train.schedule={kind: constant}")


def with_third_task(damageable: Callable[..., Run]) -> Run:
    """Two tasks are frozen, a third is to come."""
    return extend(damageable(tasks="1-2"), spec(tasks="3").tasks[0], 0.6)


def two_are_sound(run: Run) -> bool:
    findings = [finding for finding in audit(run) if finding.task[:3] in ("001", "002")]
    return len(findings) == 4 and all(finding.ok for finding in findings)


def test_a_loss_that_is_no_number_names_task_stage_epoch_and_rate(new_run: Callable[..., Run]) -> None:
    run = new_run(tasks="1-2", overrides=DIVERGES)
    with pytest.raises(CpgError, match=r"zero-one, stage pick_train, epoch \d.*1e\+30.*too high"):
        learn_sequence(run, Silent())
    assert run.frozen() == 0


@pytest.mark.parametrize("method", ["cpg", "sequential"])
def test_weights_that_became_no_numbers_in_the_last_step_are_never_frozen(
    new_run: Callable[..., Run], method: str
) -> None:
    """One batch, one step: the loss was computed before it, and is finite."""
    overrides = (*DIVERGES, "pick_train.epochs=1", "batch_size=1000", "pick_train.lr=1.0e+39", "prune.targets=[]")
    run = new_run(method=method, tasks="1-2", goal=0.0, overrides=overrides)
    with pytest.raises(CpgError, match="zero-one"):
        learn_sequence(run, Silent())
    assert run.frozen() == 0


def test_a_later_task_that_diverges_leaves_the_earlier_ones_sound(damageable: Callable[..., Run]) -> None:
    run = with_third_task(damageable)
    before = frozen_bytes(run)
    *others, last = run.spec.tasks
    wild = last.model_copy(update={"settings": {"pick_train": {"lr": 1e30}}})
    with pytest.raises(CpgError, match="four-five, stage pick_train"):
        learn_sequence(Run(run.root, run.spec.model_copy(update={"tasks": (*others, wild)})), Silent())
    assert frozen_bytes(run) == before
    assert two_are_sound(run)
    learn_sequence(run, Silent())
    assert run.frozen() == 3


@pytest.mark.parametrize("full_at", ["delta.safetensors", "recall.json", "record.json", "state.safetensors"])
def test_a_disk_that_fills_up_is_told_and_later_gone_on_from(
    damageable: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, full_at: str
) -> None:
    run = with_third_task(damageable)
    before = {name: content for name, content in frozen_bytes(run).items() if name != "run.json"}
    replace = files._replace

    def full(path: Path, write: Callable[[Path], None], sync: bool) -> None:
        def refuse(_aside: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        replace(path, refuse if path.name == full_at else write, sync)

    monkeypatch.setattr(files, "_replace", full)
    with pytest.raises(CpgError, match=f"{full_at}: cannot be written: the disk is full.*the same command"):
        learn_sequence(run, Silent())
    monkeypatch.undo()
    assert run.frozen() == 2
    assert {name: frozen_bytes(run)[name] for name in before} == before
    assert two_are_sound(run)
    learn_sequence(run, Silent())
    assert all(finding.ok for finding in audit(run))
    assert run.frozen() == 3


def test_a_class_that_is_not_there_is_named(tmp_path: Path) -> None:
    good = spec(tasks="1-2")
    wrong = good.tasks[1].model_copy(update={"classes": ("2", "eleven")})
    run = open_or_new(tmp_path, good.model_copy(update={"tasks": (good.tasks[0], wrong)}))
    with pytest.raises(CpgError, match="eleven"):
        learn_sequence(run, Silent())
    assert run.frozen() == 1
    assert all(finding.ok for finding in audit(run))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("method", "cpgg", "cpgg.*'cpg'"), ("backbone", BackboneSpec(name="vgg16_bm"), "vgg16_bm.*'vgg16_bn'")],
)
def test_an_unknown_method_or_backbone_is_named_with_the_nearest(
    tmp_path: Path, field: str, value: object, words: str
) -> None:
    run = Run(tmp_path, spec(tasks="1").model_copy(update={field: value}))
    with pytest.raises(CpgError, match=words):
        learn_sequence(run, Silent())


def test_batches_of_one_image_cannot_train(new_run: Callable[..., Run]) -> None:
    with pytest.raises(CpgError, match="batches of 1"):
        learn_sequence(new_run(tasks="1", overrides=("batch_size=1",)), Silent())
