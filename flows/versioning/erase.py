"""What DVC keeps of a forgotten task: copies of files in its cache and its remote, by their hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cpg_core.errors import CpgError
from cpg_core.storage.run import Run
from flows.versioning.dvc_pointers import pointer, versioned
from flows.versioning.sync import is_repository, opened_repository

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_objects.db import ObjectDB

FOLDER = ".dir"
"""How the hash of a folder ends; its object is a JSON list of the files in it."""


@dataclass(frozen=True)
class Copies:
    """Copies of files by their hashes.

    Attributes:
        hashes: those of a task's files and folders.
        remote: the name of the remote that DVC pushes to; None: there is none.
    """

    hashes: tuple[str, ...] = ()
    remote: str | None = None


@dataclass
class Erased:
    """What became of copies.

    Attributes:
        deleted: how many there were that are gone.
        used: hashes that other pointers need, by the pointer: they stay.
    """

    deleted: int = 0
    used: dict[str, list[str]] = field(default_factory=dict)


def copies_of(run: Run, first: int) -> Copies:
    """What DVC holds of the frozen tasks from number `first` on."""
    folders = [run.task_folder(index).resolve() for index in range(first, run.frozen() + 1)]
    if not is_repository(run.root) or not any(versioned(folder) for folder in folders):
        return Copies()
    with opened_repository(run.root) as repo:
        found = {name for folder in folders if versioned(folder) for name in _hashes(repo, pointer(folder))}
        found |= {hashlib.md5(file.read_bytes()).hexdigest() for folder in folders for file in folder.iterdir()}
        return Copies(tuple(sorted(found)), repo.config["core"].get("remote"))


def erase_cached(root: Path, hashes: Iterable[str]) -> Erased:
    """Delete objects from DVC's cache, but for those that a pointer in the project names."""
    with opened_repository(root) as repo:
        return _erase(repo, repo.cache.local, hashes)


def erase_pushed(root: Path, hashes: Iterable[str]) -> Erased:
    """Delete objects from the default remote, but for those that a pointer in the project names.

    Raises:
        Exception: DVC's, where the remote cannot be reached.
    """
    with opened_repository(root) as repo:
        return _erase(repo, repo.cloud.get_remote_odb(), hashes)


def _erase(repo: Repo, store: ObjectDB, hashes: Iterable[str]) -> Erased:
    erased, used = Erased(), _used(repo)
    for name in hashes:
        if name in used:
            erased.used.setdefault(used[name], []).append(name)
            continue
        if store.exists(name):
            store.delete(name)
            erased.deleted += 1
    return erased


def _used(repo: Repo) -> dict[str, str]:
    """Every hash that a pointer of the project names, and by which pointer.

    Raises:
        CpgError: what is in a task's folder that one names cannot be told, since it is not in the cache.
    """
    found: dict[str, str] = {}
    root = Path(repo.root_dir)
    for out in repo.index.outs:
        told, pointer_file = out.hash_info.value, str(Path(out.stage.path).relative_to(root))
        of_a_task = told is not None and told.endswith(FOLDER) and pointer_file.startswith("checkpoints/")
        if of_a_task and not Path(repo.cache.local.oid_to_path(told)).exists():
            raise CpgError(f"which copies {pointer_file} needs is not known here; dvc pull {pointer_file}")
        for name in () if told is None else _with_content(repo, told):
            found.setdefault(name, pointer_file)
    return found


def _hashes(repo: Repo, file: Path) -> Iterator[str]:
    """Of a pointer file: its folder's, and those of the files in it."""
    for out in repo.stage.load_file(str(file))[0].outs:
        if out.hash_info.value is not None:
            yield from _with_content(repo, out.hash_info.value)


def _with_content(repo: Repo, name: str) -> Iterator[str]:
    yield name
    if name.endswith(FOLDER):
        with suppress(OSError, ValueError):  # not in the cache
            content = json.loads(Path(repo.cache.local.oid_to_path(name)).read_text(encoding="utf-8"))
            yield from (entry["md5"] for entry in content)
