"""The pages of MLflow: the runs of a sequence, and their comparison."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from .services import Services
from .window import Window

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("flow_runs")]


def opens_the_table(window: Window, pages: Services, sequence: str) -> None:
    """The run table, filtered by sequence."""
    wanted = quote(f"tags.`cpg.kind` = 'sequence' and tags.sequence = '{sequence}'")
    window.open(f"{pages.mlflow}/#/experiments/1/runs?searchFilter={wanted}")


def shows_the_runs(window: Window) -> None:
    """It has a row a run and none a task."""
    window.sees("seen-cpg", "seen-packnet", "2 matching runs")


def test_the_runs_of_a_sequence(window: Window, pages: Services) -> None:
    opens_the_table(window, pages, "digits-5")
    shows_the_runs(window)


def test_another_sequence_has_none(window: Window, pages: Services) -> None:
    opens_the_table(window, pages, "cifar100-20")
    window.sees("0 matching runs")
    window.patience = 1  # the table is there, and nothing more comes
    with pytest.raises(AssertionError, match="seen-cpg"):
        shows_the_runs(window)


def test_two_methods_are_compared(window: Window, pages: Services) -> None:
    """As a person does it: both runs ticked, and a click on Compare."""
    opens_the_table(window, pages, "digits-5")
    shows_the_runs(window)
    window.page.get_by_role("checkbox").first.check()
    window.page.get_by_role("button", name="Compare").click()
    window.sees("Comparing 2 Runs from 1 Experiment", "Parallel Coordinates Plot", "seen-cpg", "seen-packnet")
    axes = window.page.locator("svg.main-svg text")
    axes.get_by_text("packnet").wait_for()
    assert {"method", "average_accuracy", "cpg", "packnet"} <= set(axes.all_text_contents())
