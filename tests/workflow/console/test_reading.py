"""Images that are read, on a terminal and in a log."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console
from rich.progress import Progress

from cpg_core.storage.run import Run
from cpg_core.training.reporter import Several
from flows.console.reporters import MANY_IMAGES, Lines
from flows.console.signals import Stop
from flows.console.terminal import Bars


def test_a_log_has_a_line_for_many_images_alone(new_run: Callable[..., Run]) -> None:
    lines: list[str] = []
    reporter = Lines(new_run(tasks="1"), Stop(), lines.append)
    for done in range(2 * MANY_IMAGES + 1):
        assert not reporter.reading("fish", done, 2 * MANY_IMAGES)
        assert not reporter.reading("ray", min(done, 60), 60)
    assert lines == [f"images of fish: {done} of 10,000 read" for done in ("0", "5,000", "10,000")]


def test_a_terminal_shows_the_count_from_the_first_image_on(new_run: Callable[..., Run]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Progress(console=console, auto_refresh=False) as progress:
        bars = Bars(new_run(tasks="1"), Stop(), progress)
        bars.reading("fish", 0, 300)
        (shown,) = [bar for bar in progress.tasks if bar.visible and "fish" in bar.description]
        assert "0/300" in shown.description
        bars.reading("fish", 300, 300)
        assert not shown.visible


def test_all_are_told_and_one_is_enough_to_stop(new_run: Callable[..., Run]) -> None:
    run, stop, lines = new_run(tasks="1"), Stop(), list[str]()
    both = Several(Lines(run, stop, lines.append), Lines(run, Stop(), lines.append))
    assert not both.reading("fish", 1, 2)
    stop.requested = True
    assert both.reading("fish", MANY_IMAGES, MANY_IMAGES)
    assert len(lines) == 2
