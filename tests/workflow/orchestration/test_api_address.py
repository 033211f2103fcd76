"""The address of a Prefect server, as people give it, and what may answer there instead."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
from core.tiny import ROOT

from cpg_core.errors import CpgError
from flows.environment import without_proxy
from flows.orchestration.api_address import Reply, _credentials, candidates, is_address, probe
from flows.orchestration.server import server

Answer = Callable[[str], tuple[int, bytes]]


API = {"/api/health": b"true", "/api/admin/version": json.dumps(version("prefect")).encode()}


def prefect(path: str) -> tuple[int, bytes]:
    return (200, API[path]) if path in API else (404, b'{"detail":"Not Found"}')


def prefect_with_pages(path: str) -> tuple[int, bytes]:
    """As the real one: what is no address of the API is a page."""
    return 200, API.get(path, b"<!doctype html>")


def with_password(path: str) -> tuple[int, bytes]:
    """As the real one: its health is told without a password."""
    return (200, b"true") if path == "/api/health" else (401, b'{"exception_message":"Unauthorized"}')


def of_version(content: bytes) -> Answer:
    return lambda path: (200, content if path == "/api/admin/version" else b"true")


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    servers: list[HTTPServer] = []

    def started(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, content = answer(self.path if "Authorization" not in self.headers else f"{self.path}, known")
                self.send_response(code)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield started
    for one in servers:
        one.shutdown()
        one.server_close()


REPLIES: dict[str, tuple[Answer, Reply]] = {
    "prefect": (prefect, Reply.PREFECT),
    "pages": (lambda _: (200, b"<html>welcome</html>"), Reply.OTHER),
    "empty": (lambda _: (200, b""), Reply.OTHER),
    "JSON": (lambda _: (200, b"{}"), Reply.OTHER),
    "no such page": (lambda _: (404, b"true"), Reply.OTHER),
    "unauthorized": (lambda _: (401, b""), Reply.REFUSED),
    "forbidden": (lambda _: (403, b""), Reply.REFUSED),
    "with a password": (with_password, Reply.REFUSED),
    "an older one": (of_version(b'"2.20.1"'), Reply.INCOMPATIBLE),
    "healthy alone": (lambda path: (200, b"true") if path == "/api/health" else (404, b""), Reply.OTHER),
    "healthy, and no version": (of_version(b"true"), Reply.OTHER),
    "healthy, and a page": (of_version(b"<html>"), Reply.OTHER),
}


@pytest.mark.parametrize("answer, reply", REPLIES.values(), ids=REPLIES)
def test_what_answers_is_told_apart(answer: Answer, reply: Reply, serve: Callable[[Answer], str]) -> None:
    assert probe(f"{serve(answer)}/api") is reply


def test_what_does_not_speak_http_or_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"

        def greet() -> None:
            with listener.accept()[0] as client:
                client.recv(1000)
                client.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        assert probe(url) is Reply.OTHER
        thread.join()
    assert probe(url) is Reply.NOTHING


def test_a_dead_proxy_does_not_stand_between(serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this machine to itself. To another one it does: that is the negative control."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    url = f"{serve(prefect)}/api"
    assert probe(url) is Reply.PREFECT
    monkeypatch.setattr("flows.orchestration.api_address.is_loopback", lambda _: False)
    assert probe(url) is Reply.NOTHING
    monkeypatch.setenv("no_proxy", without_proxy(""))  # what Prefect's own client reads
    assert probe(url) is Reply.PREFECT


def test_no_proxy_keeps_what_was_given() -> None:
    assert without_proxy("") == "127.0.0.1,localhost,::1"
    assert without_proxy("corp.example, localhost") == "corp.example,localhost,127.0.0.1,::1"
    assert without_proxy("*") == "*"


@pytest.mark.parametrize("tail", ["/api", "/api/", "//api", "", "/", "/api//"])
@pytest.mark.parametrize("answer", [prefect, prefect_with_pages])
def test_an_address_with_a_slash_too_many_or_without_api_is_understood(
    tail: str, answer: Answer, serve: Callable[[Answer], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = serve(answer)
    monkeypatch.setenv("PREFECT_API_URL", f"{there}{tail}")
    with server(tmp_path) as wait:
        wait()
        assert os.environ["PREFECT_API_URL"] == f"{there}/api"


@pytest.mark.usefixtures("prefect_server")  # for the tests after this one: Prefect reads its address on import
def test_the_password_is_sent_as_prefects_client_sends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

    for name in ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    assert _credentials() == {}
    monkeypatch.setenv("PREFECT_API_KEY", "key")
    assert _credentials() == {"Authorization": "Bearer key"}
    basic = {"Authorization": f"Basic {base64.b64encode(b'me:secret').decode()}"}
    with temporary_settings({PREFECT_API_AUTH_STRING: "me:secret"}):  # as those of a profile
        assert _credentials() == basic
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:secret")
    assert _credentials() == basic


def test_the_password_may_stand_in_a_file_of_prefects(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    """Which is read as Prefect is imported: after the address of the server is looked at."""

    def answer(path: str) -> tuple[int, bytes]:
        known = path.endswith(", known")
        return prefect(path.removesuffix(", known")) if known or path == "/api/health" else (401, b"")

    (tmp_path / "profiles.toml").write_text('active = "here"\n[profiles.here]\nPREFECT_API_AUTH_STRING = "me:secret"\n')
    told = "import os\nfrom pathlib import Path\nfrom flows.orchestration.server import server\n"
    told += "with server(Path.cwd()):\n    print(os.environ['PREFECT_API_URL'])\n"
    there = f"{serve(answer)}/api"
    given = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    given |= {
        "PREFECT_API_URL": there,
        "PREFECT_PROFILES_PATH": str(tmp_path / "profiles.toml"),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run([sys.executable, "-c", told], cwd=tmp_path, env=given, stdout=subprocess.PIPE, check=True)
    assert done.stdout.decode() == f"{there}\n"


def test_candidates_of_a_mounted_api() -> None:
    assert candidates("https://api.prefect.cloud/api/accounts/a/workspaces/b/") == [
        "https://api.prefect.cloud/api/accounts/a/workspaces/b",
        "https://api.prefect.cloud/api/accounts/a/workspaces/b/api",
    ]


@pytest.mark.parametrize(
    "answer, message",
    [
        (REPLIES["pages"][0], "is not a Prefect API; expected an address such as http://127.0.0.1:4200/api"),
        (REPLIES["forbidden"][0], "refuses: set PREFECT_API_KEY or PREFECT_API_AUTH_STRING"),
        (with_password, "refuses: set PREFECT_API_KEY or PREFECT_API_AUTH_STRING"),
        (of_version(b'"2.20.1"'), f"another major version than Prefect {version('prefect')}.* upgrade the older"),
    ],
)
def test_another_server_is_told_at_once(
    answer: Answer, message: str, serve: Callable[[Answer], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"{serve(answer)}/api")
    monkeypatch.setattr("flows.orchestration.server.ANSWER_TIMEOUT", float("inf"))
    with pytest.raises(CpgError, match=message), server(tmp_path):
        pass


@pytest.mark.parametrize("given", ["127.0.0.1:4200/api", "localhost", "http://", "http://host:port/api", "ftp://h/api"])
def test_what_is_no_address_is_told(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_address(given)
    monkeypatch.setenv("PREFECT_API_URL", given)
    with pytest.raises(CpgError, match=r"PREFECT_API_URL is .*: expected an address such as"), server(tmp_path):
        pass
