"""Blocks of images that were read, in a folder of the work in progress."""

from __future__ import annotations

import hashlib
import mmap
import resource
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cpg_core.errors import CpgError
from cpg_core.storage.files import write_bytes

LEAST_FREE = 2 * 2**30
"""Bytes that stay free on the disk: what is learned needs them more."""
OPEN_FILES = 256
"""That a process may need beside the blocks; each block that is mapped holds one open."""
SEALED = 65
"""Bytes before a block's own: its seal, in hexadecimal, and the end of the line."""


@dataclass(frozen=True)
class KeptBlocks:
    """Keeps blocks as files, each behind the SHA-256 of itself, its key and the code that made it.

    A file that is damaged, or of another key or code, is taken for none; a disk that is full or read-only keeps none.
    Once this process may open few more files, it finds none.

    Attributes:
        folder: where.
        code: the hash of the code that reads images.
    """

    folder: Path
    code: str

    def get(self, name: str, key: str) -> memoryview | None:
        """As of a `Keep`."""
        if _files_left() < OPEN_FILES:
            return None
        try:
            with (self.folder / name).open("rb") as file:
                whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):  # of which the latter is an empty file
            return None
        seal, content = bytes(whole[:SEALED]), whole[SEALED:]
        return content if seal == self._seal(key, content) + b"\n" else None

    def put(self, name: str, key: str, content: bytes) -> None:
        """As of a `Keep`."""
        with suppress(OSError, CpgError):
            self.folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.folder).free > LEAST_FREE + len(content):
                write_bytes(self.folder / name, self._seal(key, content) + b"\n" + content, sync=False)

    def _seal(self, key: str, content: bytes | memoryview) -> bytes:
        hasher = hashlib.sha256(f"{self.code} {key}\n".encode())
        hasher.update(content)
        return hasher.hexdigest().encode()


def _files_left() -> int:
    """How many more files this process may open, its own limit raised to the system's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit = hard if hard != resource.RLIM_INFINITY else OPEN_FILES << 16
    return limit - sum(1 for _ in Path("/proc/self/fd").iterdir())
