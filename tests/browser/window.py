"""A page in Chromium: what it shows, what is drawn on its canvas, and whom it asks."""

from __future__ import annotations

import io
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from waiting import HANG

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Request

LOOPBACK = {"127.0.0.1", "localhost", "::1"}

DRAWN = """
window.canvasTexts = [];
Object.defineProperty(Object.prototype, "_text", {
    configurable: true,
    get() { return undefined; },
    set(value) {
        Object.defineProperty(this, "_text", {value, writable: true, enumerable: true, configurable: true});
        window.canvasTexts.push(this);
    },
});
"""
"""Keeps every object that is given a `_text`: the texts of PixiJS, with which Prefect draws its graph, are such."""


class Window:
    """One page and what it did since it was opened."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: set[str] = set()
        self.patience = HANG
        page.set_default_timeout(1000 * HANG)
        page.add_init_script(DRAWN)
        page.on("request", self._note)

    def open(self, url: str) -> None:
        """Go to an address; the same one again is loaded again."""
        self.page.goto("about:blank")
        self.page.goto(url)

    def sees(self, *texts: str) -> None:
        """Each text is on the page, or comes to be there.

        Raises:
            AssertionError: one is not there in time.
        """
        from playwright.sync_api import expect

        for text in texts:
            shown = self.page.get_by_text(text).locator("visible=true").first
            expect(shown, f"not on the page: {text!r}").to_be_visible(timeout=1000 * self.patience)

    def draws(self, *texts: str) -> list[str]:
        """Each text is written on the canvas, or comes to be; all that is written there, in the order it was made.

        Raises:
            AssertionError: one is not written in time.
        """
        from playwright.sync_api import TimeoutError as NotInTime

        there = "wanted => wanted.every(text => canvasTexts.some(drawn => drawn._text === text))"
        try:
            self.page.wait_for_function(there, arg=list(texts), timeout=1000 * self.patience)
        except NotInTime:
            raise AssertionError(f"not drawn: {sorted(set(texts) - set(self._drawn()))}") from None
        return self._drawn()

    def choose(self, tab: str) -> None:
        """Click on a tab of Prefect's pages."""
        self._tab(tab).click()

    def field(self, name: str) -> Locator:
        """The field of a form that asks for a parameter: its name, its help and where to fill it in."""
        label = self.page.locator(".schema-form-property__label", has_text=re.compile(rf"^{name}( \(Optional\))?$"))
        return self.page.locator(".schema-form-property").filter(has=label)

    def choices(self, name: str) -> list[str]:
        """What a field of a form lets a person choose from."""
        control = self.field(name).locator("button.p-select-button__control")
        control.press("ArrowDown")
        options = self.page.get_by_role("option")
        options.first.wait_for()
        shown = options.all_inner_texts()
        control.press("Escape")
        options.first.wait_for(state="hidden")
        return shown

    def painted_green(self) -> int:
        """How many pixels of the canvas have the bright green of what is completed."""
        picture = Image.open(io.BytesIO(self.page.locator("canvas").first.screenshot())).convert("RGB")
        above_the_bar_of_states = picture.crop((0, 0, picture.width, int(0.9 * picture.height)))
        red, green, blue = np.asarray(above_the_bar_of_states).transpose(2, 0, 1)
        return int(((green > 120) & (red < 80) & (blue < 120)).sum())

    def strangers(self) -> Collection[str]:
        """The hosts other than this one that the page asked."""
        return self.asked - LOOPBACK

    def picture(self, file: Path) -> None:
        """What it looks like."""
        self.page.screenshot(path=file)

    def _tab(self, name: str) -> Locator:
        return self.page.locator(".p-tab").get_by_text(name, exact=True)

    def _drawn(self) -> list[str]:
        texts: list[str] = self.page.evaluate("canvasTexts.map(drawn => drawn._text)")
        return texts

    def _note(self, request: Request) -> None:
        if host := urlsplit(request.url).hostname:
            self.asked.add(host)
