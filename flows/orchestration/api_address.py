"""Whether a Prefect server answers at an address, and what else does."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import urllib.request
from enum import Enum
from http.client import HTTPException
from importlib.metadata import version as installed
from urllib.error import HTTPError
from urllib.parse import urlsplit

from flows.environment import is_loopback

PROBE_SECONDS = 5.0
HOSTED = "prefect.cloud"


class Reply(Enum):
    """What came back from an address."""

    PREFECT = "a Prefect server"
    REFUSED = "a server that wants to know who asks"
    INCOMPATIBLE = "a Prefect server of another major version than what is installed here"
    OTHER = "something that is no Prefect API"
    NOTHING = "nothing"


def candidates(given: str) -> list[str]:
    """The addresses that one given by hand may mean: without a slash too many, and with the `/api` that it lacks."""
    scheme, separator, rest = given.strip().partition("://")
    plain = scheme + separator + re.sub(r"/{2,}", "/", rest).rstrip("/")
    return [plain] if plain.endswith("/api") else [plain, f"{plain}/api"]


def is_address(given: str) -> bool:
    """Whether it names a host by http or https."""
    try:
        parts = urlsplit(given.strip())
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def probe(url: str) -> Reply:
    """What answers at the API address `url`, each of two questions within `PROBE_SECONDS`."""
    try:
        health = _get(f"{url}/health")
        if _hosted(url):
            return Reply.PREFECT if _is_json(health) else Reply.OTHER
        # A server that wants a password tells its health without one.
        return _of_version(_get(f"{url}/admin/version")) if health.strip() == b"true" else Reply.OTHER
    except HTTPError as error:
        return Reply.REFUSED if error.code in (401, 403) else Reply.OTHER
    except HTTPException:
        return Reply.OTHER  # it does not speak HTTP
    except (OSError, ValueError):
        return Reply.NOTHING


def answers(url: str) -> bool:
    """Whether a Prefect server answers at the API address `url`."""
    return probe(url) is Reply.PREFECT


def _get(address: str) -> bytes:
    """The beginning of what is there."""
    request = urllib.request.Request(address, headers=_credentials())
    with _opener(address).open(request, timeout=PROBE_SECONDS) as reply:
        return bytes(reply.read(1000))


def _of_version(content: bytes) -> Reply:
    """What has told this as its version; Prefect's client speaks to servers of its own major version."""
    try:
        found = json.loads(content)
    except ValueError:
        return Reply.OTHER
    if not isinstance(found, str):
        return Reply.OTHER
    return Reply.PREFECT if found.partition(".")[0] == installed("prefect").partition(".")[0] else Reply.INCOMPATIBLE


def _opener(url: str) -> urllib.request.OpenerDirector:
    """No proxy stands between this machine and itself."""
    if is_loopback(urlsplit(url).hostname or ""):
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()


def _credentials() -> dict[str, str]:
    """As Prefect's own client sends them."""
    if pair := _setting("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    if key := _setting("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    return {}


def _setting(name: str) -> str | None:
    """Of the environment; of Prefect's profile too, where Prefect is imported already."""
    settings = sys.modules.get("prefect.settings")
    return os.environ.get(name) or (getattr(settings, name).value() if settings else None)


def _hosted(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == HOSTED or host.endswith(f".{HOSTED}")


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True
