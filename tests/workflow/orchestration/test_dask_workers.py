"""A cluster whose workers would disturb each other is refused, each cause in words."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import pytest

from cpg_core.errors import CpgError

ADDRESS = "tcp://10.0.0.1:8786"


class Cluster:
    """Stands for `distributed.Client`: workers by name, as (host, threads), and the cores of their machines."""

    def __init__(self, workers: dict[str, tuple[str, int]], cores: int) -> None:
        self.workers, self.cores = workers, cores

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def scheduler_info(self, **_: object) -> dict[str, object]:
        return {"workers": {name: {"host": host, "nthreads": n} for name, (host, n) in self.workers.items()}}

    def run(self, _: Callable[[], int]) -> dict[str, int]:
        return dict.fromkeys(self.workers, self.cores)


def refused(monkeypatch: pytest.MonkeyPatch, cluster: Cluster | OSError, workers: int | None = None) -> str:
    """What `dask_pool` says of a cluster, as an error or as mistakes of its pool."""
    pytest.importorskip("prefect_dask")  # here: Prefect reads its settings as it is imported
    from flows.orchestration import dask_workers

    def connected(*_: object, **__: object) -> Cluster:
        if isinstance(cluster, OSError):
            raise cluster
        return cluster

    monkeypatch.setattr(dask_workers, "Client", connected)
    monkeypatch.setattr(dask_workers, "DaskTaskRunner", lambda address: Cluster({address: ("", 1)}, 1))
    try:
        with dask_workers.dask_pool(ADDRESS, workers) as pool:
            return "\n".join(pool.mistakes)
    except CpgError as error:
        return str(error)


TWO = {"a": ("one", 1), "b": ("one", 1)}


def test_a_cluster_that_fits_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, Cluster(TWO, 2)) == ""
    assert refused(monkeypatch, Cluster(TWO, 2), 2) == ""


@pytest.mark.parametrize(
    ("cluster", "workers", "words"),
    [
        (OSError("timed out"), None, f"the Dask cluster at {ADDRESS} does not answer: timed out"),
        (Cluster({}, 2), None, f"has no workers; start them from the project's folder: dask worker {ADDRESS}"),
        (Cluster({"a": ("one", 1), "b": ("one", 2)}, 4), None, "has several threads, for one run each"),
        (Cluster(TWO, 1), None, "more workers than cores"),
        (Cluster({**TWO, "c": ("two", 1)}, 1), None, "more workers than cores"),
        (Cluster(TWO, 2), 3, "workers: 3: expected 1 to 2"),
        (Cluster(TWO, 2), 0, "workers: 0: expected 1 to 2"),
    ],
)
def test_one_that_does_not_is_refused_with_the_cause(
    monkeypatch: pytest.MonkeyPatch, cluster: Cluster | OSError, workers: int | None, words: str
) -> None:
    assert words in refused(monkeypatch, cluster, workers)
