"""Branches: a run that goes on from another's frozen task, of which nothing is copied, changed or lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.tiny import frozen_bytes, spec
from cpg_core.config.store import Store
from cpg_core.errors import CpgError
from cpg_core.recall.audit import audit
from cpg_core.recall.convert import convert
from cpg_core.recall.forget import carry_out, plan
from cpg_core.recall.recall import evaluate
from cpg_core.runner import learn_sequence
from cpg_core.storage import manage, runs
from cpg_core.storage.branches import branches
from cpg_core.storage.exchange import exchanged, replaced, rewritten
from cpg_core.storage.files import Damaged
from cpg_core.storage.lock import locked
from cpg_core.storage.manage import remove, rename
from cpg_core.storage.run import RUN, Run
from cpg_core.storage.runs import branch, extend, open_run
from cpg_core.training.reporter import Silent


@pytest.fixture
def base(damageable: Callable[..., Run]) -> Run:
    return damageable(tasks="1-3")


def add(run: Run, number: int) -> Run:
    """One more task of digits-5, learned at the end of the run as it is on disk."""
    (task,) = spec(tasks=str(number)).tasks
    longer = extend(open_run(run.root, run.spec.name), task, 0.6)
    learn_sequence(longer, Silent())
    return open_run(run.root, run.spec.name)


def sound(run: Run) -> bool:
    found = open_run(run.root, run.spec.name)
    recalled = [evaluate(found, record.name) == record.test_accuracy for record in found.records()]
    return all(finding.ok for finding in audit(found)) and all(recalled) and len(recalled) == len(found.spec.tasks)


def test_two_branches_go_on_from_one_task_and_nothing_is_copied(base: Run) -> None:
    before = frozen_bytes(base)
    one, two = (add(branch(base, "two-three", name), number) for name, number in (("one", 4), ("two", 5)))
    assert [path.name for path in sorted(one.folder.iterdir())] == ["003-six-seven", "run.json"]
    assert [path.name for path in sorted(two.folder.iterdir())] == ["003-eight-nine", "run.json"]
    assert frozen_bytes(base) == before
    assert sound(base) and sound(one) and sound(two)
    assert [task.name for task in one.spec.tasks] == ["zero-one", "two-three", "six-seven"]
    assert one.record(3).parent_sha256 == two.record(3).parent_sha256 == base.record(3).parent_sha256
    assert branches(base.root, "tiny") == ["one", "two"]


def test_a_branch_ends_in_the_bytes_of_a_run_of_the_same_tasks(base: Run, learned: Callable[..., Run]) -> None:
    alone = learned(tasks="1,2,4")
    made = add(branch(base, "two-three", "one"), 4)
    delta = "003-six-seven/delta.safetensors"
    assert (made.folder / delta).read_bytes() == (alone.folder / delta).read_bytes()


def test_a_branch_of_a_branch_has_tasks_of_both(base: Run) -> None:
    one = add(branch(base, "two-three", "one"), 4)
    late, early = add(branch(one, "six-seven", "late"), 5), branch(one, "zero-one", "early")
    assert [(of.run, of.tasks) for of in late.spec.base] == [("tiny", 2), ("one", 3)]
    assert [(of.run, of.tasks) for of in early.spec.base] == [("tiny", 1)]
    assert [path.name for path in sorted(late.folder.iterdir())] == ["004-eight-nine", "run.json"]
    assert sound(late) and sound(early)
    assert branches(base.root, "one") == ["late"]


def test_a_base_is_not_removed_before_its_branches(base: Run) -> None:
    branch(base, "two-three", "one")
    with pytest.raises(CpgError, match="run 'tiny' is the base of one, which need it to be recalled"):
        remove(base.root, "tiny")
    assert sound(base)
    remove(base.root, "one")
    remove(base.root, "tiny")
    assert not base.folder.exists()


def test_a_branch_that_is_made_as_its_base_is_removed_is_kept(base: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """After all that `remove` looks at before it has the lock."""

    @contextmanager
    def branched_before(work: Path) -> Iterator[None]:
        branch(base, "two-three", "one")
        with locked(work):
            yield

    monkeypatch.setattr(manage, "locked", branched_before)
    with pytest.raises(CpgError, match="run 'tiny' is the base of one"):
        remove(base.root, "tiny")
    assert sound(base) and open_run(base.root, "one").frozen() == 2


def test_no_branch_of_a_task_that_is_forgotten_as_it_is_made(base: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """After all that `branch` looks at before it has the lock."""

    @contextmanager
    def forgotten_before(work: Path) -> Iterator[None]:
        if work == base.work:
            carry_out(plan(base, "two-three"))
        with locked(work):
            yield

    monkeypatch.setattr(runs, "locked", forgotten_before)
    with pytest.raises(CpgError, match="frozen task 'two-three'"):
        branch(base, "two-three", "one")
    assert not (base.root / "checkpoints" / "one").exists()


def test_no_branch_of_a_run_that_is_being_changed(base: Run) -> None:
    with locked(base.work), pytest.raises(CpgError, match="run tiny: another process"):
        branch(base, "two-three", "one")
    one = add(branch(base, "two-three", "one"), 4)
    with locked(base.work), pytest.raises(CpgError, match="run tiny: another process"):
        branch(one, "two-three", "twig")


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "cut short": lambda file: file.write_text("{"),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("harm", UNREADABLE)
def test_a_run_that_may_be_a_branch_keeps_a_base_until_it_can_be_read(base: Run, harm: str) -> None:
    one = branch(base, "two-three", "one")
    shutil.copytree(base.task_folder(3), one.folder / base.label(3))
    UNREADABLE[harm](one.folder / RUN)
    for change in (lambda: remove(base.root, "tiny"), lambda: plan(base, "four-five")):
        with pytest.raises(Damaged, match=r"one/run\.json: cannot be read, and this run may be a branch of tiny"):
            change()
    (one.folder / base.label(3)).rename(one.folder / "001-zero-one")  # a task that no branch has of its own
    remove(base.root, "tiny")


def test_a_branch_between_two_names_keeps_its_base(base: Run) -> None:
    one = branch(base, "two-three", "one")
    one.folder.rename(replaced(one.folder))
    with pytest.raises(CpgError, match="run 'tiny' is the base of one"):
        remove(base.root, "tiny")


def test_a_base_between_two_names_is_brought_back_by_its_branch(base: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    branch(base, "zero-one", "one")
    rename_folder, renamed = Path.rename, list[Path]()

    def killed(path: Path, to: Path) -> Path:
        renamed.append(path)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        return rename_folder(path, to)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "rename", killed)
        carry_out(plan(base, "two-three"))
    assert not base.folder.exists()
    assert sound(open_run(base.root, "one"))
    assert [task.name for task in open_run(base.root, "tiny").spec.forgotten] == ["two-three"]


def test_a_folder_made_where_a_base_was_between_two_names_is_not_taken_for_it(base: Run) -> None:
    shutil.copytree(base.folder, replaced(base.folder))
    shutil.copytree(base.folder, rewritten(base.folder))
    told = pytest.raises(CpgError, match=r"made while .tiny.replaced and .tiny.rewritten waited")
    with told, exchanged(base.folder, base.work):
        pytest.fail("it must not begin")
    assert replaced(base.folder).exists() and rewritten(base.folder).exists()


def test_a_base_that_was_renamed_is_found_by_its_hash_and_still_kept(base: Run) -> None:
    made = add(branch(base, "two-three", "one"), 4)
    rename(base.root, "tiny", "large")
    assert sound(made)
    assert open_run(base.root, "one").spec.base[0].run == "large"
    assert branches(base.root, "large") == ["one"]
    with pytest.raises(CpgError, match="run 'large' is the base of one"):
        remove(base.root, "large")
    rename(base.root, "one", "other")
    assert sound(open_run(base.root, "other"))


def test_a_base_that_is_gone_or_another_is_named(base: Run, learned: Callable[..., Run]) -> None:
    branch(base, "two-three", "one")
    shutil.rmtree(base.folder)
    with pytest.raises(Damaged, match=r"tiny/002-two-three/record.json: missing: run one goes on from this task"):
        open_run(base.root, "one")
    shutil.copytree(learned(tasks="1-2", seed=2).folder, base.folder)
    with pytest.raises(Damaged, match="not the one that it was branched from"):
        open_run(base.root, "one")


def test_a_task_that_is_not_frozen_and_a_name_that_is_taken_are_refused(base: Run) -> None:
    with pytest.raises(CpgError, match=r"frozen task 'two-thre'.*two-three"):
        branch(base, "two-thre", "one")
    with pytest.raises(CpgError, match="tiny is there already"):
        branch(base, "two-three", "tiny")
    branch(base, "two-three", "one")
    with pytest.raises(CpgError, match="one is there already"):
        branch(base, "zero-one", "one")
    assert [task.name for task in open_run(base.root, "one").spec.tasks] == ["zero-one", "two-three"]


def test_a_converted_branch_stands_alone(base: Run) -> None:
    made = add(branch(base, "zero-one", "one"), 4)
    before = frozen_bytes(base)
    convert(made, "small", Store(values="float32", private="float32", masks="entropy"))
    assert frozen_bytes(base) == before
    remove(base.root, "one")
    remove(base.root, "tiny")
    assert sound(open_run(base.root, "small"))


def test_a_run_without_a_base_says_nothing_of_one(base: Run) -> None:
    assert '"base"' not in (base.folder / "run.json").read_text()
