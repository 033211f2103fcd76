"""A pointer file names the four files of a task and nothing else."""

from __future__ import annotations

import shutil

import pytest

from cpg_core.errors import CpgError
from cpg_core.storage.manage import rename
from cpg_core.storage.run import Run
from cpg_core.storage.runs import branch
from flows.versioning.dvc_pointers import require_here
from flows.versioning.sync import version
from workflow.listeners import Keeping
from workflow.versioning.project import changed, pointers

FILES = {"delta.safetensors", "record.json", "recall.json", "seconds.json"}


@pytest.mark.parametrize("stray", [".tmpa1B2c3", ".record.json.x.part"])
def test_a_pointer_names_the_four_files_of_a_task(copied: Run, stray: str) -> None:
    """What a killed process left beside them is deleted, since a pointer never changes again."""
    (copied.task_folder(1) / stray).write_bytes(b"half")
    note = Keeping()
    version(copied, note.note)
    assert note.notes == []
    assert "nfiles: 4\n" in (copied.folder / "001-zero-one.dvc").read_text()
    assert {path.name for path in copied.task_folder(1).iterdir()} == FILES
    assert changed(copied.root) == set()


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_task_of_other_files_gets_no_pointer(copied: Run, file: str) -> None:
    """Neither with a file too many nor, but for its record, without which it is not frozen, with one too few."""
    extra, last = copied.task_folder(2) / "notes.txt", copied.task_folder(2) / file
    extra.write_text("mine")
    note = Keeping()
    version(copied, note.note)
    assert set(pointers(copied.root)) == {"001-zero-one.dvc"} and "notes.txt" in note.notes[0]
    assert extra.exists()
    extra.unlink()
    last.unlink()
    version(copied, note.note)
    assert set(pointers(copied.root)) == {"001-zero-one.dvc"}
    assert len(note.notes) == (1 if file == "record.json" else 2)


def test_a_branch_is_not_here_while_its_base_is_not(copied: Run) -> None:
    branch(copied, "zero-one", "side")
    version(copied, Keeping().note)
    shutil.rmtree(copied.task_folder(1))
    with pytest.raises(CpgError, match=r"not on this disk: 001-zero-one.*dvc pull -R .*checkpoints/tiny"):
        require_here(copied.root, "side")


def test_a_branch_adds_pointers_of_its_own_tasks_alone(copied: Run) -> None:
    made = branch(copied, "two-three", "side")
    version(made, Keeping().note)
    assert set(pointers(copied.root)) == {"001-zero-one.dvc", "002-two-three.dvc"}
    assert [path.name for path in made.folder.iterdir()] == ["run.json"]


def test_a_branch_that_takes_the_old_name_of_its_base_is_here(copied: Run) -> None:
    """Its `run.json` names the base as it was called, which it is called itself now."""
    branch(copied, "zero-one", "side")
    rename(copied.root, "tiny", "old")
    rename(copied.root, "side", "tiny")
    require_here(copied.root, "tiny")
    require_here(copied.root, "old")
