"""Ctrl-C and SIGTERM as a wish to stop, which training grants at the next batch with its state saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the two signals as a wish to stop inside the block.

        Blocks nest: Prefect puts its own SIGTERM handler in place whenever a flow begins, so each flow listens anew.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (how handlers are called)
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: at once, losing at most the epoch
        self.requested = True
