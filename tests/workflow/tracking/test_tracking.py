"""MLflow holds what is on disk: all of it, once, whenever it is told."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from cpg_core.errors import CpgError
from cpg_core.recall.metrics import matrix, summary
from cpg_core.storage.lock import locked
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from cpg_core.training.reporter import Interrupted
from flows.local_runner import learn
from flows.persist import Persist
from flows.request import run_of_request
from flows.tracking.store import RECORD, Store
from flows.tracking.sync import Note, Tracker, sync
from workflow.asking import tiny_request
from workflow.listeners import Keeping, at, silently

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def synced(unbroken: Run, mlflow_store: str) -> Iterator[Run]:  # noqa: ARG001
    sync(unbroken)
    yield unbroken


def all_runs(client: MlflowClient, name: str) -> list[MlflowRun]:
    experiment = client.get_experiment_by_name("digits-5")
    return client.search_runs([experiment.experiment_id], f"tags.run = '{name}'")


def parent_of(client: MlflowClient, name: str) -> MlflowRun:
    (found,) = (run for run in all_runs(client, name) if run.data.tags["cpg.kind"] == "sequence")
    return found


def tasks_of(client: MlflowClient, name: str) -> list[MlflowRun]:
    found = [run for run in all_runs(client, name) if run.data.tags["cpg.kind"] == "task"]
    return sorted(found, key=lambda run: run.info.run_name)


def points(client: MlflowClient, name: str) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Every point of every curve of a run and its tasks."""
    return {
        (run.info.run_id, metric): [
            (point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)
        ]
        for run in all_runs(client, name)
        for metric in run.data.metrics
    }


def read(client: MlflowClient, run: MlflowRun, file: str) -> str:
    return Path(client.download_artifacts(run.info.run_id, file)).read_text()


@pytest.mark.usefixtures("synced")
def test_tasks_are_nested_in_their_sequence(client: MlflowClient) -> None:
    parent = parent_of(client, "tiny")
    assert parent.info.run_name == "tiny"
    assert parent.info.status == "FINISHED"
    wanted = {"sequence": "digits-5", "method": "cpg", "ordering": "0", "goal": "0.6", "profile": "digits", "seed": "1"}
    assert wanted.items() <= parent.data.tags.items()
    assert parent.data.params["prune.targets"] == "[0.5, 0.8]"
    tasks = tasks_of(client, "tiny")
    assert [task.info.run_name for task in tasks] == ["001-zero-one", "002-two-three"]
    assert {task.data.tags["mlflow.parentRunId"] for task in tasks} == {parent.info.run_id}
    assert {task.info.status for task in tasks} == {"FINISHED"}


CHOICES = {"sequence", "method", "ordering", "goal", "profile", "seed"}
FIGURES = {
    "average_accuracy", "backward_transfer", "forgetting", "expansion_x", "redundancy_x", "model_mb", "seconds",
}  # fmt: skip


@pytest.mark.usefixtures("synced")
def test_runs_of_a_sequence_are_compared_by_what_was_chosen(client: MlflowClient, tmp_path: Path) -> None:
    others = {"method": "packnet", "ordering": "1", "goal": 0.55, "seed": 2}
    other = run_of_request(tiny_request(run="other", tasks="1-2", **others), tmp_path)
    learn(other, silently, Tracker())
    experiment = client.get_experiment_by_name("digits-5").experiment_id
    filtered = client.search_runs([experiment], "tags.cpg.kind = 'sequence'")
    assert {"tiny", "other"} <= {run.info.run_name for run in filtered}
    assert not any("mlflow.parentRunId" in run.data.tags for run in filtered)
    one, two = (parent_of(client, name).data for name in ("tiny", "other"))
    for run in (one, two):
        assert run.params.keys() >= CHOICES
        assert run.metrics.keys() >= FIGURES
    assert {name: one.params[name] for name in CHOICES} == {name: one.tags[name] for name in CHOICES}
    # The axes of the plot that compares runs are the params that differ.
    differing = {name: value for name, value in two.params.items() if one.params.get(name) != value}
    assert differing == {name: str(value) for name, value in others.items()}


def test_figures_are_those_of_the_records(client: MlflowClient, synced: Run) -> None:
    parent = parent_of(client, "tiny").data.metrics
    assert {name: parent[name] for name in summary(synced)} == pytest.approx(summary(synced))
    for task, record in zip(tasks_of(client, "tiny"), synced.records(), strict=True):
        assert task.data.metrics["test_accuracy"] == record.test_accuracy
        assert task.data.metrics["goal_met"] == float(record.goal_met)
        assert task.data.metrics["delta_bytes"] == record.delta_bytes
        assert task.data.metrics["redundancy_x"] == record.redundancy_x
        assert task.data.metrics.get("picked") == record.picked
        assert task.data.metrics["seconds"] == pytest.approx(sum(synced.seconds(record.index).values()))


def test_curves_hold_every_epoch_and_every_task(client: MlflowClient, synced: Run) -> None:
    parent, (one, _) = parent_of(client, "tiny").info.run_id, tasks_of(client, "tiny")
    known = points(client, "tiny")
    epochs = [epoch for stage in synced.record(1).stages for epoch in stage.epochs]
    assert len(epochs) == 3 + 2 + 2
    assert known[one.info.run_id, "epoch/loss"] == [(step, epoch.loss) for step, epoch in enumerate(epochs, 1)]
    assert [step for step, _ in known[parent, "average_accuracy"]] == [1, 2]
    assert known[parent, "recall/zero-one"] == list(enumerate(matrix(synced)["zero-one"], 1))
    assert known[parent, "recall/two-three"] == [(2, synced.record(2).test_accuracy)]


def test_more_points_than_a_request_takes_are_all_there(
    client: MlflowClient, unbroken: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.tracking.store.BATCH", 4)
    store = Store(unbroken)
    there = store.create({"mine": "batches"}, "batches")
    store.metrics(there, [("loss", step, float(step)) for step in range(10)])
    history = client.get_metric_history(there, "loss")
    assert sorted((point.step, point.value) for point in history) == [(step, float(step)) for step in range(10)]


def test_more_runs_than_a_page_holds_are_all_found(unbroken: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the tasks below a run, those that are written whole; whatever page they stand on."""
    store = Store(unbroken)
    parent = store.create({"mine": "pages"}, "pages")
    for record in ("one", "two", "three", "broken off"):
        task = store.create({"mlflow.parentRunId": parent, RECORD: record}, record)
        store.status(task, finished=record != "broken off")
    search, pages = store.client.search_runs, list[str | None]()

    def one_a_page(*args: Any, **more: Any) -> Any:  # noqa: ANN401  (as MLflow's)
        pages.append(more["page_token"])
        return search(*args, **{**more, "max_results": 1})

    monkeypatch.setattr(store.client, "search_runs", one_a_page)
    assert store.finished(parent) == {"one", "two", "three"}
    assert len(set(pages)) == len(pages) >= 4


def test_tables_and_data_are_there(client: MlflowClient, synced: Run) -> None:
    parent, (one, _) = parent_of(client, "tiny"), tasks_of(client, "tiny")
    found = pd.read_csv(io.StringIO(read(client, parent, "accuracy_matrix.csv")), index_col="after")
    pd.testing.assert_frame_equal(found, matrix(synced), atol=1e-6)
    stages = pd.read_csv(io.StringIO(read(client, one, "stages.csv")))
    assert list(stages["stage"]) == [stage.stage for stage in synced.record(1).stages]
    assert json.loads(read(client, one, "record.json"))["delta_sha256"] == synced.record(1).delta_sha256
    by_class = pd.read_csv(io.StringIO(read(client, one, "recall_by_class.csv")))
    assert list(by_class["class"]) == [0, 1] and by_class["images"].sum() == synced.record(1).images["test"]
    picture = Path(client.download_artifacts(one.info.run_id, "confusion.png"))
    assert picture.read_bytes().startswith(b"\x89PNG")
    (data,) = (item.dataset for item in one.inputs.dataset_inputs)
    assert data.name == "zero-one"
    assert json.loads(data.profile)["classes"] == ["0", "1"]
    assert json.loads(data.profile)["train"] > json.loads(data.profile)["test"] > 0


def test_again_nothing_is_added(client: MlflowClient, synced: Run) -> None:
    before = points(client, "tiny")
    sync(synced)
    assert points(client, "tiny") == before


def test_a_task_that_broke_off_is_written_anew(client: MlflowClient, synced: Run) -> None:
    broken = tasks_of(client, "tiny")[1]
    client.update_run(broken.info.run_id, "RUNNING")
    client.log_metric(broken.info.run_id, "epoch/loss", 99.0, step=1)
    sync(synced)
    one, two = tasks_of(client, "tiny")
    assert two.info.run_id != broken.info.run_id
    assert points(client, "tiny")[two.info.run_id, "epoch/loss"][0][1] != 99.0
    assert two.info.status == one.info.status == "FINISHED"


@pytest.mark.usefixtures("synced")
def test_synced_task_by_task_it_is_the_same(client: MlflowClient, tmp_path: Path) -> None:
    run = run_of_request(tiny_request(run="stepwise"), tmp_path)
    learn(run, silently, Tracker())
    for name in ("stepwise", "tiny"):
        assert len(tasks_of(client, name)) == 2
    step, whole = (parent_of(client, name).info.run_id for name in ("stepwise", "tiny"))
    known = {**points(client, "stepwise"), **points(client, "tiny")}
    curves = {metric for owner, metric in known if owner == whole} - {"seconds"}
    assert {metric: known[step, metric] for metric in curves} == {metric: known[whole, metric] for metric in curves}


def test_a_run_that_is_not_finished_says_so(client: MlflowClient, tmp_path: Path) -> None:
    run = run_of_request(tiny_request(run="stopped"), tmp_path)
    with pytest.raises(Interrupted):
        learn(run, at("two-three", "pick_train"), Tracker())
    assert parent_of(client, "stopped").info.status == "RUNNING"
    assert len(tasks_of(client, "stopped")) == 1


def test_learning_goes_on_while_mlflow_is_away(
    client: MlflowClient, mlflow_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = run_of_request(tiny_request(run="away"), tmp_path)
    keeping = Keeping()
    tracker = Tracker()

    learn(run, silently, lambda run, _: tracker(run, keeping.note))
    assert run.frozen() == 2
    assert tracker.refusal is None
    (told,) = keeping.notes  # once, though it was asked four times
    assert "MLflow cannot be reached" in told
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)
    tracker(run, keeping.note)
    assert len(tasks_of(client, "away")) == 2
    assert [step for step, _ in points(client, "away")[parent_of(client, "away").info.run_id, "average_accuracy"]] == [
        1,
        2,
    ]
    assert len(keeping.notes) == 1


def test_a_run_that_is_learned_anew_has_figures_of_its_own(client: MlflowClient, unbroken: Run, tmp_path: Path) -> None:
    """Under its old name, with the same first task and another second one."""
    shutil.copytree(unbroken.folder, tmp_path / "checkpoints" / "anew")
    sync(open_run(tmp_path, "anew"))
    first = parent_of(client, "anew").info.run_id
    shutil.rmtree(tmp_path / "checkpoints")
    run = run_of_request(tiny_request(run="anew", tasks="1,3"), tmp_path)
    learn(run, silently, Tracker())
    parents = [run for run in all_runs(client, "anew") if run.data.tags["cpg.kind"] == "sequence"]
    (second,) = (parent for parent in parents if parent.info.run_id != first)
    assert second.data.metrics["average_accuracy"] == pytest.approx(summary(run)["average_accuracy"])
    assert "recall/two-three" not in second.data.metrics


def test_copies_that_go_on_differently_each_keep_their_run(client: MlflowClient, unbroken: Run, tmp_path: Path) -> None:
    """Two clones of one project that record on one server, with the same first task and another second one."""
    shutil.copytree(unbroken.folder, tmp_path / "checkpoints" / "cloned")
    sync(one := open_run(tmp_path, "cloned"))
    two = run_of_request(tiny_request(run="cloned", tasks="1,3"), tmp_path / "there")
    with pytest.raises(Interrupted):
        learn(two, at("four-five", "pick_train"), Tracker())
    sync(one)
    learn(two, silently, Tracker())
    for run in (one, two, one, two):
        sync(run)
    kinds = [run.data.tags["cpg.kind"] for run in all_runs(client, "cloned")]
    assert (kinds.count("sequence"), kinds.count("task")) == (2, 4)


def test_a_run_that_another_process_learns_is_recorded_by_that_one_alone(tmp_path: Path) -> None:
    run, asked = run_of_request(tiny_request(run="busy"), tmp_path), list[Run]()

    class Asked(Persist):
        def __call__(self, run: Run, note: Note) -> None:  # noqa: ARG002  (as any)
            asked.append(run)

    with locked(run.work), pytest.raises(CpgError, match="another process is learning it"):
        learn(run, silently, Asked(tmp_path, track=True))
    assert not asked
