"""A Prefect server that goes away while a run is learned: learning goes on, and the server is told later.

Prefect only shows what is learned. So whatever breaks in what it puts around a piece of work, the work is done once,
and what the work itself raises is all that is raised.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL

from cpg_core.errors import CpgError, first_line, one_line
from cpg_core.training.reporter import Interrupted
from flows.orchestration.api_address import answers

T = TypeVar("T")
Work = Callable[[], T]
Note = Callable[[str], None]

RETRIES = 1
"""How often a call of the server is tried again, two seconds or so later, while a task waits for it."""


class Outage:
    """Whether the Prefect server is away, as far as it was noticed."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._away = False

    def run_with_fallback(self, wrapper: Callable[[Work[T]], None], work: Work[T], fallback: Work[T]) -> T:
        """Do a piece of work inside the wrapper that Prefect puts around it, or without if that breaks before it.

        Args:
            wrapper: calls what it is handed, which is `work`.
            work: done at most once.
            fallback: the same without Prefect.

        Raises:
            Exception: what the work raised; nothing that the wrapper raised by itself.
        """
        done: list[T] = []
        raised: list[BaseException] = []

        def watched() -> T:
            try:
                done.append(work())
            except BaseException as error:
                raised.append(error)
                raise
            return done[0]

        try:
            wrapper(watched)
        except Exception as error:
            if raised:
                raise raised[0] from None
            self._noticed(error)
        return done[0] if done else fallback()

    def is_over(self) -> bool:
        """Whether the server can be told; one that was away is asked for a sign of life."""
        if self._away and server_answers():
            self._note("the Prefect server answers again; what it missed is shown now")
            self._away = False
        return not self._away

    def _noticed(self, error: Exception) -> None:
        if not self._away:
            why = one_line(first_line(error))
            self._note(f"Prefect cannot go on ({why}); learning goes on without it and tells it later")
        self._away = True


def server_answers() -> bool:
    """Whether the Prefect server that flows speak to gives a sign of life."""
    url = PREFECT_API_URL.value()
    return url is not None and answers(url)


@contextmanager
def despite_outage(ended: Callable[[], bool], note: Note) -> Iterator[None]:
    """Run a flow inside the block: it may have `ended` though Prefect cannot tell its end.

    Raises:
        CpgError: learning failed for something that the user can mend.
        Interrupted: a signal came.
    """
    try:
        yield
    except Exception as error:
        if (raised := _from_learning(error)) is not None:
            raise raised from None
        if server_answers() or not ended():
            raise
        note("note: Prefect does not know that this has ended, since its server is away")
    finally:
        if not server_answers():
            _drop_unsent()


def _from_learning(error: BaseException) -> BaseException | None:
    """What learning raised, if that is behind an error of Prefect: telling of the first may have failed."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, CpgError | Interrupted | KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    return seen


def _drop_unsent() -> None:
    """Forget what waits to be sent; with a server that is away, a process would try for minutes before it ends."""
    services: dict[int, Any] = EventsWorker._instances  # type: ignore[misc]
    for service in tuple(services.values()):  # that of the logs is there as well
        with suppress(queue.Empty):
            while True:
                service._queue.get_nowait()
                service._queue.task_done()
