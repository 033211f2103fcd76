"""Whether the update is compiled: decided by a trial, not by what is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from cpg_core.errors import CpgError
from cpg_core.training.compiler import COMPILE_FROM, compile_error, compiles

CPU = torch.device("cpu")


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Exception | None], list[object]]]:
    """`tried(error)`: torch.compile gives functions that raise it when they are called, as it does; else they work."""
    compile_error.cache_clear()

    def set_up(error: Exception | None) -> list[object]:
        calls: list[object] = []

        def compiled(*values: object) -> None:
            calls.append(values)
            if error is not None:
                raise error

        monkeypatch.setattr(torch, "compile", lambda *_given, **_options: compiled)
        return calls

    yield set_up
    compile_error.cache_clear()


def test_a_compiler_that_does_not_work_is_not_used(tried: Callable[..., list[object]]) -> None:
    calls = tried(RuntimeError("C++ compile error\ncrt1.o: no such file"))
    assert not compiles("auto", CPU, COMPILE_FROM)
    assert not compiles("auto", CPU, COMPILE_FROM)
    assert len(calls) == 1, "tried once a process"
    with pytest.raises(CpgError, match=r"compute\.compile is always.*RuntimeError: C\+\+ compile error;"):
        compiles("always", CPU, 1)


def test_one_that_works_is_used_where_it_pays(tried: Callable[..., list[object]]) -> None:
    tried(None)
    assert compiles("auto", CPU, COMPILE_FROM)
    assert compiles("always", CPU, 1)


def test_nothing_is_tried_where_nothing_would_be_compiled(tried: Callable[..., list[object]]) -> None:
    calls = tried(None)
    assert not compiles("auto", CPU, COMPILE_FROM - 1)
    assert not compiles("never", CPU, COMPILE_FROM)
    assert calls == []
