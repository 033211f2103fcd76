"""What Prefect shows of a run is what happened, and it happens as without Prefect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest
from core.tiny import GROWS, frozen_bytes
from waiting import HANG

from cpg_core.errors import CpgError
from cpg_core.recall.audit import audit
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from cpg_core.training.reporter import Interrupted
from workflow.asking import parameters, tiny_request
from workflow.listeners import at, silently
from workflow.shown import names, run_flow, shown, states

NOISE = """
name: noise
backbone: digits_cnn
profile: digits
source: {kind: folder, folder: images}
tasks: [{name: noise}]
"""

pytestmark = pytest.mark.usefixtures("prefect_server")


def learn(root: Path, *overrides: str) -> UUID:
    from flows.orchestration.sequence import sequence_flow

    return run_flow(sequence_flow(silently), parameters(tiny_request(*overrides), root))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> tuple[Path, UUID]:  # noqa: ARG001
    """Learned by the flow as it is deployed."""
    from flows.orchestration.sequence import cpg

    root = tmp_path_factory.mktemp("first")
    return root, run_flow(cpg, parameters(tiny_request(), root))


def test_every_stage_is_shown_in_order(first: tuple[Path, UUID]) -> None:
    root, flow_run = first
    one, two = open_run(root, "tiny").records()
    assert names(flow_run) == [
        "pick-train zero-one x1.0",
        f"check zero-one {one.stages[1].accuracy:.4g} >= 0.6",
        "prune zero-one to 0.5",
        "prune zero-one to 0.8",
        "freeze zero-one",
        "pick-train two-three x1.0",
        f"check two-three {two.stages[1].accuracy:.4g} >= 0.6",
        "prune two-three to 0.5",
        "prune two-three to 0.8",
        "retrain two-three",
        "freeze two-three",
    ]
    assert list(shown(flow_run)) == ["zero-one", "two-three"]
    assert set(states(flow_run)) == {"Completed"}


def test_each_stage_is_given_the_one_before(first: tuple[Path, UUID]) -> None:
    for tasks in shown(first[1]).values():
        assert tasks[0].after is None
        assert all(after.after == before.id for before, after in pairwise(tasks))


def test_it_learns_the_same_bytes_as_without_prefect(first: tuple[Path, UUID], unbroken: Run) -> None:
    assert frozen_bytes(open_run(first[0], "tiny")) == frozen_bytes(unbroken)


@pytest.mark.usefixtures("first")
def test_results_are_artifacts() -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = {artifact.key: artifact for artifact in client.read_artifacts()}
    assert {"tiny-zero-one", "tiny-two-three", "tiny-results", "tiny-accuracy"} <= set(found)
    assert "pick-train" in str(found["tiny-zero-one"].data)
    assert "two-three" in str(found["tiny-results"].data)


def test_each_stage_has_its_line_in_the_log(first: tuple[Path, UUID]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=HANG)
    with get_client(sync_client=True) as client:
        lines = [log.message for log in client.read_logs(limit=200)]
    for name in names(first[1]):
        assert [line for line in lines if line.startswith(f"{name}:")], name


def test_again_everything_is_found_and_nothing_written(first: tuple[Path, UUID]) -> None:
    root, before = first
    run = open_run(root, "tiny")
    written = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.safetensors")}
    again = learn(root)
    assert set(states(again)) == {"Cached"}
    assert names(again) == names(before)
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.safetensors")} == written


def test_growth_is_shown_as_it_happened(tmp_path: Path) -> None:
    found = shown(learn(tmp_path, *GROWS))["two-three"]
    assert [task.name for task in found if task.name.startswith(("grow", "pick-train"))] == [
        "pick-train two-three x1.0",
        "grow two-three x1.0 -> x1.5",
        "pick-train two-three x1.5",
        "grow two-three x1.5 -> x2.0",
        "pick-train two-three x2.0",
    ]
    checks = [task.name for task in found if task.name.startswith("check")]
    assert len(checks) == 3
    assert all(name.endswith("training accuracy too low") for name in checks)


def test_stopped_by_a_signal_it_goes_on_to_the_same_bytes(tmp_path: Path, unbroken: Run) -> None:
    from flows.orchestration.sequence import sequence_flow

    terminating = at("two-three", "prune")
    given = parameters(tiny_request(), tmp_path)
    state = sequence_flow(terminating)(**given, return_state=True)
    assert (state.name, state.message) == ("Crashed", "stopped by a signal with its state saved; it goes on from there")
    with pytest.raises(Interrupted):
        state.result()
    run = open_run(tmp_path, "tiny")
    assert run.frozen() == 1
    flow_run = learn(tmp_path)
    assert [task.state for task in shown(flow_run)["zero-one"]] == ["Cached"] * 5
    assert [task.state for task in shown(flow_run)["two-three"]] == ["Cached"] * 2 + ["Completed"] * 4
    assert frozen_bytes(run) == frozen_bytes(unbroken)


def test_a_failed_stage_shows_as_failed_and_raises_its_own_error(tmp_path: Path) -> None:
    from flows.orchestration.sequence import sequence_flow

    request = tiny_request("pick_train.lr=1.0e+30")
    with pytest.raises(CpgError, match="the loss is not a finite number"):
        sequence_flow(silently)(**parameters(request, tmp_path))
    assert states(learn(tmp_path, "pick_train.lr=1.0e+30")) == ["Failed"]


def test_a_task_is_added_to_a_run(first: tuple[Path, UUID], tmp_path: Path) -> None:
    import shutil

    from flows.orchestration.sequence import add_flow

    shutil.copytree(first[0] / "checkpoints", tmp_path / "checkpoints")
    before = frozen_bytes(open_run(tmp_path, "tiny"))
    task = tmp_path / "more.yaml"
    task.write_text("name: more\nsource: {kind: digits}\nclasses: ['4', '9']\n")
    flow_run = run_flow(add_flow(silently), {"run": "tiny", "task": str(task), "root": str(tmp_path), "track": False})
    assert [{task.state for task in tasks} for tasks in shown(flow_run).values()] == [
        {"Cached"},
        {"Cached"},
        {"Completed"},
    ]
    after = frozen_bytes(open_run(tmp_path, "tiny"))
    assert {name: content for name, content in after.items() if name in before and name != "run.json"} == {
        name: content for name, content in before.items() if name != "run.json"
    }
    assert "003-more/delta.safetensors" in after


def test_images_that_stream_are_learned(
    tmp_path: Path, write_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are decoded beside the flow: processes forked from one under Prefect die as they end."""
    monkeypatch.setattr("cpg_core.data.reading.load.MEMORY_LIMIT", 0)
    write_folder({f"{part}/{name}": 12 for part in ("train", "test") for name in ("a", "b")})
    sequence = tmp_path / "noise.yaml"
    sequence.write_text(NOISE)
    asked = tiny_request("compute.workers=3", tasks="1", goal=0.1, run="noise")
    request = replace(asked, sequence=str(sequence))
    from flows.orchestration.sequence import sequence_flow

    found = shown(run_flow(sequence_flow(silently), parameters(request, tmp_path)))["noise"]
    assert {task.state for task in found} == {"Completed"}
    train = open_run(tmp_path, "noise").data(1).train
    assert (train.images, train.workers) == (None, 3)


def test_two_processes_show_as_one_run(tmp_path: Path) -> None:
    """Only the leader speaks to Prefect, and what they learned together is sound."""
    found = shown(learn(tmp_path, "compute.processes=2"))
    assert list(found) == ["zero-one", "two-three"]
    names_of_first = [task.name.split()[0] for task in found["zero-one"]]
    assert names_of_first == ["pick-train", "check", "prune", "prune", "freeze"]
    assert {task.state for tasks in found.values() for task in tasks} == {"Completed"}
    assert all(finding.ok for finding in audit(open_run(tmp_path, "tiny")))
