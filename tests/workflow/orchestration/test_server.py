"""The server of one command: it answers, and never outlives who started it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import until

PARENT = """
import os, sys
from pathlib import Path
from flows.orchestration.server import server
with server(Path(sys.argv[1])):
    print(os.environ["PREFECT_API_URL"], flush=True)
    sys.stdin.read()
"""


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_it_ends_with_a_parent_that_is_killed(environment: Path, tmp_path: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        env={**variables, "PREFECT_HOME": str(environment / ".prefect")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    port = int(parent.stdout.readline().split(":")[2].split("/")[0])
    assert listens(port)
    parent.kill()
    parent.communicate()
    until(lambda: not listens(port), "the end of the server")


@pytest.mark.usefixtures("prefect_server")
def test_one_that_is_there_is_used(tmp_path: Path) -> None:
    from flows.orchestration.server import server

    there = os.environ["PREFECT_API_URL"]
    with server(tmp_path / "home") as wait:
        wait()
        assert os.environ["PREFECT_API_URL"] == there
    assert not (tmp_path / "home").exists()
