"""What `cpg reap` does with a flow run without a process, by what the server says at a first and at a second look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

FIRST, SECOND = UUID(int=1), UUID(int=2)


class Server:
    """Stands for Prefect's client: `told` is what it says of each flow run, a state a look, the last one for good."""

    def __init__(self, told: dict[UUID, list[State[Any]]]) -> None:
        self.told = told
        self.ended: dict[UUID, str] = {}

    def read_flow_run(self, identity: UUID) -> SimpleNamespace:
        from prefect.exceptions import ObjectNotFound

        if identity not in self.told:
            raise ObjectNotFound(LookupError())
        states = self.told[identity]
        return SimpleNamespace(id=identity, state=states.pop(0) if len(states) > 1 else states[0])

    def read_flow_runs(self, **_: object) -> list[object]:
        return []

    def read_task_runs(self, **_: object) -> list[object]:
        return []

    def set_flow_run_state(self, identity: UUID, state: State[Any], *, force: bool) -> None:
        assert force
        self.ended[identity] = str(state.name)


@pytest.fixture
def reaping(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> ModuleType:  # noqa: ARG001
    """The module, which waits for nothing. The server is for tests after these, as in test_reap.py."""
    from flows.orchestration import reap

    monkeypatch.setattr(reap, "LOOK_AGAIN", 0.0)
    monkeypatch.setattr(reap, "_address", lambda: "http://127.0.0.1:9/api")
    return reap


def lock_file(root: Path, identity: UUID) -> Path:
    file = root / ".prefect" / "alive" / f"{identity}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def reaped(
    reaping: ModuleType, monkeypatch: pytest.MonkeyPatch, root: Path, told: dict[UUID, list[State[Any]]]
) -> tuple[list[UUID], dict[UUID, str], list[UUID]]:
    """Flow runs that `reap` names, the states that it set, and those whose lock files are left."""
    server = Server(told)

    @contextmanager
    def client(*, sync_client: bool) -> Iterator[Server]:
        assert sync_client
        yield server

    monkeypatch.setattr(reaping, "get_client", client)
    named = [run.id for run in reaping.reap(root)]
    return named, server.ended, sorted(UUID(file.stem) for file in (root / ".prefect" / "alive").iterdir())


def test_one_that_was_being_cancelled_is_cancelled_and_one_that_ran_has_crashed(
    reaping: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from prefect.states import Cancelling, Running

    for identity in (FIRST, SECOND):
        lock_file(tmp_path, identity).touch()
    found = reaped(reaping, monkeypatch, tmp_path, {FIRST: [Cancelling()], SECOND: [Running()]})
    assert found == ([FIRST, SECOND], {FIRST: "Cancelled", SECOND: "Crashed"}, [])


def test_one_that_ends_between_the_looks_is_left_as_it_is(
    reaping: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from prefect.states import Completed, Running

    lock_file(tmp_path, FIRST).touch()
    assert reaped(reaping, monkeypatch, tmp_path, {FIRST: [Running(), Completed()]}) == ([], {}, [])


def test_one_that_takes_its_lock_between_the_looks_is_left_as_it_is(
    reaping: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from prefect.states import Running

    lock_file(tmp_path, FIRST).touch()
    begins = FileLock(lock_file(tmp_path, FIRST))
    monkeypatch.setattr(reaping, "time", SimpleNamespace(sleep=lambda _: begins.acquire()))
    found = reaped(reaping, monkeypatch, tmp_path, {FIRST: [Running()]})
    begins.release()
    assert found == ([], {}, [FIRST])


def test_the_lock_file_of_one_that_has_ended_goes_and_that_of_one_that_waits_or_is_unknown_stays(
    reaping: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from prefect.states import Completed, Scheduled

    unknown = UUID(int=3)
    for identity in (FIRST, SECOND, unknown):
        lock_file(tmp_path, identity).touch()
    found = reaped(reaping, monkeypatch, tmp_path, {FIRST: [Completed()], SECOND: [Scheduled()]})
    assert found == ([], {}, [SECOND, unknown])
