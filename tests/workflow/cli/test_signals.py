"""Ctrl-C is acknowledged as it comes, and asks twice before anything is lost."""

from __future__ import annotations

import ctypes
import os
import signal
import threading

import pytest
from rich.progress import Progress
from waiting import HANG

from cpg_core.storage.run import Run
from flows.console.signals import ACKNOWLEDGED, Stop, acknowledged
from flows.console.terminal import Bars, on_terminal


def test_a_signal_is_acknowledged_once() -> None:
    told: list[str] = []
    stop = Stop(told.append)
    with stop.listening():
        assert told == []
        os.kill(os.getpid(), signal.SIGINT)
        assert (stop.requested, told) == (True, [ACKNOWLEDGED])
        os.kill(os.getpid(), signal.SIGTERM)
        assert told == [ACKNOWLEDGED]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_it_is_acknowledged_while_the_main_thread_is_inside_an_operation() -> None:
    """Which ends once it is acknowledged: no handler could run before, since the call begins anew after a signal."""
    reads, writes = os.pipe()
    stop, found = Stop(lambda _: os.write(writes, b"told")), ctypes.create_string_buffer(4)
    late = threading.Timer(HANG, os.write, (writes, b"late"))
    late.start()
    with stop.listening():
        signal.siginterrupt(signal.SIGINT, False)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        ctypes.CDLL(None).read(reads, found, 4)
        assert stop.requested
    late.cancel()
    assert found.raw == b"told"


@pytest.mark.parametrize("end", ["raised", "taken for an error", "taken for nothing"])
def test_ctrl_c_in_a_start_ends_it_whatever_becomes_of_it(end: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), acknowledged("heard"):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as error:
            if end == "raised":
                raise
            if end == "taken for an error":
                raise ValueError("cannot be serialized") from error
    assert capfd.readouterr().err == "heard\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_in_a_start_stays_one(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="of another kind"), acknowledged("heard"):
        raise ValueError("of another kind")
    assert capfd.readouterr().err == ""


def test_a_worker_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with Stop().listening():
        os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr() == ("", "")


def test_where_there_is_no_terminal_it_is_a_line(unbroken: Run, capfd: pytest.CaptureFixture[str]) -> None:
    stop = Stop()
    with on_terminal(unbroken, stop), stop.listening():
        os.kill(os.getpid(), signal.SIGINT)
        assert capfd.readouterr().err == f"{ACKNOWLEDGED}\n"


def test_a_print_that_was_cut_into_loses_no_word(
    unbroken: Run, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def reentered(*_: object, **__: object) -> None:
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")

    progress = Progress()
    monkeypatch.setattr(progress.console, "print", reentered)
    Bars(unbroken, Stop(), progress).acknowledge(ACKNOWLEDGED)
    assert capfd.readouterr().err == f"{ACKNOWLEDGED}\n"
