"""Many runs side by side are the same runs alone, and what befalls one of them befalls no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from core.tiny import ROOT, TINY, frozen_bytes
from pandas import DataFrame
from waiting import until

from cpg_core.errors import CpgError
from cpg_core.methods import names
from cpg_core.storage.run import Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.runs import open_run
from cpg_core.training.reporter import Interrupted, Reporter, Silent
from flows.console.reporters import MANY_IMAGES
from flows.console.signals import Stop
from flows.local_runner import learn
from flows.persist import Persist
from flows.request import SequenceRequest, resolve, run_of_request
from flows.sweep import comparing
from flows.sweep.comparing import Results, compare, local_pool
from flows.sweep.comparison import Comparison, listed, plan, requests, threads_for
from flows.sweep.job import LOOK_EVERY, Job, Outcome, ReadingLines, learn_job
from flows.sweep.worker_process import cores
from workflow.asking import cpg
from workflow.conftest import learned
from workflow.here import here, learn_here
from workflow.listeners import at
from workflow.shown import run_flow

TWO = Comparison("digits-5", ("packnet", "pae"), goals=(0.6,), tasks="1-2", overrides=TINY)
NAMES = ("digits-5-packnet-0.6-digits-o0-s1", "digits-5-pae-0.6-digits-o0-s1")


def compare_here(wanted: Comparison, root: Path, tell: Callable[[str], None] = lambda _: None,
                 learn: Callable[[Job], Outcome] = learn_job) -> Results:  # fmt: skip
    return compare(plan(wanted, root, 1), root, here(learn), tell, track=False)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The bytes of the two runs, each learned alone."""
    root = tmp_path_factory.mktemp("apart")
    return {request.method: frozen_bytes(learned(root, request)) for request in requests(TWO)}


def bytes_of(root: Path) -> dict[str, dict[str, bytes]]:
    return {run.spec.method: frozen_bytes(run) for run in (open_run(root, name) for name in NAMES)}


def test_every_value_meets_every_other(tmp_path: Path) -> None:
    wanted = Comparison("digits-5", tuple(names()), ("0", "1"), (0.5, 0.7), ("1", 2))
    planned = plan(wanted, tmp_path, 1)
    assert len(planned) == wanted.count == len(names()) * 8
    assert len({one.spec.name for one in planned}) == wanted.count
    assert planned[0].spec.name == "digits-5-cpg-0.5-digits-o0-s1"
    assert not (tmp_path / "checkpoints").exists()


def test_a_plan_resolves_each_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the threads that it is given, too; only mistakes are looked for value by value."""
    resolved: list[SequenceRequest] = []

    def counted(request: SequenceRequest, root: Path) -> RunSpec:
        resolved.append(request)
        return resolve(request, root)

    monkeypatch.setattr("flows.sweep.comparison.resolve", counted)
    wanted = Comparison("cifar100-20", ("cpg", "pae", "ewc"), ("0", "1"), (0.5, 0.7), tasks="1-2")
    planned = plan(wanted, tmp_path, 1)
    assert len(resolved) == len(planned) == wanted.count == 12
    assert {one.spec.settings.compute.threads for one in planned} == {1}
    assert [one.spec for one in planned] == [resolve(one.request, tmp_path) for one in planned]


@pytest.mark.usefixtures("prefect_server")
def test_the_flow_takes_the_plan_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.orchestration import compare as flow

    planned: list[object] = []
    monkeypatch.setattr(flow, "plan", lambda *_: planned.append("again"))
    monkeypatch.setattr(flow, "compare", lambda given, *_, **__: planned.extend(given) or Results(DataFrame(), None))
    words = ["compare", "digits-5", "--methods", "packnet,pae", "--root", str(tmp_path), "--no-track"]
    result = cpg(*words)
    assert result.exit_code == 0, result.output
    assert [one.spec.method for one in planned] == ["packnet", "pae"]  # type: ignore[attr-defined]


def test_a_run_is_the_one_that_its_command_makes(tmp_path: Path) -> None:
    """Its name and settings are those of `cpg run`, with the threads that it was given."""
    wanted = Comparison("cifar100-20", ("pae",), seeds=(3,), tasks="1-2", overrides=("prune.lr=0.5",))
    (one,) = plan(wanted, tmp_path, 1)
    request = SequenceRequest("cifar100-20", "pae", tasks="1-2", seed=3, overrides=("prune.lr=0.5",))
    assert one.spec.name == run_of_request(request, tmp_path).spec.name
    assert one.spec.settings.compute.threads == 1
    command = one.command(Path())
    assert command.startswith("cpg run cifar100-20 --tasks 1-2 --method pae --ordering 0 --seed 3 --set prune.lr=0.5")
    assert "--set compute.threads=" in command or request == one.request


def test_all_mistakes_are_told_at_once_and_nothing_is_made(tmp_path: Path) -> None:
    wanted = Comparison("digits-5", ("cpg", "elastic"), ("0", "9"), ("75", "no.json"), ("1", "x", "1"), tasks="1-2")
    pool = local_pool(wanted, cores() + 1, learn_here)
    with pytest.raises(CpgError) as raised:
        plan(wanted, tmp_path, pool.share, pool.mistakes)
    for part in (
        "7 mistakes",
        "workers: ",
        "unknown method 'elastic'",
        "ordering '9'",
        "75",
        "no.json",
        "x: expected",
        "2 times",
    ):
        assert part in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wanted, message",
    [
        (Comparison("digits-6"), "did you mean 'digits-5'"),
        (Comparison("digits-5", ()), "methods: there are none"),
        (Comparison("digits-5", seeds=(-1,)), "seeds: -1: expected a whole number"),
        (Comparison("digits-5", goals=("0.6", "0.60")), "2 of the runs would be named digits-5-cpg-0.6-digits-o0-s1"),
        (Comparison("digits-5", overrides=("compute.threads=2",)), "give fewer --workers"),
        (Comparison("digits-5", overrides=("compute.processes=2",)), "in each of 2 processes, .* give fewer --workers"),
        (Comparison("digits-5", overrides=("prune.rate=1",)), "unknown setting 'prune.rate'"),
    ],
)
def test_a_mistake_is_told_in_words(wanted: Comparison, message: str, tmp_path: Path) -> None:
    with pytest.raises(CpgError, match=message):
        plan(wanted, tmp_path, 1)


def test_lists_are_read() -> None:
    assert listed("cpg, pae") == ("cpg", "pae")
    assert listed(None) == ()


def test_threads_are_divided_never_oversubscribed() -> None:
    for count in range(1, cores() + 1):
        pool = local_pool(replace(TWO, seeds=tuple(range(count))), count, learn_here)
        assert pool.workers * pool.share <= cores()
        assert not pool.mistakes
    assert local_pool(TWO, cores() + 1, learn_here).mistakes
    assert local_pool(TWO, 0, learn_here).mistakes
    assert threads_for(4, chosen=False, begun=None, share=2) == 2
    assert threads_for(1, chosen=False, begun=None, share=2) == 1
    assert threads_for(4, chosen=True, begun=None, share=2) == 4
    assert threads_for(4, chosen=False, begun=3, share=2) == 3


def test_a_run_keeps_the_threads_that_it_began_with(tmp_path: Path) -> None:
    alike = (*(item for item in TINY if not item.startswith("compute.threads")), "batch_size=128")
    wanted = Comparison("digits-5", ("packnet",), goals=(0.6,), tasks="1-2", overrides=alike)
    (request,) = requests(wanted)
    begun_with_two = replace(request, overrides=(*alike, "compute.threads=2"))
    with pytest.raises(Interrupted):
        learn(run_of_request(begun_with_two, tmp_path), at("two-three", "pick_train"), Persist(tmp_path, track=False))
    with pytest.raises(CpgError, match=r"was begun with compute\.threads=2, and with so many workers each has 1"):
        plan(wanted, tmp_path, 1)
    assert [one.spec.settings.compute.threads for one in plan(wanted, tmp_path, 2)] == [2]
    learned(tmp_path, begun_with_two)
    assert [one.spec.settings.compute.threads for one in plan(wanted, tmp_path, 1)] == [2]


def test_side_by_side_is_as_alone(tmp_path: Path, apart: dict[str, dict[str, bytes]]) -> None:
    told: list[str] = []
    results = compare_here(TWO, tmp_path, told.append)
    assert results.error is None
    assert bytes_of(tmp_path) == apart
    assert told[0] == "2 runs, 1 at a time, 1 thread each"
    assert [line for line in told if "note: " not in line][1].startswith(f"1/2 {NAMES[0]}: accuracy ")
    assert told[-1].splitlines()[0].split()[:2] == ["run", "tasks"]
    assert list(results.frame["run"]) == list(NAMES)
    assert list(results.frame["tasks"]) == ["2/2", "2/2"]
    again = compare_here(TWO, tmp_path, told.append)
    assert list(again.frame["seconds"]) == list(results.frame["seconds"])
    assert apart["pae"] != apart["packnet"]


def test_one_that_fails_stops_no_other(tmp_path: Path, apart: dict[str, dict[str, bytes]]) -> None:
    told: list[str] = []
    wanted = replace(TWO, overrides=(*TINY, "one_shot.lr=1.0e+30"))
    results = compare_here(wanted, tmp_path, told.append)
    assert list(results.frame["state"]) == ["failed", "finished"]
    assert isinstance(results.error, CpgError)
    assert "1 of 2 runs are not finished" in str(results.error)
    assert "not a finite number" in str(results.error)
    assert any(f"{NAMES[0]}: FAILED" in line and "cpg run digits-5" in line for line in told)
    deltas = {name: content for name, content in frozen_bytes(open_run(tmp_path, NAMES[1])).items() if "delta" in name}
    assert deltas == {name: content for name, content in apart["pae"].items() if "delta" in name}


def test_a_run_that_was_finished_elsewhere_is_not_finished_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a worker of a cluster that has another disk; one task of two is here from before."""
    monkeypatch.setattr(comparing, "SEEN_WITHIN", 0.0)
    with pytest.raises(Interrupted):
        learn(run_of_request(requests(TWO)[1], tmp_path), at("two-three", "pick_train"), Persist(tmp_path, track=False))
    told: list[str] = []
    results = compare_here(TWO, tmp_path, told.append, lambda _: Outcome("finished"))
    assert list(results.frame["state"]) == ["failed", "failed"]
    for name, frozen in zip(NAMES, (0, 1), strict=True):
        why = (
            f"its worker has finished it in another folder: {frozen} of 2 tasks are in {tmp_path}; start workers that "
        )
        assert f"{name}: {why}" in str(results.error)
        assert any(f"{name}: FAILED: {why}" in line for line in told)


def test_asked_to_stop_it_begins_no_more_and_goes_on_later(tmp_path: Path, apart: dict[str, dict[str, bytes]]) -> None:
    def stopping(job: Job) -> Outcome:
        job.stop.touch()  # as the parent does
        os.kill(os.getpid(), signal.SIGTERM)
        return learn_job(job)

    results = compare_here(TWO, tmp_path, learn=stopping)
    assert list(results.frame["state"]) == ["stopped", "not begun"]
    assert isinstance(results.error, Interrupted)
    assert not list((tmp_path / "work").glob(".stop*"))
    assert compare_here(TWO, tmp_path).error is None
    assert bytes_of(tmp_path) == apart


def test_the_file_stops_a_run_whose_images_are_read(tmp_path: Path) -> None:
    one, told = plan(TWO, tmp_path, 1)[1], list[int]()
    asked = tmp_path / "stop"

    class Told(Silent):
        def reading(self, task: str, done: int, total: int) -> bool:  # noqa: ARG002
            told.append(done)
            if done == 2:
                asked.touch()
            return False

    @contextmanager
    def asking(run: Run, stop: Stop) -> Iterator[Reporter]:  # noqa: ARG001
        yield Told()

    assert learn_job(Job(tmp_path, one.spec, False, asked), asking).state == "stopped"
    assert told[-1] == LOOK_EVERY


def test_a_worker_writes_a_line_for_many_images(capfd: pytest.CaptureFixture[str]) -> None:
    lines = ReadingLines("one-run")
    for done in range(MANY_IMAGES + 2):
        assert not lines.reading("fish", done, 16_000)
    assert capfd.readouterr().err.splitlines() == [
        f"one-run: images of fish: {done} of 16,000 read" for done in ("0", "5,000")
    ]


def test_the_file_stops_a_run_that_is_learned(tmp_path: Path) -> None:
    """What a worker on another machine hears, which no signal reaches."""
    one = plan(TWO, tmp_path, 1)[1]
    asked = tmp_path / "stop"

    class Asking(Silent):
        def stage_begins(self, task: str, stage: str, epochs: int) -> None:  # noqa: ARG002
            asked.touch()

    @contextmanager
    def asking(run: Run, stop: Stop) -> Iterator[Reporter]:  # noqa: ARG001
        yield Asking()

    assert learn_job(Job(tmp_path, one.spec, False, asked), asking).state == "stopped"
    assert learn_job(Job(tmp_path, one.spec, False, asked)).state == "stopped"
    assert not open_run(tmp_path, one.spec.name).is_frozen(2)
    asked.unlink()
    assert learn_job(Job(tmp_path, one.spec, False, asked)).state == "finished"


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, apart: dict[str, dict[str, bytes]]) -> None:
    """Processes as they are: killed outright, none of them goes on, and the same command ends in the same bytes."""
    words = ["compare", "digits-5", "--methods", "packnet,pae", "--goals", "0.6", "--tasks", "1-2", "--plain"]
    words += ["--no-track", "--root", str(tmp_path), *(word for item in TINY for word in ("--set", item))]
    parent = subprocess.Popen(
        [sys.executable, "-c", "from flows.cli.app import main; main()", *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert "at a time" in parent.stdout.readline()
    workers: list[psutil.Process] = []

    def begun() -> bool:
        children = psutil.Process(parent.pid).children()
        workers[:] = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        return len(workers) == min(2, cores())

    until(begun, "the workers")  # which import torch first, so that none is done yet
    parent.kill()
    parent.communicate()
    until(lambda: not any(map(lives, workers)), "the end of the workers")
    assert compare_here(TWO, tmp_path).error is None
    assert bytes_of(tmp_path) == apart


@pytest.mark.usefixtures("prefect_server")
def test_under_prefect_each_run_is_a_task(tmp_path: Path, apart: dict[str, dict[str, bytes]]) -> None:
    """One fails by itself, so that its task and the flow do, and the other is learned as alone."""
    from flows.orchestration.compare import compare_flow

    told: list[str] = []
    parameters = {**given(TWO, tmp_path), "overrides": [*TINY, "one_shot.lr=1.0e+30"], "workers": 1}
    flow_run = run_flow(compare_flow(told.append), parameters)
    assert task_states(flow_run) == {NAMES[0]: "Failed", NAMES[1]: "Completed"}, told
    assert flow_state(flow_run) == "FAILED"
    assert {"compare-digits-5"} <= artifact_keys()
    assert open_run(tmp_path, NAMES[1]).record(2).delta_sha256 in apart["pae"]["002-two-three/record.json"].decode()


@pytest.mark.usefixtures("prefect_server")
def test_on_a_dask_cluster_it_is_the_same(tmp_path: Path, apart: dict[str, dict[str, bytes]]) -> None:
    distributed = pytest.importorskip("distributed")
    from flows.orchestration.compare import compare_flow

    told: list[str] = []
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, local_directory=tmp_path
    ) as cluster:
        compare_flow(told.append)(**given(TWO, tmp_path), dask=cluster.scheduler_address)
    assert bytes_of(tmp_path) == apart, told


def given(wanted: Comparison, root: Path) -> dict[str, Any]:
    return {**asdict(wanted), "root": str(root), "track": False}


def task_states(flow_run: UUID) -> dict[str, str]:
    """The state of each task of a flow run, once Prefect has recorded them."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    found: dict[str, str] = {}

    def settled() -> bool:
        with client() as api:
            tasks = api.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])))
        found.clear()  # a task gets its name after it is there
        found.update({task.name: task.state.name for task in tasks if task.state is not None})
        return len(found) == 2 and not {"Pending", "Running"} & set(found.values())

    until(settled, "the end of both tasks")
    return found


def lives(process: psutil.Process) -> bool:
    """One that ended may stay as a zombie, for want of a parent that asks how."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def flow_state(flow_run: UUID) -> str:
    with client() as api:
        state = api.read_flow_run(flow_run).state
    assert state is not None
    return str(state.type.value)


def artifact_keys() -> set[str]:
    with client() as api:
        return {str(artifact.key) for artifact in api.read_artifacts()}


def client() -> Any:  # noqa: ANN401
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def test_a_run_of_more_tasks_is_not_compared_with_one_of_fewer(tmp_path: Path) -> None:
    (request,) = requests(replace(TWO, methods=("packnet",), tasks="1-3"))
    with pytest.raises(Interrupted):
        learn(run_of_request(request, tmp_path), at("two-three", "pick_train"), Persist(tmp_path, track=False))
    with pytest.raises(CpgError, match="has 3 tasks, and 2 are to be compared"):
        plan(replace(TWO, methods=("packnet",), tasks="1-2"), tmp_path, 1)
