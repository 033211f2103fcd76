"""A line while a command's packages are imported, which takes seconds before anything else can be shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

LOADING = "loading ..."
ERASE = "\r\x1b[K"
"""Takes the line that a terminal is in away."""


@contextmanager
def loading() -> Iterator[None]:
    """Says so on a terminal, inside the block; nothing where output goes to a file. Imports nothing that is slow."""
    if not sys.stderr.isatty():
        yield
        return
    sys.stderr.write(LOADING)
    sys.stderr.flush()
    try:
        yield
    finally:
        sys.stderr.write(ERASE)
        sys.stderr.flush()
