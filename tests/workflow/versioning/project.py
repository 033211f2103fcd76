"""A folder under git and DVC as this project is, for tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from core.tiny import ROOT

if TYPE_CHECKING:
    from dvc.repo import Repo

SHIPPED = (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore")


def git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def repo_of(root: Path) -> Repo:
    from dvc.repo import Repo

    return Repo(str(root))


def make_project(root: Path) -> Path:
    """A folder with the ignore files and the DVC settings of this project, in git."""
    for name in SHIPPED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    git(root, "init", "--quiet")
    commit(root)
    return root


def commit(root: Path) -> None:
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "as it is")


def clone(of: Path, to: Path) -> Path:
    """As a colleague clones it, and names the place that holds the data."""
    git(of, "clone", "--quiet", str(of), str(to))
    words = ("remote", "modify", "--local", "storage", "url", str(of / ".dvc-remote"))
    subprocess.run([sys.executable, "-m", "dvc", *words], cwd=to, check=True, capture_output=True)
    return to


def pointers(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "checkpoints").rglob("*.dvc"))}


def changed(root: Path) -> set[str]:
    """The pointer files whose folders are not what they name."""
    with repo_of(root) as repo:
        return {Path(name).name for name in repo.status()}
