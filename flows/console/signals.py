"""Ctrl-C and SIGTERM as a wish to stop, which training grants at the next batch with its state saved."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ACKNOWLEDGED = "stopping: the state is being saved. Ctrl-C again stops at once, and loses what came after the last save"

WISHES = (signal.SIGINT, signal.SIGTERM)
HANDLERS_TURN = 0.1
"""Seconds in which a handler may acknowledge a signal itself."""


def to_stderr(message: str) -> None:
    """Write a line past Python's buffers, which a signal may have met half-written."""
    with suppress(OSError):
        os.write(2, f"{message}\n".encode())


@contextmanager
def acknowledged(message: str) -> Iterator[None]:
    """Say at once that Ctrl-C was heard, inside a block that has nothing to save and may take seconds to be left.

    What is imported meanwhile may take the `KeyboardInterrupt` for an error, or for nothing (pydantic does the first).

    Raises:
        KeyboardInterrupt: however the block ends, once Ctrl-C was heard.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = False

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  (how handlers are called)
        nonlocal heard
        if not heard:
            to_stderr(message)
        heard = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except BaseException:
        if not heard:
            raise
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


class Stop:
    """Whether somebody asked to stop.

    Attributes:
        requested: whether a signal came.
        acknowledge: told at once that the signal was heard; in a worker, which nobody watches, it says nothing.
    """

    def __init__(self, acknowledge: Callable[[str], None] = lambda _: None) -> None:
        self.requested = False
        self.acknowledge = acknowledge
        self._told, self._telling = threading.Event(), threading.Lock()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the two signals as a wish to stop inside the block.

        Blocks nest: Prefect puts its own SIGTERM handler in place whenever a flow begins, so each flow listens anew.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        before = {number: signal.signal(number, self._ask) for number in WISHES}
        try:
            with self._watched():
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (how handlers are called)
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: at once, losing what came after the last save
        if not self.requested:
            self.requested = True
            self._tell()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Let a thread acknowledge a signal that meets this one in the middle of an operation of PyTorch.

        Python runs a handler between two operations, of which one may take seconds; the byte comes at once.
        """
        wakes, bytes_of_signals = socket.socketpair()
        bytes_of_signals.setblocking(False)
        before = signal.set_wakeup_fd(bytes_of_signals.fileno(), warn_on_full_buffer=False)
        watcher = threading.Thread(target=self._watch, args=(wakes,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            bytes_of_signals.close()
            watcher.join()
            wakes.close()

    def _watch(self, wakes: socket.socket) -> None:
        while numbers := wakes.recv(64):
            if set(WISHES).intersection(numbers) and not self._told.wait(HANDLERS_TURN):
                self._tell()

    def _tell(self) -> None:
        """Acknowledge, if nobody has or is about to: the thread that was interrupted must not wait for the other."""
        if self._told.is_set() or not self._telling.acquire(blocking=False):
            return
        try:
            self.acknowledge(ACKNOWLEDGED)
            self._told.set()
        finally:
            self._telling.release()
