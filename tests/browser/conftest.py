"""Two methods learned by the worker of a deployment, and a window to look at them through."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from core.tiny import GROWS, TINY

from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run

from .services import Services, services
from .window import Window

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

TASKS = {"cpg": "1-3", "packnet": "1"}
"""What each method learns: the pages of Prefect are looked at for the first, those of MLflow compare both."""
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="package")
def browser() -> Iterator[BrowserContext]:
    """Chromium without a screen. All tests share what it keeps of the pages, which are slow to load."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[browser]'")
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver, driver.chromium.launch(executable_path=executable) as chromium:
        yield chromium.new_context(viewport={"width": 1400, "height": 1000})


@pytest.fixture(scope="package")
def pages(
    browser: BrowserContext,  # noqa: ARG001  (no server is started where there is no browser to look at it)
    tmp_path_factory: pytest.TempPathFactory,
    prefect_database: Path,
) -> Iterator[Services]:
    """The servers."""
    with services(tmp_path_factory.mktemp("services"), prefect_database) as started:
        yield started


@pytest.fixture(scope="package")
def flow_runs(pages: Services) -> dict[str, str]:
    """The id of a finished flow run for each method; each run is named `seen-METHOD`."""
    asked = {"sequence": "digits-5", "goal": 0.6, "overrides": [*TINY, *GROWS]}
    started = {
        method: pages.start(**asked, tasks=tasks, method=method, run=f"seen-{method}")
        for method, tasks in TASKS.items()
    }
    for flow_run in started.values():
        pages.finish(flow_run)
    return started


@pytest.fixture(scope="package")
def deployed(pages: Services, flow_runs: dict[str, str]) -> dict[str, Run]:
    """What the runs left on disk."""
    return {method: open_run(pages.root, f"seen-{method}") for method in flow_runs}


@pytest.fixture
def window(browser: BrowserContext, tmp_path: Path) -> Iterator[Window]:
    """A window of its own for each test. No page may ask another host; what it looked like at the end is kept."""
    with browser.new_page() as page:
        opened = Window(page)
        yield opened
        opened.picture(tmp_path / "window.png")
        assert not opened.strangers()
