"""`cpg reap` looks at the server's address before it opens a client, which would start a server where none is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from cpg_core.errors import CpgError
from flows.orchestration.api_address import Reply
from workflow.asking import cpg

ADDRESS = "http://127.0.0.1:4200/api"


@pytest.fixture
def no_client(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """None may be made. The server is for the tests after these: Prefect reads its address on import."""
    from flows.orchestration import reap

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a client was made")

    monkeypatch.setattr(reap, "get_client", refuse)
    monkeypatch.setattr("flows.orchestration.server.ANSWER_TIMEOUT", 0.0)


@contextmanager
def addressed(url: str | None) -> Iterator[None]:
    """Prefect's settings name this server."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    given = {} if url is None else {PREFECT_API_URL: url}
    with temporary_settings(given, restore_defaults={PREFECT_API_URL} - given.keys()):
        yield


@pytest.mark.usefixtures("no_client")
def test_without_a_server_none_is_started(tmp_path: Path) -> None:
    from flows.orchestration.reap import reap

    with addressed(None), pytest.raises(CpgError, match="no Prefect server is named; give its address in PREFECT_API"):
        reap(tmp_path)


@pytest.mark.usefixtures("no_client")
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply.NOTHING, r"does not answer; start it \(prefect server start\), or name another in PREFECT_API_URL"),
        (Reply.REFUSED, "refuses: set PREFECT_API_KEY or PREFECT_API_AUTH_STRING"),
        (Reply.INCOMPATIBLE, "is of another major version"),
    ],
)
def test_a_server_that_cannot_be_asked_is_told(
    reply: Reply, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.orchestration.reap import reap

    monkeypatch.setattr("flows.orchestration.server.probe", lambda _: reply)
    with addressed(ADDRESS), pytest.raises(CpgError, match=f"the Prefect server at {ADDRESS} {words}"):
        reap(tmp_path)


@pytest.mark.usefixtures("prefect_server")
def test_an_address_without_api_is_understood(tmp_path: Path) -> None:
    from flows.orchestration.reap import PREFECT_API_URL, reap

    with addressed(PREFECT_API_URL.value().removesuffix("/api")):
        assert reap(tmp_path) == []


def test_each_is_told_how_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect retries no flow run of a command: it has no deployment."""
    from prefect.client.schemas.objects import FlowRun

    of_a_command = FlowRun(flow_id=uuid4(), name="one")
    deployed = FlowRun(flow_id=uuid4(), name="two", deployment_id=uuid4())
    monkeypatch.setattr("flows.orchestration.reap.reap", lambda _: [of_a_command, deployed])
    one, two, _ = cpg("reap", "--root", tmp_path).stdout.splitlines()
    assert one == f"one ({of_a_command.id}): its process is gone; to go on: give the same cpg command again"
    assert two == f"two ({deployed.id}): its process is gone; to go on: prefect flow-run retry {deployed.id}"
