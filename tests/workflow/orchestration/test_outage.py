"""A Prefect server that goes away while tasks are learned holds nothing up, and is shown later what it missed."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest
from core.tiny import frozen_bytes

from cpg_core.errors import CpgError
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from cpg_core.training.reporter import Interrupted, Reporter
from flows.console.reporters import Listen
from flows.console.signals import Stop
from workflow.asking import parameters, tiny_request
from workflow.conftest import learned
from workflow.listeners import Keeping
from workflow.shown import shown


class Line:
    """The line to a server, which can be cut and mended; a server that restarts looks the same from here."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._serve()

    def cut(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(("127.0.0.1", self._to))
                self._open += [here, there]
                for source, sink in ((here, there), (there, here)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65536):
            sink.sendall(content)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:  # noqa: ARG001
    from prefect.events.worker import EventsWorker
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    monkeypatch.setattr("flows.orchestration.task.RETRIES", 0)  # they take seconds
    line = Line(int(os.environ["PREFECT_API_URL"].split(":")[2].split("/")[0]))
    url = f"http://127.0.0.1:{line.port}/api"
    # A busy server says 503 now and then, which is no outage and passes; more retries would take seconds each.
    with temporary_settings(updates={PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 1}):
        yield line
    line.cut()
    # What tells the server of events would go on trying this line, and tell nothing of the tests that follow.
    with EventsWorker._instance_lock:
        EventsWorker._instances.clear()


class Acting(Keeping):
    """Does something as a stage of a task begins."""

    def __init__(self, acts: dict[tuple[str, str], Callable[[], None]]) -> None:
        super().__init__()
        self._acts = acts
        self.stop = False

    def stage_begins(self, task: str, stage: str, epochs: int) -> None:  # noqa: ARG002
        self._acts.pop((task, stage), lambda: None)()

    def stop_requested(self) -> bool:
        return self.stop

    def listen(self) -> Listen:
        @contextmanager
        def listening(run: Run, stop: Stop) -> Iterator[Reporter]:  # noqa: ARG001
            yield self

        return listening


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return learned(tmp_path_factory.mktemp("four"), tiny_request(tasks="1-4"))


def test_a_server_that_goes_away_and_comes_back_is_shown_what_it_missed(line: Line, tmp_path: Path, four: Run) -> None:
    """It is away from the middle of the second task to the middle of the third, which is learned without it."""
    from flows.orchestration.sequence import sequence_flow

    acts = {("two-three", "prune"): line.cut, ("four-five", "prune"): line.mend}
    acting = Acting(acts)
    state = sequence_flow(acting.listen())(**parameters(tiny_request(tasks="1-4"), tmp_path), return_state=True)
    assert state.name == "Completed", state
    assert frozen_bytes(open_run(tmp_path, "tiny")) == frozen_bytes(four)
    told = [note.split("(")[0] for note in acting.notes]
    away_and_back = ["Prefect cannot go on ", "the Prefect server answers again; what it missed is shown now"]
    assert told == away_and_back * max(1, len(told) // 2)  # on a busy machine it may be away once more by itself
    found = shown(state.state_details.flow_run_id)
    assert list(found) == ["zero-one", "two-three", "four-five", "six-seven"]
    assert {task.state for task in found["four-five"]} == {"Cached"}
    assert {task.state for task in found["six-seven"]} == ({"Completed"} if told == away_and_back else {"Cached"})
    assert len(found["four-five"]) == len(found["six-seven"])


def test_a_server_that_stays_away_leaves_a_run_that_is_learned(line: Line, tmp_path: Path, unbroken: Run) -> None:
    from flows.orchestration.outage import despite_outage
    from flows.orchestration.sequence import sequence_flow

    acting, told = Acting({("zero-one", "prune"): line.cut}), []
    with despite_outage(lambda: unbroken.frozen() == len(unbroken.spec.tasks), told.append):
        sequence_flow(acting.listen())(**parameters(tiny_request(), tmp_path))
    line.mend()
    assert frozen_bytes(open_run(tmp_path, "tiny")) == frozen_bytes(unbroken)
    assert told == ["note: Prefect does not know that this has ended, since its server is away"]


@pytest.mark.parametrize(("ended", "away", "raises"), [(True, True, False), (False, True, True), (True, False, True)])
def test_an_error_of_prefect_counts_unless_all_is_done_and_the_server_is_away(
    monkeypatch: pytest.MonkeyPatch, ended: bool, away: bool, raises: bool
) -> None:
    from flows.orchestration import outage

    monkeypatch.setattr(outage, "server_answers", lambda: not away)
    told: list[str] = []
    with pytest.raises(RuntimeError) if raises else nullcontext(), outage.despite_outage(lambda: ended, told.append):
        raise RuntimeError("Prefect")
    assert bool(told) != raises


def test_a_wish_to_stop_is_heard_without_the_server(line: Line, tmp_path: Path) -> None:
    from flows.orchestration.outage import despite_outage
    from flows.orchestration.sequence import sequence_flow

    def cut_and_stop() -> None:
        line.cut()
        acting.stop = True

    acting = Acting({("zero-one", "prune"): cut_and_stop})
    given = parameters(tiny_request(), tmp_path)
    with pytest.raises(Interrupted), despite_outage(lambda: False, acting.note):
        sequence_flow(acting.listen())(**given)
    line.mend()
    assert open_run(tmp_path, "tiny").frozen() == 0


BROKEN = RuntimeError("Prefect")


@pytest.mark.parametrize("breaks", ["never", "before", "after"])
def test_work_is_done_once_whenever_its_shell_breaks(breaks: str) -> None:
    from flows.orchestration.outage import Outage

    done: list[str] = []
    notes: list[str] = []

    def shell(do: Callable[[], None]) -> None:
        if breaks == "before":
            raise BROKEN
        do()
        if breaks == "after":
            raise BROKEN

    outage = Outage(notes.append)
    for _ in range(2):
        outage.run_with_fallback(shell, lambda: done.append("within"), fallback=lambda: done.append("fallback"))
    assert done == ["fallback" if breaks == "before" else "within"] * 2
    assert len(notes) == (0 if breaks == "never" else 1)


@pytest.mark.parametrize("raised", [CpgError("mine"), Interrupted(), KeyboardInterrupt()])
def test_what_the_work_raises_is_raised_whatever_the_shell_makes_of_it(raised: BaseException) -> None:
    from flows.orchestration.outage import Outage

    def work() -> None:
        raise raised

    def fails_too(do: Callable[[], None]) -> None:
        try:
            do()
        except BaseException:
            raise BROKEN from None

    notes: list[str] = []
    with pytest.raises(type(raised)) as caught:
        Outage(notes.append).run_with_fallback(fails_too, work, fallback=work)
    assert caught.value is raised
    assert notes == []
