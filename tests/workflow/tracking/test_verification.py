"""A verification task in MLflow: its figures as metrics, and its answers as those of a served model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
from core.people import face_task, people_backbone, people_spec, who_task, write_faces
from core.tiny import learn
from matplotlib.figure import Figure

from cpg_core.storage.run import Run
from flows.reproduce.report.roc import roc
from flows.reproduce.result import RunResult, result_of
from flows.tracking.served_model import RunModel
from flows.tracking.task_run import write_task


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    root = tmp_path_factory.mktemp("tracked")
    with people_backbone(root):
        faces = write_faces(root / "faces", trained=20, pictures=4, tested=20)
        yield learn(root, people_spec([face_task(faces), who_task(faces)]))


def written(run: Run, index: int) -> MagicMock:
    store = MagicMock()
    store.find.return_value = []
    write_task(store, run, index, "parent", "identity")
    return store


def metrics(run: Run, index: int) -> dict[str, float]:
    (_, values) = written(run, index).metrics.call_args.args
    return {name: value for name, _step, value in values}


def pictures(run: Run, index: int) -> dict[str, Figure]:
    return {call.args[1]: call.args[2] for call in written(run, index).figure.call_args_list}


def test_its_figures_are_metrics(run: Run) -> None:
    found, figures = metrics(run, 1), run.record(1).figures
    assert found["test_accuracy"] == run.record(1).test_accuracy
    assert figures.keys() == {
        "standard_deviation",
        "true_accept_rate",
        "false_accept_rate",
        "roc_area",
        "threshold",
    }
    assert {name: found[name] for name in figures} == figures
    assert not figures.keys() & metrics(run, 2).keys()


def test_its_picture_is_the_curve_of_its_test_pairs(run: Run) -> None:
    figure, figures, points = pictures(run, 1)["roc.png"], run.record(1).figures, run.roc(1)
    curve, mark, chance = figure.axes[0].lines
    assert list(curve.get_ydata()) == [accepted for _, accepted in points]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([0.05], [figures["true_accept_rate"]])
    assert f"area {figures['roc_area']:.3f}" in str(curve.get_label())
    area = np.trapezoid([0, *curve.get_ydata()], [0, *(false_accepts for false_accepts, _ in points)])
    assert area == pytest.approx(figures["roc_area"], abs=0.02)
    assert np.trapezoid(chance.get_ydata(), chance.get_xdata()) == pytest.approx(0.5, abs=0.01) != area


def test_classes_have_no_curve_and_pairs_no_confusions(run: Run) -> None:
    assert [sorted(pictures(run, index)) for index in (1, 2)] == [["roc.png"], ["confusion.png"]]
    assert run.roc(2) == [] and run.confusion(1) is None


def test_the_report_draws_a_curve_a_method(run: Run) -> None:
    """The numbers that it needs are in the result, which is read without the run."""
    result = RunResult.model_validate_json(result_of(run).model_dump_json())
    other = result.model_copy(update={"method": "scratch"})
    (figure,) = roc([result, other])
    lines = figure.axes[0].lines
    assert [str(line.get_label()).partition(":")[0] for line in lines[::2]] == ["CPG 0.97", "scratch", "chance"]
    assert list(lines[0].get_ydata()) == [accepted for _, accepted in run.roc(1)]
    without = result.model_copy(update={"tasks": result.tasks[1:]})
    assert roc([without]) == []


def test_the_model_tells_embeddings_and_classes(run: Run) -> None:
    model = RunModel()
    model.load_context(SimpleNamespace(artifacts={"root": str(run.root)}))
    images = run.data(1).test.images
    assert images is not None
    given = images[:2].permute(0, 2, 3, 1).tolist()
    faces, who = (model.predict(None, given, {"task": task}) for task in ("faces", "who"))
    assert faces.keys() == {"task", "embeddings", "similarity", "distance", "threshold", "same"}
    assert who.keys() == {"task", "classes", "predicted", "probabilities"}
    assert json.loads(json.dumps([faces, who])) == [faces, who]


def test_a_classification_has_no_figures_on_disk(run: Run) -> None:
    written = [json.loads((run.task_folder(index) / "record.json").read_text()) for index in (1, 2)]
    assert ["figures" in record for record in written] == [True, False]
    assert ["loss" in record["task"] for record in written] == [True, False]


def test_runs_lie_where_they_are_read(run: Run) -> None:
    """Images inside the root are named relative to it, those of pairs too."""
    stored = json.loads((run.folder / "run.json").read_text())["tasks"][0]
    assert Path(stored["pairs"]["file"]) == Path("faces/pairs.txt")
    assert Path(stored["pairs"]["images"]) == Path("faces/test")
