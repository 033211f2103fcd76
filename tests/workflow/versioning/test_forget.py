"""A task is forgotten by the command: its files are gone from DVC's cache and remote too, or what is left is named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cpg_core.recall.audit import audit
from cpg_core.storage.files import write_json
from cpg_core.storage.lock import locked
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from flows.cli.app import app
from flows.tracking.address import VARIABLE
from flows.versioning.sync import sync
from workflow.versioning.project import changed, pointers, repo_of


@pytest.fixture(autouse=True)
def without_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def cpg(root: Path, *words: str, says: str = "") -> Result:
    return CliRunner().invoke(app, [*words, "--root", str(root)], input=says)


def stored(place: Path) -> Iterator[bytes]:
    return (path.read_bytes() for path in place.rglob("*") if path.is_file())


def test_files_are_gone_from_the_cache_and_on_demand_from_the_remote(copied: Run) -> None:
    root = copied.root
    sync(copied)
    with repo_of(root) as repo:
        repo.push()
    delta = (copied.task_folder(1) / "delta.safetensors").read_bytes()
    cache, remote = root / ".dvc" / "cache", root / ".dvc-remote"
    assert delta in stored(cache) and delta in stored(remote)
    first = cpg(root, "forget", "tiny", "--task", "zero-one", says="zero-one\n")
    assert (first.exit_code, delta in stored(cache), delta in stored(remote)) == (3, False, True)
    assert "001-zero-one in DVC's remote: not asked for" in first.output
    second = cpg(root, "forget", "tiny", "--remote")
    assert (second.exit_code, delta in stored(remote)) == (0, False), second.output
    run = open_run(root, "tiny")
    assert not run.spec.forgotten[0].left
    assert list(pointers(root)) == ["001-two-three.dvc"]
    assert not changed(root)
    assert all(finding.ok for finding in audit(run))
    assert "forgotten: 001-zero-one" in cpg(root, "show", "tiny", "--no-recall").output
    assert "finished, 1 forgotten" in cpg(root, "list").output


def test_once_all_are_forgotten_no_name_is_told_and_nothing_can_be_exported(copied: Run, tmp_path: Path) -> None:
    root = copied.root
    for task in ("two-three", "zero-one"):
        done = cpg(root, "forget", "tiny", "--task", task, "--yes", "--erase-name", "--remote")
        assert done.exit_code == 0, done.output
    (copied.folder / ".run.json.1234567.part").write_text("{")  # of a process that was killed as it wrote
    again = cpg(root, "forget", "tiny")
    assert [path.name for path in copied.folder.iterdir()] == ["run.json"]
    assert (again.exit_code, "None" in again.output) == (0, False)
    exported = cpg(root, "export", "tiny", "--all", "--to", str(tmp_path / "tasks"))
    assert (exported.exit_code, "no task is frozen yet" in exported.output) == (2, True)


def test_what_another_run_uses_stays_and_is_named(copied: Run) -> None:
    root = copied.root
    shutil.copytree(copied.folder, copied.folder.with_name("other"))
    for name in ("tiny", "other"):
        sync(open_run(root, name))
    done = cpg(root, "forget", "tiny", "--task", "zero-one", "--yes", "--remote")
    assert "checkpoints/other/001-zero-one.dvc uses them" in done.output
    assert "cpg forget other --task zero-one" in done.output
    assert not changed(root)


def test_where_nobody_can_tell_what_another_run_uses_nothing_is_erased(copied: Run) -> None:
    """It was not pulled here: DVC knows its folder by one hash, and not what is in it."""
    root, delta = copied.root, (copied.task_folder(1) / "delta.safetensors").read_bytes()
    shutil.copytree(copied.folder, copied.folder.with_name("other"))
    other = open_run(root, "other")
    write_json(other.task_folder(1) / "seconds.json", {"01-pick_train": 1.0})
    for name in ("tiny", "other"):
        sync(open_run(root, name))
    with repo_of(root) as repo:
        repo.push()
        (out,) = repo.stage.load_file(str(other.folder / "001-zero-one.dvc"))[0].outs
        Path(repo.cache.local.oid_to_path(str(out.hash_info.value))).unlink()
    done = cpg(root, "forget", "tiny", "--task", "zero-one", "--yes", "--remote")
    assert (done.exit_code, "dvc pull checkpoints/other/001-zero-one.dvc" in done.output) == (3, True), done.output
    assert delta in stored(root / ".dvc" / "cache") and delta in stored(root / ".dvc-remote")
    assert open_run(root, "tiny").spec.forgotten[0].left


def test_another_answer_changes_nothing(copied: Run) -> None:
    before = copied.spec
    said = cpg(copied.root, "forget", "tiny", "--task", "zero-one", says="yes\n")
    assert (said.exit_code, open_run(copied.root, "tiny").spec) == (1, before)


def test_without_a_task_there_must_be_something_left(copied: Run) -> None:
    said = cpg(copied.root, "forget", "tiny")
    assert (said.exit_code, "--task NAME" in said.output) == (2, True)


def test_copies_that_killed_processes_left_are_erased_or_named(copied: Run) -> None:
    checkpoints, work = copied.folder.parent, copied.work.parent
    for name in (".made.part", ".busy.part", ".gone.removed", ".anew.removed", "anew"):
        shutil.copytree(copied.folder, checkpoints / name)
    for name in ("gone", "anew"):
        (work / name / "003-more").mkdir(parents=True)
    with locked(work / "busy"):
        done = cpg(copied.root, "forget", "tiny", "--task", "zero-one", "--yes", "--remote")
    named = f"not erased: {checkpoints / '.busy.part'}: run busy"
    assert (done.exit_code, named in done.output) == (3, True), done.output
    assert sorted(path.name for path in checkpoints.iterdir() if path.is_dir()) == [".busy.part", "anew", "tiny"]
    assert not (work / "gone").exists() and (work / "anew" / "003-more").is_dir()
    again = cpg(copied.root, "forget", "tiny", "--remote")
    assert (again.exit_code, (checkpoints / ".busy.part").exists()) == (0, False), again.output
