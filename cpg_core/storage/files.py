"""Files that are whole or not there: written aside, synced and renamed; read back only if their hash agrees."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from cpg_core.config.schema import check, only_unknown_keys
from cpg_core.errors import CpgError, advice
from cpg_core.model.layers import Layers

M = TypeVar("M", bound=BaseModel)
SEAL = "sealed_sha256"
RESTORE = "bring back this file from a copy (dvc pull; run.json: git checkout)"
LEFTOVERS = (".*.part", ".tmp??????")


class Damaged(CpgError):
    """A file that is missing, cut short, or not the bytes that its record names."""


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hex.

    Raises:
        Damaged: the file is not there or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> Damaged:
    return Damaged(f"{path}: cannot be read: {error.strerror}; {advice(error, RESTORE)}")


def hash_of(content: object) -> str:
    """SHA-256 of a JSON value, as hex."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, content: dict[str, Any], *, sync: bool = True) -> None:
    """Write a sealed JSON file: keys sorted, so that the same content gives the same bytes, and its own hash in it."""
    write_bytes(path, _canonical({**content, SEAL: _seal(content)}).encode(), sync=sync)


def read_json(path: Path) -> dict[str, Any]:
    """The content of a sealed JSON file.

    Raises:
        Damaged: missing, unreadable, or not what was written.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise Damaged(f"{path}: not valid JSON ({error}); {RESTORE}") from error
    if not isinstance(content, dict) or content.pop(SEAL, None) != _seal(content):
        raise Damaged(f"{path}: not the content that was written; {RESTORE}")
    return content


def read_record(path: Path, model: type[M], context: dict[str, object] | None = None) -> M:
    """The typed record in a JSON file; its validators see the context.

    Raises:
        Damaged: missing, unreadable, or not such a record.
        CpgError: it is what was written, and has keys that are not known.
    """
    content = read_json(path)
    try:
        return check(content, model, str(path), context)
    except CpgError as error:
        if only_unknown_keys(error):
            raise CpgError(f"{error}\n{path}: written by another version of cpg, which is needed to read it") from error
        raise Damaged(str(error)) from error


def write_tensors(path: Path, tensors: Layers, *, sync: bool = True) -> str:
    """Write tensors as safetensors (moved to the CPU, standard layout) and return the SHA-256 of what was written."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    found = list[str]()

    def write(aside: Path) -> None:
        save_file(ready, aside)
        found.append(sha256(aside))  # once it has its name, another process may put another file in its place

    _replace(path, write, sync)
    return found[0]


def write_bytes(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file as it is."""
    _replace(path, lambda aside: _write_bytes(aside, content), sync)


def write_by(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file by a function that is given a place aside; where it raises, nothing is left of it.

    What processes that were killed have left of this file is removed first: nothing else sweeps its folder.
    """
    sweep_of([path])
    _replace(path, write, sync=True)


def read_tensors(path: Path, expected_sha256: str) -> Layers:
    """The tensors in a safetensors file, in the order in which they lie there.

    Raises:
        Damaged: the file is not there, or its bytes are not those that were written.
    """
    try:
        content = path.read_bytes()  # once: another process may put another file in its place meanwhile
    except OSError as error:
        raise _unreadable(path, error) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected_sha256:
        raise Damaged(
            f"{path}: damaged: its SHA-256 is {found[:12]}..., the record says {expected_sha256[:12]}...; {RESTORE}"
        )
    tensors = load(content)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return {name: tensors[name] for name in sorted(tensors, key=lambda name: (header[name]["data_offsets"], name))}


def sweep(folder: Path) -> None:
    """Remove what writers that were killed left in a folder and those inside it, whatever depth.

    `.NAME.PID.part` is a file of ours that was not renamed yet, `.tmpXXXXXX` one that safetensors had not.

    Raises:
        CpgError: one cannot be removed.
    """
    with disk_errors(folder):
        for pattern in LEFTOVERS:
            for leftover in folder.rglob(pattern):
                leftover.unlink(missing_ok=True)


def sweep_of(files: Iterable[Path]) -> None:
    """Remove what writers of these files that have ended left beside them, and nothing of others or of other files.

    Raises:
        CpgError: one cannot be removed.
    """
    names: dict[Path, set[str]] = {}
    for file in files:
        names.setdefault(file.parent, set()).add(file.name)
    for folder, known in names.items():
        with disk_errors(folder):
            for leftover in folder.glob(".*.part"):
                name, _, process = leftover.name[1:].removesuffix(".part").rpartition(".")
                if name in known and process.isdecimal() and not _runs(int(process)):
                    leftover.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether a process of that number runs on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _canonical(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _replace(path: Path, write: Callable[[Path], None], sync: bool) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            mode = _mode_of_a_new_file(aside)
            write(aside)
            if aside.stat().st_mode != mode:  # safetensors makes its files readable by their owner alone
                aside.chmod(mode)
            if sync:
                _sync(aside)
            aside.replace(path)
            if sync:
                _sync(path.parent)
        finally:
            aside.unlink(missing_ok=True)


def _mode_of_a_new_file(path: Path) -> int:
    """The mode that `open` gives a file here: what the umask, or the folder's own rules, leave of 0666."""
    path.unlink(missing_ok=True)
    path.touch()
    return path.stat().st_mode


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path, depth: int = -1) -> None:
    """Bring a folder to disk with all that is in it, files and folders; with depth 0 its own entries alone."""
    for inner in folder.iterdir() if depth else ():
        if inner.is_symlink():
            continue
        if inner.is_dir():
            sync_tree(inner, depth - 1)
        elif inner.is_file():
            _sync(inner)
    _sync(folder)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Tell a fault of the disk inside the block in words.

    Raises:
        CpgError: naming `path` and the cause.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        cause = "the disk is full" if full else str(error)
        raise CpgError(f"{path}: cannot be written: {cause}; mend the cause and give the same command again") from error


def as_bytes(tensor: torch.Tensor) -> bytes:
    """A tensor's bytes in standard layout, little-endian, whatever its type."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def digest(tensor: torch.Tensor) -> str:
    """SHA-256 of a tensor's bytes in standard layout, as hex: equal exactly when `torch.equal` and no NaN."""
    return hashlib.sha256(as_bytes(tensor)).hexdigest()
