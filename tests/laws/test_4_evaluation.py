"""Law 4: evaluation changes nothing, and no decision looks at the test split before the freeze."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from core.tiny import FORGETTING, GROWS, KEEPING, bits, frozen_bytes
from torch import nn

from cpg_core.data.batches import eval_batches
from cpg_core.data.splits.split import Split
from cpg_core.data.task import TaskData
from cpg_core.methods import find
from cpg_core.model.network import Network, build
from cpg_core.recall.audit import audit
from cpg_core.recall.metrics import matrix, summary, table
from cpg_core.recall.recall import evaluate
from cpg_core.runner import execute, learn_sequence, learn_task
from cpg_core.stages.context import TaskContext
from cpg_core.stages.freezing.stored_delta import Written, write_delta
from cpg_core.stages.next_stage import next_stage
from cpg_core.stages.open_task import open_task
from cpg_core.storage.records import StageRecord
from cpg_core.storage.run import Run
from cpg_core.training.evaluation import Evaluator, eval_mode, probe_images, probe_logits
from cpg_core.training.reporter import Silent


class TestSplitRead(Exception):
    """Someone asked for the test images."""

    __test__ = False


def everything(network: Network) -> tuple[object, ...]:
    """All that an evaluation could change: the bits, the mode of each module, torch's randomness."""
    modes = [module.training for module in network.modules()]
    return bits(network.state_dict()), modes, torch.get_rng_state().tolist()


def changes_nothing(run: Run, network: Network, evaluation: Callable[[Network, Run], object]) -> bool:
    before = everything(network)
    evaluation(network, run)
    return everything(network) == before


def count_right(network: Network, run: Run) -> float:
    data = run.data(1)
    return Evaluator(network)(eval_batches(data.val, data.mean, data.std, 8, "cpu"))


def look_at_probe(network: Network, run: Run) -> torch.Tensor:
    return probe_logits(network, probe_images(run.input.channels, run.input.size))


def forward_in_training_mode(network: Network, run: Run) -> torch.Tensor:
    return network(probe_images(run.input.channels, run.input.size))


def forward_after_eval(network: Network, run: Run) -> torch.Tensor:
    return network.eval()(probe_images(run.input.channels, run.input.size))


def forward_with_noise(network: Network, run: Run) -> torch.Tensor:
    with eval_mode(network):
        return network(nn.functional.dropout(probe_images(run.input.channels, run.input.size), 0.5))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("evaluation", [count_right, look_at_probe])
def test_reading_a_network_leaves_every_bit_and_mode(
    learned: Callable[..., Run], evaluation: Callable[[Network, Run], object], training: bool
) -> None:
    network = build("digits_cnn", 0.5, 2, "law 4").train(training)
    assert changes_nothing(learned(), network, evaluation)


@pytest.mark.parametrize("evaluation", [forward_in_training_mode, forward_after_eval, forward_with_noise])
def test_careless_readers_fail_the_same_check(
    learned: Callable[..., Run], evaluation: Callable[[Network, Run], object]
) -> None:
    assert not changes_nothing(learned(), build("digits_cnn", 0.5, 2, "law 4").train(), evaluation)


def test_looking_at_a_run_changes_no_file_and_no_randomness(damageable: Callable[..., Run]) -> None:
    run = damageable(overrides=GROWS)
    before, random = frozen_bytes(run), torch.get_rng_state()
    first = [evaluate(run, record.name) for record in run.records()]
    audit(run), table(run), matrix(run), summary(run)
    assert [evaluate(run, record.name) for record in run.records()] == first
    assert frozen_bytes(run) == before
    assert torch.equal(torch.get_rng_state(), random)


def blind(context: TaskContext) -> TaskContext:
    """The same task with test images that raise when they are read."""

    def refuse() -> Split:
        raise TestSplitRead

    return replace(context, data=replace(context.data, read_test=refuse))


def decide_blindly(run: Run) -> list[str]:
    """Take every task through its stages without its test images; only the freeze may have them."""
    stages = []
    for index in range(1, len(run.spec.tasks) + 1):
        context = open_task(run, find(run.spec.method), index, Silent())
        done: list[StageRecord] = []
        while (request := next_stage(context.method, done, context.rules)) is not None:
            done.append(execute(context if request.stage == "freeze" else blind(context), request))
        stages += [record.stage for record in done]
    return stages


@pytest.mark.parametrize("method", [*KEEPING, *FORGETTING])
def test_every_decision_is_made_without_the_test_split(new_run: Callable[..., Run], method: str) -> None:
    stages = decide_blindly(new_run(method=method, tasks="1-2"))
    assert stages.count("freeze") == 2
    assert ("grow" in stages) == (method == "progressive")


@pytest.mark.parametrize("method", ["cpg", "pae", "den"])
def test_whether_to_grow_is_decided_without_it_too(new_run: Callable[..., Run], method: str) -> None:
    stages = decide_blindly(new_run(method=method, tasks="1-2", overrides=GROWS))
    assert stages.count("freeze") == 2
    assert "grow" in stages


@pytest.mark.parametrize("split", ["val", "test"])
def test_how_a_task_is_stored_is_decided_without_it_too(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    """The freeze has the test images; what of it decides is given none. The paper's protocol is the control."""

    def blindly(path: Path, *, data: TaskData, **rest: Any) -> Written:  # noqa: ANN401  (as `write_delta`)
        def refuse() -> Split:
            raise TestSplitRead

        return write_delta(path, data=replace(data, read_test=refuse), **rest)

    monkeypatch.setattr("cpg_core.stages.freezing.freeze.write_delta", blindly)
    run = new_run(tasks="1", overrides=("store.values=int8", f"goal_split={split}"))
    with pytest.raises(TestSplitRead) if split == "test" else nullcontext():
        learn_sequence(run, Silent())


def test_the_papers_protocol_fails_the_same_check(new_run: Callable[..., Run]) -> None:
    with pytest.raises(TestSplitRead):
        decide_blindly(new_run(overrides=("goal_split=test",)))


def test_the_papers_protocol_is_recorded_as_such(learned: Callable[..., Run]) -> None:
    run = learned(tasks="1", overrides=("goal_split=test",))
    assert run.record(1).goal_split == "test"
    assert run.record(1).accuracy == run.record(1).test_accuracy
    assert list(table(run).filter(like="test %").columns) == ["test %"]


def test_a_task_whose_test_images_cannot_be_read_is_not_frozen(new_run: Callable[..., Run]) -> None:
    run = new_run(tasks="1")
    with pytest.raises(TestSplitRead):
        learn_task(blind(open_task(run, find(run.spec.method), 1, Silent())))
    assert run.frozen() == 0
