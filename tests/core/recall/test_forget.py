"""A task is forgotten: what it alone needs is gone, and every other task is recalled to the bit as before."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.tiny import FORGETTING, GROWS, ROOT, bits, frozen_bytes
from cpg_core.config.store import Store
from cpg_core.data.spec import load_sequence, select
from cpg_core.errors import CpgError
from cpg_core.methods import assembly_of
from cpg_core.model.ownership import count, owned_before
from cpg_core.recall.audit import audit
from cpg_core.recall.convert import convert
from cpg_core.recall.copies import runs_with_task
from cpg_core.recall.forget import carry_out, plan
from cpg_core.recall.handover import Handover
from cpg_core.recall.recall import evaluate
from cpg_core.runner import learn_sequence
from cpg_core.stages.freezing.recalled_network import network_of, probe_of
from cpg_core.storage import files
from cpg_core.storage.lock import locked
from cpg_core.storage.run import Run
from cpg_core.storage.runs import branch, extend, open_or_new, open_run
from cpg_core.training.reporter import Silent

NAMES = ("zero-one", "two-three", "four-five")
Answers = dict[str, dict[str, bytes]]


def answers(run: Run) -> Answers:
    """Of each task the logits on the probe batch, and the state of its network."""
    assembly, found = assembly_of(run), Answers()
    shared = assembly.rebuild(run.frozen())
    for index in range(1, run.frozen() + 1):
        record = run.record(index)
        network = network_of(assembly, shared, record, run.delta(index, record))
        found[record.name] = bits({"probe": probe_of(run, network), **network.state_dict()})
    return found


def forget(run: Run, task: str, **how: bool) -> Run:
    return carry_out(plan(run, task), **how)


def others(before: Answers, task: str) -> Answers:
    return {name: answer for name, answer in before.items() if name != task}


CASES = [
    *[({}, task) for task in NAMES],
    *[({"overrides": GROWS}, task) for task in NAMES[::2]],
    *[({"method": method}, "two-three") for method in ("packnet", "piggyback", "progressive", "scratch")],
]


@pytest.mark.parametrize("how, task", CASES)
def test_every_other_task_is_recalled_to_the_bit(
    damageable: Callable[..., Run], how: dict[str, object], task: str
) -> None:
    run = damageable(**how)
    before = answers(run)
    after = forget(run, task)
    assert answers(after) == others(before, task)
    findings = audit(after)
    assert all(finding.ok for finding in findings), findings
    assert [finding.task for finding in findings if finding.check == "forgotten"] == [run.label(NAMES.index(task) + 1)]
    assert not list(after.folder.parent.glob(f"*/*{task}*"))
    assert not list(after.work.glob("*.safetensors"))


def test_what_a_later_task_uses_is_handed_to_it_and_the_rest_is_free(damageable: Callable[..., Run]) -> None:
    run = damageable()
    planned = plan(run, "zero-one")
    assert planned.handover is not None
    assert 0 < planned.freed < planned.own == run.record(1).own
    assert planned.own == planned.freed + sum(planned.handover.heirs.values())
    before = run.records()
    after = forget(run, "zero-one").records()
    assert [record.own for record in after] == [before[k - 1].own + planned.handover.heirs[k] for k in (2, 3)]
    assert after[-1].released == before[-1].released + planned.freed
    assert f"{planned.freed / planned.own:.1%}" in planned.lines()[0]


def test_the_sparsity_of_a_later_task_is_that_of_what_it_holds(damageable: Callable[..., Run]) -> None:
    after = forget(damageable(), "zero-one")
    owner = assembly_of(after).shared().owner
    size = sum(layer.numel() for layer in owner.values())
    for record in after.records():
        own = sum(int((layer == record.index).sum()) for layer in owner.values())
        older = count({name: owned_before(layer, record.index) for name, layer in owner.items()})
        assert record.own == own
        assert record.sparsity == pytest.approx(1 - own / (size - older))


def test_a_new_task_owns_freed_weights(damageable: Callable[..., Run]) -> None:
    run = damageable()
    owner = assembly_of(run).shared().owner
    after = forget(run, "two-three")
    kept = assembly_of(after).shared().owner
    freed = {name: (layer == 2) & (kept[name] == 0) for name, layer in owner.items()}
    (task,) = select(load_sequence("digits-5", ROOT / "data"), "4")
    learn_sequence(more := extend(after, task, 0.6), Silent())
    own = assembly_of(more).shared().owner
    assert any(bool(((own[name] == 3) & places).any()) for name, places in freed.items())
    assert all(finding.ok for finding in audit(open_run(run.root, "tiny")))


def test_without_the_task_that_it_grew_for_a_run_has_the_width_of_the_others(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2", overrides=GROWS)
    assert assembly_of(run).shared().budget_x == 2.0
    after = forget(run, "two-three")
    assert assembly_of(after).shared().budget_x == 1.0
    (task,) = select(load_sequence("digits-5", ROOT / "data"), "3")
    learn_sequence(extend(after, task, 0.6), Silent())
    assert all(finding.ok for finding in audit(open_run(run.root, "tiny")))


def test_rounded_weights_that_are_handed_over_keep_their_bits(damageable: Callable[..., Run]) -> None:
    """The scales of int8 are another task's: what inherits is stored exactly, what does not as it was."""
    run = damageable(overrides=("store.values=int8", "store.private=bfloat16", "store.masks=entropy"))
    before = answers(run)
    after = forget(run, "two-three")
    assert answers(after) == others(before, "two-three")
    stored = [record.stored and record.stored.values for record in after.records()]
    assert stored == ["int8", "float32"]
    assert all(finding.ok for finding in audit(after))


@pytest.mark.parametrize(("values", "left"), [("int8", ["int8", "float32"]), ("bfloat16", ["bfloat16"] * 2)])
def test_a_task_of_a_converted_run_is_forgotten_there_alone(
    damageable: Callable[..., Run], values: str, left: list[str]
) -> None:
    run = damageable()
    convert(run, "small", Store.model_validate({"values": values, "private": "bfloat16", "masks": "entropy"}))
    small, first = open_run(run.root, "small"), frozen_bytes(run)
    before = answers(small)
    after = forget(small, "two-three")
    assert answers(after) == others(before, "two-three")
    assert [record.stored and record.stored.values for record in after.records()] == left
    assert all(finding.ok for finding in audit(after))
    assert [evaluate(after, record.name) for record in after.records()] == [r.test_accuracy for r in after.records()]
    assert (frozen_bytes(run), runs_with_task(run, 2)) == (first, [])


def test_the_only_task_is_forgotten_and_others_may_be_added(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1")
    after = forget(run, "zero-one")
    assert (after.frozen(), after.spec.tasks, after.spec.goals) == (0, (), {})
    assert [finding.ok for finding in audit(after)] == [True]
    with pytest.raises(CpgError, match="all of these tasks were forgotten: zero-one"):
        open_or_new(run.root, run.spec)
    (task,) = select(load_sequence("digits-5", ROOT / "data"), "2")
    learn_sequence(extend(after, task, 0.6), Silent())
    assert [record.name for record in open_run(run.root, "tiny").records()] == ["two-three"]


def test_the_same_command_learns_no_forgotten_task_again(damageable: Callable[..., Run]) -> None:
    run = damageable()
    after = forget(run, "two-three")
    again = open_or_new(run.root, run.spec)
    assert again.spec == after.spec
    before = frozen_bytes(after)
    learn_sequence(again, Silent())
    assert frozen_bytes(again) == before


@pytest.mark.parametrize("method", FORGETTING[:1])
def test_methods_that_train_in_place_are_refused(damageable: Callable[..., Run], method: str) -> None:
    with pytest.raises(CpgError, match="trains one network in place"):
        plan(damageable(method=method), "two-three")


def test_a_task_that_is_not_there_is_refused(damageable: Callable[..., Run]) -> None:
    with pytest.raises(CpgError, match="two-three"):
        plan(damageable(), "two-thre")


def test_where_another_task_would_change_nothing_does(damageable: Callable[..., Run]) -> None:
    """All weights of the task released, also those that later ones use."""
    run = damageable()
    before = frozen_bytes(run)
    planned = plan(run, "zero-one")
    released = {name: torch.where(layer == 1, 0, layer) for name, layer in planned.shared.owner.items()}
    wrong = Handover({name: torch.where(layer > 1, layer - 1, layer) for name, layer in released.items()}, 1, {})
    with pytest.raises(CpgError, match="002-two-three would not be recalled to the bit"):
        carry_out(replace(planned, handover=wrong))
    assert frozen_bytes(open_run(run.root, "tiny")) == before
    assert [path.name for path in run.folder.parent.iterdir()] == ["tiny"]


def test_a_damaged_file_or_a_learning_process_refuses_it(damageable: Callable[..., Run]) -> None:
    run = damageable()
    planned = plan(run, "zero-one")
    with locked(run.work), pytest.raises(CpgError, match="another process"):
        carry_out(planned)
    (run.task_folder(3) / "delta.safetensors").write_bytes(b"")
    before = frozen_bytes(run)
    with pytest.raises(CpgError, match=r"003-four-five/delta\.safetensors"):
        carry_out(planned)
    assert frozen_bytes(run) == before


def test_a_branch_that_was_made_since_the_plan_keeps_its_task(damageable: Callable[..., Run]) -> None:
    run = damageable()
    planned = plan(run, "four-five")
    twig = branch(run, "four-five", "twig")
    with pytest.raises(CpgError, match="twig rests on 003-four-five"):
        carry_out(planned)
    assert open_run(run.root, "tiny").spec == run.spec and all(finding.ok for finding in audit(twig))


def test_where_files_are_copied_they_are_on_disk_before_the_old_ones_go(
    damageable: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut loses what is not synced."""
    run, synced = damageable(tasks="1-2"), set[str]()
    planned, sync, to_other_name = plan(run, "two-three"), files._sync, Path.rename
    unsynced = list[str]()

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def noted(path: Path) -> None:
        synced.add(str(path))
        sync(path)

    def renamed(path: Path, target: Path) -> Path:
        unsynced.extend(str(file) for file in path.rglob("*") if "rewritten" in path.name and str(file) not in synced)
        return to_other_name(path, target)

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(files, "_sync", noted)
    monkeypatch.setattr(Path, "rename", renamed)
    carry_out(planned)
    assert any(name.endswith(".tiny.rewritten/001-zero-one/delta.safetensors") for name in synced)
    assert unsynced == []


@pytest.mark.parametrize("keep_name", [True, False])
def test_the_run_says_that_a_task_was_forgotten(damageable: Callable[..., Run], keep_name: bool) -> None:
    run = damageable()
    test_accuracy = run.record(2).test_accuracy
    after = forget(run, "two-three", keep_name=keep_name)
    (gone,) = after.spec.forgotten
    assert (gone.index, gone.name) == (2, "two-three" if keep_name else None)
    assert gone.test_accuracy == (test_accuracy if keep_name else None)
    with pytest.raises(CpgError, match="was forgotten on" if keep_name else "unknown task"):
        evaluate(after, "two-three")
    said = "".join(path.read_text() for path in after.folder.rglob("*.json"))
    assert ("two-three" in said) == keep_name


def test_a_file_of_a_task_that_is_back_fails_the_audit(damageable: Callable[..., Run]) -> None:
    run = damageable()
    kept = run.root / "kept"
    shutil.copytree(run.task_folder(2), kept)
    after = forget(run, "two-three")
    kept.rename(after.folder / "002-two-three")
    (bad,) = [finding for finding in audit(after) if not finding.ok]
    assert (bad.check, "002-two-three" in bad.detail) == ("forgotten", True)


def test_a_folder_that_is_a_link_is_refused(damageable: Callable[..., Run]) -> None:
    """What it leads to would stay."""
    run = damageable()
    real = run.root / "elsewhere"
    run.folder.rename(real)
    run.folder.symlink_to(real)
    with pytest.raises(CpgError, match="tiny is a link to another folder"):
        plan(run, "two-three")


def test_copies_of_the_run_are_named(damageable: Callable[..., Run]) -> None:
    run = damageable()
    shutil.copytree(run.folder, run.folder.with_name("copy"))
    assert runs_with_task(run, 2) == ["copy"]
    forget(open_run(run.root, "copy"), "two-three")
    assert runs_with_task(run, 2) == []


def test_a_branch_keeps_what_it_rests_on_and_forgets_what_is_its_own(damageable: Callable[..., Run]) -> None:
    run = damageable()
    learn_sequence(extend(branch(run, "two-three", "twig"), run.spec.tasks[2], 0.6), Silent())
    twig = open_run(run.root, "twig")
    before = answers(run), answers(twig)
    with pytest.raises(CpgError, match="twig rests on 002-two-three"):
        plan(run, "two-three")
    with pytest.raises(CpgError, match="002-two-three lies in run tiny"):
        plan(twig, "two-three")
    assert answers(forget(run, "four-five")) == others(before[0], "four-five")
    after = forget(twig, "four-five")
    assert answers(after) == others(before[1], "four-five")
    assert after.spec.forgotten and not branch(after, "two-three", "leaf").spec.forgotten
