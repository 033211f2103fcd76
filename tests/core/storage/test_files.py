"""A file is whole or not there, and a fault of the disk is told in words."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from waiting import HANG

from cpg_core.config.schema import Strict
from cpg_core.errors import CpgError
from cpg_core.storage import files
from cpg_core.storage.files import (
    Damaged,
    digest,
    read_json,
    read_record,
    read_tensors,
    sha256,
    write_json,
    write_tensors,
)


class Named(Strict):
    name: str


TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([True, False])}


def full_disk(*_arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_a_killed_writer_left_of_the_same_file_goes_with_the_next_one(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = tmp_path / f".x.onnx.{ended.pid}.part"
    stay = (
        f".x.onnx.{os.getppid()}.part",
        f".y.onnx.{ended.pid}.part",
        f".x.onnx.old.{ended.pid}.part",
        ".x.onnx.part",
    )
    for name in (gone.name, *stay):
        (tmp_path / name).touch()
    files.write_by(tmp_path / "x.onnx", lambda aside: aside.write_text("whole") and None)
    assert {path.name for path in tmp_path.iterdir()} == {"x.onnx", *stay}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = read_tensors(tmp_path / "x", write_tensors(tmp_path / "x", TENSORS))
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    write_json(tmp_path / "y.json", {"b": 1, "a": [0.1, None]})
    assert {"a": [0.1, None], "b": 1}.items() <= read_json(tmp_path / "y.json").items()


def test_a_tensor_is_stored_in_standard_layout_whatever_its_own(tmp_path: Path) -> None:
    image = torch.rand(2, 3, 4, 4)
    one = write_tensors(tmp_path / "one", {"a": image})
    two = write_tensors(tmp_path / "two", {"a": image.contiguous(memory_format=torch.channels_last)})
    assert one == two
    assert digest(image) == digest(image.contiguous(memory_format=torch.channels_last))
    assert digest(image) != digest(image + 1e-7)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "one", {"a": 1, "b": 2})
    write_json(tmp_path / "two", {"b": 2, "a": 1})
    assert sha256(tmp_path / "one") == sha256(tmp_path / "two")


@pytest.mark.parametrize("fails", ["_sync", "_write_bytes"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"old": 1})
    before = path.read_bytes()
    monkeypatch.setattr(files, fails, full_disk)
    with pytest.raises(CpgError, match=r"record\.json: cannot be written: the disk is full"):
        write_json(path, {"new": 2})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_tensor_file_that_fails_leaves_the_old_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    before = write_tensors(path, TENSORS)

    def half(_tensors: object, aside: Path) -> None:
        aside.write_bytes(b"half")
        full_disk()

    monkeypatch.setattr(files, "save_file", half)
    with pytest.raises(CpgError, match="the disk is full"):
        write_tensors(path, {"a": torch.zeros(9)})
    assert sha256(path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_that_is_always_full_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_write_bytes", lambda _, content: Path("/dev/full").write_bytes(content))
    with pytest.raises(CpgError, match="the disk is full"):
        write_json(tmp_path / "record.json", {"a": 1})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [lambda path: write_json(path, {}), lambda path: write_tensors(path, TENSORS)])
def test_a_file_is_on_disk_before_it_has_its_name_and_then_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], object]
) -> None:
    synced = list[tuple[bool, bool]]()
    monkeypatch.setattr(files, "_sync", lambda path: synced.append((path == tmp_path, (tmp_path / "file").exists())))
    write(tmp_path / "file")
    assert synced == [(False, False), (True, True)]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_every_file_has_the_mode_that_open_gives(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_tensors(tmp_path / "x.safetensors", TENSORS)
        write_json(tmp_path / "x.json", {})
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [mode, mode]


KILLED = """
import os, sys, threading, time, torch
from pathlib import Path
from cpg_core.storage.files import write_tensors
folder = Path(sys.argv[1])
def end():
    deadline = time.monotonic() + float(sys.argv[2])
    while not any(folder.glob(".tmp*")):
        if time.monotonic() > deadline:
            os._exit(8)
    os._exit(9)
threading.Thread(target=end).start()
tensors = {"a": torch.zeros(5_000_000)}
while True:
    write_tensors(folder / "delta.safetensors", tensors, sync=False)
"""
"""Writes until it ends itself with a file of safetensors beside the one that is written."""


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    task = tmp_path / "001-fish"
    task.mkdir()
    assert subprocess.run([sys.executable, "-c", KILLED, str(task), str(HANG)], check=False).returncode == 9
    left = [path.name for path in task.iterdir() if path.name.startswith(".")]
    assert any(name.startswith(".tmp") for name in left)
    (task / ".record.json.123.part").write_text("{")
    kept = [tmp_path / ".gitignore", tmp_path / "001-fish.dvc", task / "record.json"]
    for path in kept:
        path.write_text("")
    files.sweep(tmp_path)
    found = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert found - {task / "delta.safetensors"} == set(kept)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "in_the_way").write_text("a file")
    with pytest.raises(CpgError, match="in_the_way"):
        write_json(tmp_path / "in_the_way" / "record.json", {})


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"nul"])
def test_what_is_no_json_object_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(Damaged, match=r"record\.json"):
        read_json(tmp_path / "record.json")


def test_a_key_of_another_version_is_no_damage(tmp_path: Path) -> None:
    """What was written is there, to the byte; what it means only that version knows."""
    write_json(tmp_path / "a.json", {"name": "a", "later": 1})
    with pytest.raises(CpgError, match="written by another version of cpg, which is needed to read it") as error:
        read_record(tmp_path / "a.json", Named)
    assert not isinstance(error.value, Damaged)
    write_json(tmp_path / "a.json", {"name": 3, "later": 1})
    with pytest.raises(Damaged, match=r"a\.json: name"):
        read_record(tmp_path / "a.json", Named)


def test_what_is_missing_or_changed_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=r"gone\.json"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(Damaged, match="gone"):
        read_tensors(tmp_path / "gone", "0" * 64)
    found = write_tensors(tmp_path / "x", TENSORS)
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes() + b"\0")
    with pytest.raises(Damaged, match="SHA-256"):
        read_tensors(tmp_path / "x", found)


def test_what_is_returned_is_what_was_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process puts another file in its place in between."""
    path = tmp_path / "x"
    found = write_tensors(path, TENSORS)
    hashed = files.hashlib.sha256

    def then_replaced(content: bytes) -> object:
        write_tensors(path, {name: tensor + 1 for name, tensor in TENSORS.items()}, sync=False)
        return hashed(content)

    monkeypatch.setattr(files.hashlib, "sha256", then_replaced)
    read = read_tensors(path, found)
    assert all(torch.equal(read[name], tensor) for name, tensor in TENSORS.items())


def test_the_hash_of_what_is_written_is_of_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process puts another file in its place as soon as it has its name."""
    expected = write_tensors(tmp_path / "x", TENSORS)
    replace = Path.replace

    def then_replaced(aside: Path, target: Path) -> Path:
        made = replace(aside, target)
        target.write_bytes(b"another file")
        return made

    monkeypatch.setattr(Path, "replace", then_replaced)
    assert write_tensors(tmp_path / "x", TENSORS) == expected


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.EACCES, "change its rights"),
        (errno.EPERM, "change its rights"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "ulimit -n"),
        (errno.EIO, files.RESTORE),
        (errno.ENOENT, files.RESTORE),
    ],
)
def test_a_copy_is_advised_where_it_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    for way in ("open", "read_text", "read_bytes"):
        monkeypatch.setattr(Path, way, refuse)
    for read in (sha256, read_json, lambda path: read_tensors(path, "0" * 64)):
        with pytest.raises(Damaged, match=f"x: cannot be read: {os.strerror(code)}; ") as told:
            read(tmp_path / "x")
        assert advice in str(told.value)
        assert (files.RESTORE in str(told.value)) == (advice == files.RESTORE)


def test_a_tree_is_brought_to_disk_with_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "a" / "x", tmp_path / "y"):
        path.write_text("")
    (tmp_path / "a" / "link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # which cannot be opened without waiting
    synced = list[Path]()
    monkeypatch.setattr(files, "_sync", synced.append)
    files.sync_tree(tmp_path)
    assert set(synced) == {tmp_path, tmp_path / "a", tmp_path / "a" / "x", tmp_path / "y"}
    synced.clear()
    files.sync_tree(tmp_path, depth=0)
    assert synced == [tmp_path]


def test_a_number_that_json_does_not_know_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "record.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []
