"""A hash of the code that decides what is learned, so that a stage done by other code is done anew."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

AFTERWARDS = {
    "recall/metrics.py",
    "recall/audit.py",
    "recall/predictor.py",
    "training/reporter.py",
    "methods/__init__.py",
}
"""Files that cannot change what is learned: they read results, or name what a run's key holds anyway."""


@functools.cache
def code_sha256() -> str:
    """SHA-256 over the sources of this package that training depends on, as hex.

    Read once a process: what runs is the code as it was loaded, whatever is edited meanwhile.
    """
    package = Path(__file__).parents[1]
    hasher = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if name not in AFTERWARDS:
            hasher.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return hasher.hexdigest()
