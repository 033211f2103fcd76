"""What the stages of a task share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cpg_core.methods import find
from cpg_core.stages import context as module
from cpg_core.stages.open_task import open_task
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Silent


def test_it_is_widened_once_a_budget(new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    widened, made = module.widened, []
    monkeypatch.setattr(module, "widened", lambda *args: made.append(args[1]) or widened(*args))
    context = open_task(new_run(), find("cpg"), 1, Silent())
    assert context.shared(1.0) is context.before
    assert context.shared(2.0) is context.shared(2.0) is context.starting(2.0)
    assert context.shared(3.0).budget_x == 3.0
    assert made == [2.0, 3.0]
