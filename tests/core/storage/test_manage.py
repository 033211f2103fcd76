"""Runs renamed and removed: whole, at once, and again after a kill at any step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.tiny import frozen_bytes
from cpg_core.errors import CpgError
from cpg_core.recall.audit import audit
from cpg_core.runner import alone
from cpg_core.storage import manage, runs
from cpg_core.storage.lock import locked
from cpg_core.storage.manage import remove, rename, size
from cpg_core.storage.run import Run
from cpg_core.storage.runs import branch, names, open_run


class Killed(BaseException):
    """Ends a call as a signal would."""


@pytest.fixture
def run(damageable: Callable[..., Run]) -> Run:
    """Two tasks frozen, under DVC, and a stage of a third that is half done."""
    run = damageable(tasks="1-2")
    (run.folder / "001-zero-one.dvc").write_text("outs: []")
    stage = run.work / "003-more" / "01-pick_train"
    stage.mkdir(parents=True)
    (stage / "at-0001.json").write_text("{}")
    return run


def killed_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Die before the step-th time that something is renamed or deleted."""
    left = [step]

    def counted(do: Callable[..., object]) -> Callable[..., object]:
        def dies(*args: object, **options: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return do(*args, **options)

        return dies

    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))


def test_a_renamed_run_is_whole_under_its_new_name(run: Run) -> None:
    before = {name: content for name, content in frozen_bytes(run).items() if name != "run.json"}
    rename(run.root, "tiny", "small")
    small = open_run(run.root, "small")
    assert {name: content for name, content in frozen_bytes(small).items() if name != "run.json"} == before
    assert (small.work / "003-more" / "01-pick_train" / "at-0001.json").exists()
    assert '"name": "small"' in (small.folder / "run.json").read_text()
    assert all(finding.ok for finding in audit(small))
    assert names(run.root) == ["small"]
    assert not run.work.exists()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_rename_that_was_killed_is_completed_by_the_same_call(
    run: Run, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as patch:
        killed_at(patch, step)
        with pytest.raises(Killed):
            rename(run.root, "tiny", "small")
    assert names(run.root) == ["tiny" if step == 1 else "small"]
    assert all(finding.ok for finding in audit(open_run(run.root, names(run.root)[0])))
    rename(run.root, "tiny", "small")
    assert (run.root / "work" / "small" / "003-more").is_dir()
    assert names(run.root) == ["small"]
    assert not run.work.exists()


def test_a_rename_takes_nothing_from_another_run(run: Run) -> None:
    shutil.copytree(run.folder, run.root / "checkpoints" / "small")
    with pytest.raises(CpgError, match="is there already"):
        rename(run.root, "tiny", "small")
    shutil.rmtree(run.folder)  # by hand: its work is still there, as after a rename that was killed
    (run.root / "work" / "small" / "001-other").mkdir(parents=True)
    with pytest.raises(CpgError, match="no run 'tiny'"):
        rename(run.root, "tiny", "small")
    assert (run.root / "work" / "small" / "001-other").is_dir()


@pytest.mark.parametrize("name", ["../small", "", ".small", "a b"])
def test_a_name_must_be_one(run: Run, name: str) -> None:
    with pytest.raises(CpgError, match="becomes a folder name"):
        rename(run.root, "tiny", name)
    assert names(run.root) == ["tiny"]


def test_a_removed_run_leaves_nothing(run: Run) -> None:
    remove(run.root, "tiny")
    assert [path for path in run.root.rglob("*") if "tiny" in path.name] == []


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_removal_that_was_killed_is_completed_by_the_same_call(
    run: Run, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as patch:
        killed_at(patch, step)
        with pytest.raises(Killed):
            remove(run.root, "tiny")
    assert names(run.root) == (["tiny"] if step == 1 else [])
    remove(run.root, "tiny")
    assert [path for path in run.root.rglob("*") if "tiny" in path.name] == []


def test_a_run_that_cannot_be_read_may_be_removed_and_renamed(run: Run) -> None:
    (run.folder / "run.json").write_text("{")
    rename(run.root, "tiny", "broken")
    remove(run.root, "broken")
    assert names(run.root) == []


@pytest.mark.parametrize("late", [False, True])
def test_a_size_is_told_of_a_folder_whose_files_go_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """As where a process learns the run; `late`: as soon as the file was looked at once."""
    (tmp_path / "empty").mkdir()
    for name in ("stays", "goes"):
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "around").symlink_to(tmp_path)
    look, scan = Path.stat, os.scandir

    def looked(path: Path, **how: bool) -> os.stat_result:
        if path.name == "goes" and not late:
            path.unlink()
        found = look(path, **how)
        if path.name == "goes":
            path.unlink()
        return found

    def scanned(path: str | Path) -> object:
        if Path(path).name == "empty":
            Path(path).rmdir()
        return scan(path)

    monkeypatch.setattr(Path, "stat", looked)
    monkeypatch.setattr(os, "scandir", scanned)
    assert size(tmp_path) == (10 if late else 5)
    assert size(tmp_path / "nobody") == 0


def test_what_is_left_of_a_removed_run_is_not_looked_at(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is being deleted."""
    run.folder.rename(run.folder.with_name(".tiny.removed"))
    monkeypatch.setattr(runs, "is_run", lambda folder: pytest.fail(f"{folder} was read"))
    assert names(run.root) == []


@pytest.mark.parametrize("name", ["nobody", "..", "", ".", "tiny/001-zero-one", ".git"])
def test_what_is_no_run_is_left_alone(run: Run, name: str) -> None:
    before = frozen_bytes(run)
    with pytest.raises(CpgError, match="no run"):
        remove(run.root, name)
    with pytest.raises(CpgError, match="no run"):
        rename(run.root, name, "small")
    assert frozen_bytes(run) == before


def test_a_run_that_is_being_learned_is_left_alone(run: Run) -> None:
    with alone(run):
        for change in (lambda: remove(run.root, "tiny"), lambda: rename(run.root, "tiny", "small")):
            with pytest.raises(CpgError, match="another process is learning it"):
                change()
    assert names(run.root) == ["tiny"]


def test_a_name_that_a_process_is_about_to_take_is_not_given(run: Run) -> None:
    with locked(run.root / "work" / "small"), pytest.raises(CpgError, match="run small: another process is learning"):
        rename(run.root, "tiny", "small")
    assert (run.root / "work" / "small" / "lock").exists() and (run.work / "003-more").is_dir()
    assert names(run.root) == ["tiny"]


def test_a_run_that_a_branch_is_being_learned_on_keeps_its_name(run: Run) -> None:
    twig = branch(run, "two-three", "twig")
    with alone(twig), pytest.raises(CpgError, match="run twig: another process is learning it"):
        rename(run.root, "tiny", "small")
    assert names(run.root) == ["tiny", "twig"]
    rename(run.root, "tiny", "small")
    assert [base.run for base in open_run(run.root, "twig").spec.base] == ["small"]


def test_a_new_name_is_told_before_another_process_can_have_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write, told = manage.write_json, list[Path]()

    def tells(file: Path, content: dict[str, object]) -> None:
        with pytest.raises(CpgError, match="run small: another process"), locked(run.root / "work" / "small"):
            pass
        told.append(file)
        write(file, content)

    monkeypatch.setattr(manage, "write_json", tells)
    rename(run.root, "tiny", "small")
    assert told == [run.root / "checkpoints" / "small" / "run.json"]


def test_a_link_to_a_run_is_not_followed(run: Run) -> None:
    (run.root / "checkpoints" / "link").symlink_to(run.folder)
    with pytest.raises(CpgError, match="is a link"):
        remove(run.root, "link")
    assert run.frozen() == 2
