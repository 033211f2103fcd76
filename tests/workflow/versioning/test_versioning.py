"""What is frozen is under DVC, once, whoever learned it; and it travels to a colleague, who goes on with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from core.tiny import ROOT, frozen_bytes
from PIL import Image
from waiting import HANG

from cpg_core.errors import CpgError
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from cpg_core.training.reporter import Interrupted
from flows.local_runner import learn
from flows.persist import Persist
from flows.request import run_of_request
from flows.versioning.sync import choose_version, patiently, sync, unversioned, version, version_data
from workflow.asking import arguments, cpg, parameters, tiny_request
from workflow.listeners import Keeping, at, silently
from workflow.versioning.project import changed, clone, commit, git, pointers, repo_of

if TYPE_CHECKING:
    pass

A_TASK = 5
"""Files that DVC moves for a task: four, and the list of them."""


def more(root: Path, name: str = "more", classes: str = "'4', '9'") -> Path:
    task = root / f"{name}.yaml"
    task.write_text(f"name: {name}\nsource: {{kind: digits}}\nclasses: [{classes}]\n")
    return task


def add(root: Path, task: Path) -> None:
    result = cpg("add", "tiny", task, "--root", root, "--plain", "--no-track")
    assert result.exit_code == 0, result.output
    assert "not put under DVC" not in result.output


def test_a_task_is_under_dvc_as_soon_as_it_is_frozen(project: Path, unbroken: Run) -> None:
    run = run_of_request(tiny_request(), project)
    with pytest.raises(Interrupted):
        learn(run, at("two-three", "pick_train"), Persist(project, track=False))
    assert set(pointers(project)) == {"001-zero-one.dvc"}
    learn(run, silently, Persist(project, track=False))
    assert set(pointers(project)) == {"001-zero-one.dvc", "002-two-three.dvc"}
    assert frozen_bytes_but_pointers(run) == frozen_bytes(unbroken)
    assert changed(project) == set()


def frozen_bytes_but_pointers(run: Run) -> dict[str, bytes]:
    return {name: content for name, content in frozen_bytes(run).items() if not name.endswith(".dvc")}


@pytest.mark.usefixtures("prefect_server")
def test_the_flow_does_it_too(project: Path) -> None:
    from flows.orchestration.sequence import sequence_flow

    sequence_flow(silently)(**parameters(tiny_request(tasks="1"), project))
    assert set(pointers(project)) == {"001-zero-one.dvc"}


def test_it_works_inside_a_stage_of_dvc_repro(copied: Run) -> None:
    words = ["-c", "from flows.cli.app import main; main()", *arguments(tiny_request(), copied.root)]
    called = [sys.executable, *words, "--plain", "--no-track"]
    (copied.root / "learn.py").write_text(
        f"import subprocess\nsubprocess.run({called!r}, cwd={str(ROOT)!r}, check=True)\n"
    )
    (copied.root / "dvc.yaml").write_text(f"stages:\n  learn:\n    cmd: {sys.executable} learn.py\n")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    repro = [sys.executable, "-m", "dvc", "repro"]
    done = subprocess.run(repro, cwd=copied.root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not put under DVC" not in done.stdout
    assert set(pointers(copied.root)) == {"001-zero-one.dvc", "002-two-three.dvc"}


class TestAnOldTaskNeverChanges:
    """The hash of an old task's files, as DVC knows it, is the same whatever comes later."""

    def test_when_a_task_is_added(self, copied: Run) -> None:
        sync(copied)
        before = pointers(copied.root)
        add(copied.root, more(copied.root))
        after = pointers(copied.root)
        assert after.keys() - before.keys() == {"003-more.dvc"}
        assert {name: after[name] for name in before} == before
        assert changed(copied.root) == set()

    @pytest.mark.parametrize("file", ["delta.safetensors", "record.json", "recall.json", "seconds.json"])
    def test_a_changed_byte_is_seen_and_not_taken_over(self, copied: Run, file: str) -> None:
        sync(copied)
        before = pointers(copied.root)
        path = copied.task_folder(1) / file
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        assert changed(copied.root) == {"001-zero-one.dvc"}
        sync(copied)
        assert pointers(copied.root) == before


def test_what_a_killed_process_left_undone_is_made_good(copied: Run) -> None:
    """Killed before the first pointer, or while it wrote one."""
    note = Keeping()
    version(copied, note.note)
    whole = pointers(copied.root)
    for file in (copied.root / "checkpoints" / "tiny").glob("*.dvc"):
        file.unlink() if file.name.startswith("001") else file.write_bytes(b"")
    version(copied, note.note)
    assert pointers(copied.root) == whole
    assert note.notes == []


def test_again_nothing_is_written(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sync(copied)
    monkeypatch.setattr("flows.versioning.sync.opened_repository", lambda _: pytest.fail("DVC was opened"))
    sync(copied)


def test_only_the_first_task_is_checked_against_the_whole_project(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each task would cost as much as all tasks before it have pointer files."""
    from dvc.repo.index import Index

    sync(copied)
    (copied.root / "checkpoints/tiny/002-two-three.dvc").unlink()
    monkeypatch.setattr(Index, "from_repo", lambda *_, **__: pytest.fail("all pointer files were read"))
    sync(copied)
    (copied.root / "checkpoints/tiny/001-zero-one.dvc").unlink()
    with pytest.raises(pytest.fail.Exception, match="all pointer files were read"):
        sync(copied)


def test_a_run_that_a_pipeline_owns_is_left_to_it(copied: Run) -> None:
    (copied.root / "dvc.yaml").write_text("stages: {learn: {cmd: 'true', outs: [checkpoints/tiny]}}\n")
    note = Keeping()
    version(copied, note.note)
    assert pointers(copied.root) == {}
    assert "not put under DVC yet" in note.notes[0] and "overlap" in note.notes[0]


def test_files_stay_the_files_that_were_written(copied: Run) -> None:
    """They are not replaced by links to the cache, even where the user asks for links."""
    with (copied.root / ".dvc" / "config").open("a") as config:
        config.write("['cache']\n    type = symlink\n")

    def files() -> dict[Path, tuple[int, ...]]:
        found = {path: path.lstat() for path in copied.folder.glob("*/*")}
        return {path: (stat.st_ino, stat.st_mode, stat.st_nlink, stat.st_mtime_ns) for path, stat in found.items()}

    before = files()
    sync(copied)
    assert files() == before
    repo_of(copied.root).checkout(relink=True)
    assert files() != before


@pytest.mark.parametrize("link", ["symlink", "hardlink"])
def test_read_only_links_recall_and_are_learned_on(copied: Run, link: str) -> None:
    """What `dvc pull` and `dvc checkout` leave where the user asks for links."""
    with (copied.root / ".dvc" / "config").open("a") as config:
        config.write(f"['cache']\n    type = {link}\n")
    sync(copied)
    repo_of(copied.root).checkout(relink=True)
    linked = copied.task_folder(1) / "delta.safetensors"
    assert linked.is_symlink() or linked.stat().st_nlink == 2
    before = pointers(copied.root)
    add(copied.root, more(copied.root))
    assert cpg("audit", "tiny", "--root", copied.root).exit_code == 0
    assert before.items() < pointers(copied.root).items()
    assert changed(copied.root) == set()


class TestItNeverFails:
    """Learning goes on whatever ails DVC; the next time makes it good."""

    def test_while_another_process_holds_the_lock(self, copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("flows.versioning.sync.PATIENCE", 0.0)
        monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0.1)
        note = Keeping()
        with repo_of(copied.root).lock:
            version(copied, note.note)
            assert pointers(copied.root) == {}
        version(copied, note.note)
        assert len(pointers(copied.root)) == 2
        (told,) = note.notes
        assert "not put under DVC yet (Unable to acquire lock" in told

    def test_where_there_is_no_git(self, copied: Run) -> None:
        shutil.rmtree(copied.root / ".git")
        note = Keeping()
        version(copied, note.note)
        assert "not put under DVC yet" in note.notes[0] and "git" in note.notes[0]

    @pytest.mark.parametrize("place", [".dvc/cache", ".dvc/tmp"])
    def test_where_dvc_may_not_write(self, copied: Run, place: str) -> None:
        """The user who runs the tests may write everywhere: so there is a file where a folder should be."""
        shutil.rmtree(copied.root / place, ignore_errors=True)
        (copied.root / place).write_text("")
        note = Keeping()
        version(copied, note.note)
        assert pointers(copied.root) == {}
        assert "not put under DVC yet" in note.notes[0]

    def test_where_there_is_no_dvc(self, tmp_path: Path, project: Path) -> None:
        assert choose_version(tmp_path) is unversioned
        assert choose_version(project) is version

    def test_a_lock_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from dvc.lock import LockError

        tries = iter([LockError("held"), LockError("held"), "done"])

        def work() -> str:
            found = next(tries)
            if isinstance(found, LockError):
                raise found
            return found

        monkeypatch.setattr("flows.versioning.sync.PATIENCE", HANG)
        assert patiently(work) == "done"
        with pytest.raises(StopIteration):  # anything else is not tried again
            patiently(work)


def test_a_colleague_clones_pulls_audits_and_goes_on(copied: Run, tmp_path: Path) -> None:
    """One delta a task goes up, and one comes down."""
    here, there = copied.root, tmp_path / "colleague"
    sync(copied)
    assert repo_of(here).push() == 2 * A_TASK
    commit(here)

    clone(here, there)
    before = cpg("audit", "tiny", "--root", there)
    assert before.exit_code == 2, before.output
    assert "dvc pull" in before.stderr and "001-zero-one, 002-two-three" in before.stderr
    assert repo_of(there).pull()["stats"]["fetched"] == 2 * A_TASK
    assert "4 checks, none failed" in cpg("audit", "tiny", "--root", there).stdout

    add(here, more(here))
    assert repo_of(here).push() == A_TASK
    commit(here)
    git(there, "pull", "--quiet")
    assert repo_of(there).pull()["stats"]["fetched"] == A_TASK
    assert "6 checks, none failed" in cpg("audit", "tiny", "--root", there).stdout
    assert frozen_bytes(open_run(there, "tiny")) == frozen_bytes(open_run(here, "tiny"))

    task = more(tmp_path, "other", "'5', '6'")
    add(there, task)
    assert repo_of(there).push() == A_TASK
    add(here, task)
    assert pointers(here).keys() == pointers(there).keys()
    assert frozen_bytes_but_pointers(open_run(there, "tiny")) == frozen_bytes_but_pointers(open_run(here, "tiny"))


def test_a_run_that_is_not_all_here_is_not_begun_anew(copied: Run) -> None:
    sync(copied)
    shutil.rmtree(copied.task_folder(2))
    for ask in (
        lambda: run_of_request(tiny_request(), copied.root),
        lambda: cpg("add", "tiny", more(copied.root), "--root", copied.root, "--plain"),
        lambda: cpg("show", "tiny", "--root", copied.root),
    ):
        try:
            told = ask().stderr
        except CpgError as error:
            told = str(error)
        assert "not on this disk: 002-two-three" in told
    repo_of(copied.root).checkout(targets=[str(copied.folder)], recursive=True)
    assert run_of_request(tiny_request(), copied.root).frozen() == 2


class TestData:
    """Downloaded data are under DVC; what lies elsewhere is left alone."""

    @pytest.fixture
    def download(self, project: Path) -> Callable[..., Path]:
        def write(name: str, content: str) -> Path:
            file = project / "data" / "raw" / name / "train-0.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            (file.parent / ".cache").mkdir(exist_ok=True)
            (file.parent / ".cache" / "times").write_text(str(file.stat().st_mtime_ns))
            return file.parent

        return write

    def test_a_pointer_for_each_download(self, project: Path, tmp_path: Path, download: Callable[..., Path]) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        inner = download("images/mine", "a")
        version_data(project, [download("cifar", "b"), inner, elsewhere], pytest.fail)
        assert {path.name for path in (project / "data" / "raw").glob("*.dvc")} == {"cifar.dvc", "images.dvc"}
        first = (project / "data/raw/cifar.dvc").read_bytes()
        assert b"nfiles: 1\n" in first  # what the hub notes beside it is left out
        version_data(project, [download("cifar", "b")], pytest.fail)
        assert (project / "data/raw/cifar.dvc").read_bytes() == first
        version_data(project, [download("cifar", "c")], pytest.fail)
        assert (project / "data/raw/cifar.dvc").read_bytes() != first
        assert changed(project) == set()

    def test_it_never_fails(self, project: Path, download: Callable[..., Path]) -> None:
        note = Keeping()
        shutil.rmtree(project / ".git")
        version_data(project, [download("cifar", "b")], note.note)
        assert "not put under DVC" in note.notes[0]

    def test_prepare_tells_the_images_and_a_colleague_pulls_them(
        self, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        raw = project / "data" / "raw" / "mine"
        draw(raw, shade=0)
        sequence = project / "mine.yaml"
        sequence.write_text(
            "name: mine\nbackbone: digits_cnn\nprofile: digits\nsource: {kind: folder, folder: data/raw/mine}\n"
            "tasks: [{name: pets, classes: [cat, dog]}]\n"
        )
        (project / "params.yaml").write_text("profiles: {}\n")
        monkeypatch.chdir(project)
        assert cpg("prepare", sequence, "--root", project).stdout.endswith("data/prepared/mine.json\n")
        written = (project / "data/prepared/mine.json").read_bytes()
        assert json.loads(written)["pets"].items() >= {"classes": ["cat", "dog"], "train": 4, "test": 2}.items()
        repo_of(project).push()
        commit(project)

        there = clone(project, tmp_path / "colleague")
        monkeypatch.chdir(there)
        missing = cpg("prepare", "mine.yaml", "--root", there)
        assert missing.exit_code == 2 and "no such folder" in missing.stderr
        repo_of(there).pull()
        (there / "data/prepared/mine.json").unlink()
        assert cpg("prepare", "mine.yaml", "--root", there).exit_code == 0
        assert (there / "data/prepared/mine.json").read_bytes() == written
        draw(there / "data" / "raw" / "mine", shade=1)
        assert cpg("prepare", "mine.yaml", "--root", there).exit_code == 0
        assert (there / "data/prepared/mine.json").read_bytes() != written
        assert changed(there) == set()

    def test_prepare_leaves_data_elsewhere_alone(self, project: Path) -> None:
        assert cpg("prepare", "digits-5", "--root", project).exit_code == 0
        content = json.loads((project / "data/prepared/digits-5.json").read_text())
        assert content["zero-one"]["classes"] == ["0", "1"] and content["zero-one"]["train"] == 288
        assert not (project / "data" / "raw").exists()


def draw(folder: Path, shade: int) -> None:
    """Four small images to train on and two to test on."""
    for number, part in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for copy in range(2 if part.startswith("train") else 1):
            Image.new("L", (8, 8), 60 * number + 10 * copy + shade).save(folder / part / f"{copy}.png")
