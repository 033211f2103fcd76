"""Networks stay ready up to a bound in bytes; the one that was asked for longest ago goes first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cpg_core.model.network import Network, build
from cpg_core.recall import predictor
from cpg_core.recall.network_cache import NetworkCache
from cpg_core.recall.predictor import Serving
from cpg_core.storage.files import Damaged
from cpg_core.storage.run import Run


def network() -> Network:
    return build("digits_cnn", 0.25, 2, 1)


SIZE = sum(tensor.nbytes for tensor in network().state_dict().values())


def asked(cache: NetworkCache, names: str) -> str:
    """Which of the names had to be made, in the order in which they are asked for."""
    made: list[str] = []

    def make(name: str) -> Network:
        made.append(name)
        return network()

    for name in names:
        cache.get(name, lambda name=name: make(name))  # type: ignore[misc]
    return "".join(made)


def test_what_fits_is_made_once() -> None:
    assert asked(NetworkCache(3 * SIZE), "abcabcabc") == "abc"


def test_the_one_asked_for_longest_ago_goes() -> None:
    assert asked(NetworkCache(2 * SIZE), "abacab") == "abcb"


def test_one_that_is_too_large_stays_until_another_is_asked_for() -> None:
    assert asked(NetworkCache(1), "aabba") == "aba"


def test_a_task_that_is_ready_is_not_put_together_again(
    learned: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = learned()
    serving = Serving(run)
    for task in serving.tasks:
        serving.switch(task)
    made: list[object] = []
    monkeypatch.setattr(predictor, "network_of", lambda *given: made.append(given))
    for task in serving.tasks:
        serving.switch(task)
    assert made == []


def test_an_independent_network_is_read_once_and_by_nobody_who_asks_another(
    damageable: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, read, delta = damageable(method="scratch"), list[int](), Run.delta
    monkeypatch.setattr(Run, "delta", lambda run, index, record=None: read.append(index) or delta(run, index, record))
    pixels = run.data(2).test.take(np.arange(4)).images
    assert pixels is not None
    serving = Serving(run)
    answers = [serving.answer_pixels("two-three", pixels).logits for _ in range(2)]
    assert torch.equal(*answers)
    assert read == [2]


@pytest.mark.parametrize("file", ["delta.safetensors", "record.json"])
def test_an_independent_task_answers_whatever_ails_another(damageable: Callable[..., Run], file: str) -> None:
    run = damageable(method="scratch")
    pixels = run.data(2).test.take(np.arange(4)).images
    assert pixels is not None
    expected = Serving(run).answer_pixels("two-three", pixels).logits
    (run.task_folder(1) / file).unlink()
    for serving in (Serving(run), Serving(run, "two-three")):
        assert torch.equal(serving.answer_pixels("two-three", pixels).logits, expected)
        with pytest.raises(Damaged, match="001-zero-one"):
            serving.answer_pixels("zero-one", pixels)
