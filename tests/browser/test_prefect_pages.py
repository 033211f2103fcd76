"""The pages of Prefect: the graph of a run, its tables, and the form that starts one."""

from __future__ import annotations

from uuid import uuid4

import pytest
from core.tiny import ROOT

from cpg_core.config.schema import read_mapping
from cpg_core.methods import names
from cpg_core.storage.run import Run

from .services import Services
from .window import Window

pytestmark = pytest.mark.browser

TASKS = ("zero-one", "two-three", "four-five")
GREEN = 200
"""Pixels: what the smallest box of a stage has."""


def shows_the_run(window: Window, pages: Services, flow_run: str) -> None:
    """The page of a sequence has a subflow a task in its graph, and tells of each task in its log."""
    window.open(f"{pages.prefect}/runs/flow-run/{flow_run}")
    window.draws(*(f"task / {name}" for name in TASKS))
    window.sees(*(f"== {place}/3 {name}: test accuracy" for place, name in enumerate(TASKS, 1)))


def test_a_run_is_a_graph_of_its_tasks(
    window: Window, pages: Services, flow_runs: dict[str, str], deployed: dict[str, Run]
) -> None:
    shows_the_run(window, pages, flow_runs["cpg"])
    assert window.painted_green() > GREEN
    window.sees(deployed["cpg"].spec.name)


def test_a_run_that_is_not_there_shows_nothing(window: Window, pages: Services) -> None:
    window.patience = 2
    with pytest.raises(AssertionError, match=r"not drawn: .*zero-one"):
        shows_the_run(window, pages, str(uuid4()))


def test_a_task_is_a_graph_of_its_stages(
    window: Window, pages: Services, flow_runs: dict[str, str], deployed: dict[str, Run]
) -> None:
    """From the run's page, as a person goes there: the list of subflows, and a click on one."""
    window.open(f"{pages.prefect}/runs/flow-run/{flow_runs['cpg']}")
    window.choose("Subflow Runs")
    window.sees(*TASKS)
    window.page.get_by_role("link", name="two-three").first.click()
    drawn = window.draws("freeze two-three")
    stages = [text for text in drawn if " two-three" in text and "/" not in text]
    assert [text.split()[0] for text in stages] == [
        stage.stage.replace("_", "-") for stage in deployed["cpg"].record(2).stages
    ]
    assert {text.split()[0] for text in stages} == {"pick-train", "check", "grow", "prune", "retrain", "freeze"}
    assert {"grow two-three x1.0 -> x1.5", "pick-train two-three x1.5"} <= set(stages)
    assert window.painted_green() > GREEN
    window.choose("Task Runs")
    window.sees(*stages)


def test_results_are_a_table(
    window: Window, pages: Services, flow_runs: dict[str, str], deployed: dict[str, Run]
) -> None:
    window.open(f"{pages.prefect}/runs/flow-run/{flow_runs['cpg']}")
    window.choose("Artifacts")
    window.page.get_by_role("link", name="seen-cpg-results").first.click()
    window.sees("seen-cpg: 3 of 3 tasks, average accuracy", "at freeze %", "redundancy x")
    rows = window.page.locator("tbody tr").all_inner_texts()
    assert len(rows) == 3
    for row, record in zip(rows, deployed["cpg"].records(), strict=True):
        cells = row.split()
        assert cells[:2] == [record.name, f"{100 * record.test_accuracy:.4g}"]
        assert str(record.delta_bytes) in cells


def test_the_form_shows_every_parameter(window: Window, pages: Services) -> None:
    """With its help, and with its choices where there are such."""
    deployment = pages.deployment
    window.open(f"{pages.prefect}/deployments/deployment/{deployment['id']}/run")
    parameters = deployment["parameter_openapi_schema"]["properties"]
    assert {"sequence", "method", "goal", "profile", "ordering", "seed"} <= set(parameters)
    for name, parameter in parameters.items():
        field = window.field(name)
        field.wait_for()
        assert parameter["description"].replace("`", "") in " ".join(field.inner_text().split())
    assert window.choices("method") == names()
    assert set(window.choices("profile")) == {"None", *read_mapping(ROOT / "params.yaml")["profiles"]}
