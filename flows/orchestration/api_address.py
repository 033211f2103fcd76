"""Whether a Prefect server answers at an address, and what else does."""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.request
from enum import Enum
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit

from flows.environment import is_loopback

PROBE_SECONDS = 5.0
HOSTED = "prefect.cloud"


class Reply(Enum):
    """What came back from an address."""

    PREFECT = "a Prefect server"
    REFUSED = "a server that wants to know who asks"
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
    """What answers at the API address `url` within `PROBE_SECONDS`."""
    try:
        request = urllib.request.Request(f"{url}/health", headers=_credentials())
        with _opener(url).open(request, timeout=PROBE_SECONDS) as reply:
            content = reply.read(1000)
    except HTTPError as error:
        return Reply.REFUSED if error.code in (401, 403) else Reply.OTHER
    except HTTPException:
        return Reply.OTHER  # it does not speak HTTP
    except (OSError, ValueError):
        return Reply.NOTHING
    healthy = content.strip() == b"true" or (_hosted(url) and _is_json(content))
    return Reply.PREFECT if healthy else Reply.OTHER


def answers(url: str) -> bool:
    """Whether a Prefect server answers at the API address `url`."""
    return probe(url) is Reply.PREFECT


def _opener(url: str) -> urllib.request.OpenerDirector:
    """No proxy stands between this machine and itself."""
    if is_loopback(urlsplit(url).hostname or ""):
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()


def _credentials() -> dict[str, str]:
    """As Prefect's own client sends them."""
    if key := os.environ.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    if pair := os.environ.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}


def _hosted(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == HOSTED or host.endswith(f".{HOSTED}")


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True
