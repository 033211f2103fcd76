"""The first page of each server, and whom pages may ask."""

from __future__ import annotations

import pytest

from .services import Services
from .window import Window

pytestmark = pytest.mark.browser


@pytest.mark.usefixtures("flow_runs")
def test_the_first_page_of_prefect(window: Window, pages: Services) -> None:
    """Its second UI, which a setting of the project turns off, would ask for a host of amplitude.com."""
    window.open(pages.prefect)
    window.sees("Flow Runs", "Task Runs", "Active Work Pools", "local")


@pytest.mark.usefixtures("flow_runs")
def test_the_first_page_of_mlflow(window: Window, pages: Services) -> None:
    window.open(pages.mlflow)
    window.sees("Experiments", "digits-5")


def test_a_page_that_asks_another_host_is_caught(window: Window) -> None:
    """As every window is asked at its end whom its page asked."""
    window.page.set_content("<img src='http://elsewhere.invalid/pixel.png'>")
    assert window.strangers() == {"elsewhere.invalid"}
    window.asked.clear()
