"""Commands that read a run tell of the images that they read, and stop between two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cpg_core.storage.run import Run
from workflow.asking import cpg

Told = list[tuple[str, int, int]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What the bar on the terminal is told."""
    counts: Told = []

    @contextmanager
    def bar() -> Iterator[Callable[[str, int, int], object]]:
        yield lambda *count: counts.append(count)

    monkeypatch.setattr("flows.console.terminal.reading_bar", bar)
    return counts


def test_eval_tells_of_test_images(unbroken: Run, told: Told) -> None:
    assert cpg("eval", "tiny", "--task", "zero-one", "--root", unbroken.root).exit_code == 0
    total = len(unbroken.data(1).test)
    assert told[:2] == [("zero-one", 0, total), ("zero-one", 1, total)]
    assert told[-1] == ("zero-one", total, total)


def test_eval_tells_of_the_images_of_a_folder(unbroken: Run, told: Told, write_folder: Callable[..., Path]) -> None:
    folder = write_folder({"0": 3, "1": 3}, size=(8, 8))
    words = ("eval", "tiny", "--task", "zero-one", "--data", folder, "--root", unbroken.root)
    assert cpg(*words).exit_code == 0
    assert told[:7] == [("zero-one", done, 6) for done in range(7)]


def test_show_tells_of_each_task_that_it_recalls(unbroken: Run, told: Told) -> None:
    assert cpg("show", "tiny", "--root", unbroken.root).exit_code == 0
    assert list(dict.fromkeys(task for task, _, _ in told)) == ["zero-one", "two-three"]
    told.clear()
    assert cpg("show", "tiny", "--no-recall", "--root", unbroken.root).exit_code == 0
    assert not told


@pytest.mark.parametrize("words", [("eval", "tiny", "--task", "zero-one"), ("show", "tiny")], ids=["eval", "show"])
def test_ctrl_c_stops_them_between_two_images(
    unbroken: Run, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: Told = []

    @contextmanager
    def bar() -> Iterator[Callable[[str, int, int], object]]:
        def reading(*count: int) -> None:
            told.append(count)  # type: ignore[arg-type]
            if count[1] == 3:
                raise KeyboardInterrupt

        yield reading  # type: ignore[misc]

    monkeypatch.setattr("flows.console.terminal.reading_bar", bar)
    result = cpg(*words, "--root", unbroken.root)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "stopped\n")
    assert len(told) == 4
