"""Waiting for what other processes do: for the event itself, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

HANG = 600.0
"""Seconds after which nothing is expected any more: the one limit of every wait, which only a hang reaches."""


def until(holds: Callable[[], bool], what: str = "", ended: Callable[[], bool] = lambda: False) -> None:
    """Wait until something is so.

    Args:
        holds: asked again and again.
        what: is waited for, in the words of the error.
        ended: whether that which should bring it about is gone, so that it cannot come any more.
    """
    deadline = time.monotonic() + HANG
    while not holds():
        assert not ended(), f"{what or 'what was waited for'}: ended by itself"
        assert time.monotonic() < deadline, f"{what or 'what was waited for'}: not in {HANG:g} s"
        time.sleep(0.1)
