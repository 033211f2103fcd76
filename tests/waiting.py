"""Waiting for what other processes do: for the event itself, however busy the machine is."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

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


def ask(url: str, content: dict[str, Any] | None = None) -> Any:  # noqa: ANN401  (JSON)
    """What a server answers to a GET, or to a POST of JSON; asked again where its database is locked just now."""
    request = Request(
        url, None if content is None else json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    answers: list[Any] = []

    def answered() -> bool:
        try:
            with urlopen(request, timeout=HANG) as reply:
                answers.append(json.load(reply))
        except HTTPError as error:  # 503 is what Prefect says of a locked database; its own client asks again too
            if error.code != 503:
                raise
        return bool(answers)

    until(answered, f"an answer from {url}")
    return answers[0]


def listens(port: int) -> bool:
    """Whether something on this machine takes connections there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
