"""A run's lock where there can be none: told with its cause."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from cpg_core.errors import CpgError
from cpg_core.storage.lock import delete_work, locked


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(CpgError, match=rf"work/tiny/lock: this file system has no locks \({os.strerror(code)}\)"),
        locked(tmp_path / "work" / "tiny"),
    ):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file")
    with pytest.raises(CpgError, match="work/tiny/lock: cannot be written"), locked(tmp_path / "work" / "tiny"):
        pass


def test_work_is_deleted_though_its_lock_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As over NFS, where a file that is open stays under another name."""
    (tmp_path / "tiny/001-a").mkdir(parents=True)
    (tmp_path / "tiny/shared.json").touch()
    remove = os.unlink

    def keep_the_lock(path: str, **where: int) -> None:
        if Path(path).name == "lock":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        remove(path, **where)

    monkeypatch.setattr(os, "unlink", keep_the_lock)
    with locked(tmp_path / "tiny"):
        delete_work(tmp_path / "tiny")
    assert [file.name for file in (tmp_path / "tiny").iterdir()] == ["lock"]


def test_it_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path / "tiny"), pytest.raises(CpgError, match="another process"), locked(tmp_path / "tiny"):
            pass
