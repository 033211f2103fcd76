"""What a run records of where it was learned: the commit, and whether the tree was as committed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cpg_core.machine import git_commit


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@localhost")
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    return tmp_path


def test_a_repository_without_commits_has_none(repository: Path) -> None:
    assert git_commit(repository) is None


def test_outside_a_repository_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit(tmp_path) is None


def test_a_changed_tree_is_marked(repository: Path) -> None:
    code = repository / "code.py"
    code.write_text("one")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "one")
    git(repository, "tag", "-a", "v1", "-m", "one")
    commit = git(repository, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert git_commit(repository) == commit
    (repository / "results").write_text("untracked")
    assert git_commit(repository) == commit
    code.write_text("two")
    assert git_commit(repository) == f"{commit}-dirty"
