"""The report in Chromium, as wide as a desk and as a phone: every figure is there, has something in it, can be read.

A figure is an image with text of its own, which shrinks with it.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from core.tiny import ROOT
from matplotlib.figure import Figure
from PIL import Image
from tiny_results import tiny_plan

from flows.reproduce.claims import claims
from flows.reproduce.frames import frames
from flows.reproduce.report.drawing import SMALLEST_PT, figure, styled, svg_uri
from flows.reproduce.report.page import page, sections
from flows.reproduce.result import RunResult

from .window import Window

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
PIXELS_A_POINT = 4 / 3
SMALLEST_PX = 8.0
INKED = 0.01


@pytest.fixture(scope="module")
def report(results: dict[str, RunResult], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """Where the report is, and how many figures it must have."""
    file = tmp_path_factory.mktemp("report") / "index.html"
    file.write_text(page(tiny_plan(), results, frames(tiny_plan(), results, ROOT), "## Found\n\nNothing.\n"))
    return file.as_uri(), sum(len(section.pictures) for section in sections(results, claims(results)))


@pytest.fixture(params=SIZES)
def sized(window: Window, request: pytest.FixtureRequest) -> Window:
    width, height = SIZES[request.param]
    window.page.set_viewport_size({"width": width, "height": height})
    return window


def test_every_figure_is_there_and_can_be_read(sized: Window, report: tuple[str, int]) -> None:
    address, count = report
    sized.open(address)
    pictures = sized.page.locator(".figures img").all()
    assert len(pictures) == count > 20
    wrong = {str(picture.get_attribute("alt")): faults(picture) for picture in pictures}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_nothing_runs_over_the_edge(sized: Window, report: tuple[str, int]) -> None:
    """What is wider than the page scrolls within itself."""
    sized.open(report[0])
    wide, there = sized.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= there
    over = "tables => tables.filter(t => !t.closest('.scroll') && t.scrollWidth > window.innerWidth).length"
    assert sized.page.locator("table").evaluate_all(over) == 0


def test_tables_claims_and_findings_are_on_the_page(sized: Window, report: tuple[str, int]) -> None:
    sized.open(report[0])
    sized.sees("What the paper claims", "Found", "CPG avg", "Table 1", "Table 8", "Every method")
    size = sized.page.locator("td").first.evaluate("cell => parseFloat(getComputedStyle(cell).fontSize)")
    assert size >= SMALLEST_PX


def test_an_empty_figure_is_caught(window: Window) -> None:
    assert faults(shown(window, figure(3.0), 346)) == ["empty"]


def test_a_figure_that_is_too_small_to_read_is_caught(window: Window) -> None:
    with styled():
        drawn = figure(3.0)
        drawn.subplots().plot([1, 2, 3])
        assert faults(shown(window, drawn, 346)) == []
        assert faults(shown(window, drawn, 173)) == ["text too small"]


def test_a_broken_figure_is_caught(window: Window) -> None:
    window.page.set_content("<img src='data:image/svg+xml;base64,AAAA' width=300 height=200>")
    assert "broken" in faults(window.page.locator("img"))


def shown(window: Window, drawn: Figure, width: int) -> Locator:
    window.page.set_content(f"<img src='{svg_uri(drawn)}' width={width}>")
    return window.page.locator("img")


def faults(picture: Locator) -> list[str]:
    """What is wrong with an image of a figure, as it is shown."""
    picture.scroll_into_view_if_needed()
    picture.evaluate("image => image.complete || new Promise(done => image.onload = image.onerror = done)")
    natural, width = picture.evaluate("image => [image.naturalWidth, image.getBoundingClientRect().width]")
    if not natural:
        return ["broken"]
    pixels = np.asarray(Image.open(io.BytesIO(picture.screenshot())).convert("RGB"))
    found = [] if (pixels.min(axis=2) < 200).mean() > INKED else ["empty"]
    smallest = SMALLEST_PT * PIXELS_A_POINT * width / natural
    return found if smallest >= SMALLEST_PX else [*found, "text too small"]
