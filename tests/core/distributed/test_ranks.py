"""Two processes learn together what one learns alone, hold the same bits, and stop, fail and go on as one."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from golden.figures import agree, figures, structure
from waiting import until

from core.tiny import bits, frozen_bytes, learn, settings, spec
from cpg_core.config.schedules import STEADY
from cpg_core.data.reading.fetch import Share
from cpg_core.data.task import load_task_data
from cpg_core.distributed import rank_worker
from cpg_core.distributed.process_group import Follower, Leader, RankProcess, join_process_group
from cpg_core.errors import CpgError
from cpg_core.model.layers import Layers
from cpg_core.model.network import build, shared_parameters
from cpg_core.recall.audit import audit
from cpg_core.runner import learn_sequence
from cpg_core.storage.files import read_tensors, sha256, write_tensors
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_or_new, open_run
from cpg_core.storage.snapshot import Position, ReadOnly, Snapshots
from cpg_core.training.loop import Plan, train
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.ranks import SINGLE_PROCESS, Ranks
from cpg_core.training.reporter import Interrupted, Silent
from cpg_core.training.score_rules import adam_scores

SHORT = ("pick_train.epochs=2", "pick_train.score_freeze_epoch=1", "prune.targets=[0.5]", "retrain.epochs=1")
TWO = {"tasks": "1-2", "overrides": (*SHORT, "compute.processes=2")}
BATCH = 31  # images: one rank has one more than the other
EPOCH = 9  # batches
SIGNALS = ("SigPnd", "ShdPnd", "SigBlk")
"""Of a process in /proc, as masks: those that wait for a thread, or for the process, and those that it shuts out."""


def learned_with(ranks: Ranks, folder: Path, precision: str = "float32") -> Layers:
    """Train by a plan that holds some weights and learns picks, as far as two epochs: what the rank then has."""
    data = load_task_data(spec(tasks="1").tasks[0], image_size=8, channels=1, val_fraction=0.1, seed=1)
    network = build("digits_cnn", 0.5, 2, "ranks").place(torch.device("cpu"), precision)
    values = {name: value.detach().clone() for name, value in shared_parameters(network).items()}
    trainable = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in values.items()}
    for mask in trainable.values():
        mask[::2] = True
    optimizer = TaskOptimizer(
        network,
        trainable,
        values,
        settings().optimizer,
        scores=adam_scores(0.01, 0.005),
        compiled=False,
    )
    plan = Plan(
        task="zero-one", stage="pick_train", seed=(1,), epochs=2, batch_size=BATCH, eval_batch_size=20, split="val",
        lr=0.01, schedule=STEADY, score_lr=0.002,
    )  # fmt: skip
    epochs, _, _ = train(network, optimizer, data, plan, Snapshots(folder / "snapshots", "key"), Silent(), ranks)
    figures = {name: torch.tensor([getattr(epoch, name) for epoch in epochs]) for name in ("loss", "accuracy")}
    return {**network.state_dict(), **optimizer.tensors(), **figures}


NOT_AVERAGED = {"wrap_ddp": lambda _self, network: network}
"""Each rank goes its own way."""
WAYS: dict[str, dict[str, Callable[..., Any]]] = {
    "together": {},
    "bfloat16": {},
    "not averaged": {**NOT_AVERAGED, "assert_identical": lambda _self, _tensors: None},
    "not averaged but compared": NOT_AVERAGED,
    # A rank with fewer images counts as much as one with more.
    "not weighed": {"scale_loss": lambda _self, loss, _images, _in_batch: loss},
}
"""What is different about a rank."""


def every_way(share: Share, port: int, folder: Path, link: Connection) -> None:
    """Be a rank that learns in each of the ways, one after the other, and leaves what it then has."""
    role: type = Follower if share.index else Leader
    given = (share,) if share.index else ()
    with join_process_group(share, port, settings().compute) as device:
        for name, way in WAYS.items():
            kind = type(name, (role,), way)
            place = folder / f"{name} {share.index}"
            ranks = kind(
                *given, device, link if share.index else [RankProcess(multiprocessing.current_process(), link)]
            )
            try:
                learned = learned_with(ranks, place, "bfloat16" if name == "bfloat16" else "float32")
                write_tensors(place.with_suffix(".safetensors"), learned)
            except CpgError as error:
                place.with_suffix(".error").write_text(str(error))


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from accelerate.utils.other import get_free_port

    torch.set_num_threads(1)
    folder, spawn, port = tmp_path_factory.mktemp("ways"), multiprocessing.get_context("spawn"), get_free_port()
    here, there = spawn.Pipe()
    other = spawn.Process(target=every_way, args=(Share(1, 2), port, folder, there))
    other.start()
    every_way(Share(0, 2), port, folder, here)
    other.join()
    assert other.exitcode == 0
    return folder


def left(folder: Path, name: str, rank: int) -> Layers:
    path = folder / f"{name} {rank}.safetensors"
    return read_tensors(path, sha256(path))


def apart(one: Layers, other: Layers) -> float:
    """The largest difference of a weight, statistic, buffer or figure."""
    return max(float((one[name] - other[name]).double().abs().nan_to_num().max()) for name in one)


def test_every_rank_ends_with_the_same_bytes_on_disk(ways: Path) -> None:
    first, second = (ways / f"together {rank}.safetensors" for rank in range(2))
    assert first.read_bytes() == second.read_bytes()
    snapshots = [sorted((ways / f"together {rank}" / "snapshots").glob("*.safetensors")) for rank in range(2)]
    assert [len(found) for found in snapshots] == [1, 1]
    assert snapshots[0][0].read_bytes() == snapshots[1][0].read_bytes()


def test_they_end_with_the_same_bytes_in_half_precision(ways: Path, tmp_path: Path) -> None:
    one, other = (left(ways, "bfloat16", rank) for rank in range(2))
    assert bits(one) == bits(other)
    alone = learned_with(SINGLE_PROCESS, tmp_path, "bfloat16")
    assert apart(one, left(ways, "together", 0)) > 1e-3
    assert one["accuracy"].tolist() == alone["accuracy"].tolist()


def test_without_the_average_the_ranks_come_apart(ways: Path) -> None:
    one, other = (bits(left(ways, "not averaged", rank)) for rank in range(2))
    assert one != other
    assert one["head.weight"] != other["head.weight"]


def test_ranks_that_come_apart_are_told_on_every_rank(ways: Path) -> None:
    told = [(ways / f"not averaged but compared {rank}.error").read_text() for rank in range(2)]
    assert told[0] == told[1]
    assert "hold different bits of network:" in told[0]
    assert "compute.processes=1" in told[0]


def test_they_learn_what_one_process_learns_alone(ways: Path, tmp_path: Path) -> None:
    """Up to rounding: batch norm sees the whole batch, and every image counts alike. Leaving out either is seen."""
    alone = learned_with(SINGLE_PROCESS, tmp_path)
    assert apart(left(ways, "together", 0), alone) < 1e-5
    assert apart(left(ways, "not weighed", 0), alone) > 1e-4
    assert apart(left(ways, "not averaged", 0), alone) > 1e-2


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    return learn(tmp_path_factory.mktemp("two"), spec(**TWO))


def test_a_whole_task_comes_out_as_with_one_process(unbroken: Run, learned: Callable[..., Run]) -> None:
    together, alone = figures(unbroken), figures(learned(tasks="1-2", overrides=SHORT))
    assert agree(together[:1], alone[:1])
    assert structure(together) == structure(alone)
    assert all(finding.ok for finding in audit(unbroken))
    assert multiprocessing.active_children() == []


class At(Silent):
    """Does something at one batch, counted from 0 over all that is trained in this attempt, or asks to stop there."""

    def __init__(self, batch: int, do: Callable[[], bool]) -> None:
        self.left, self.do = batch, do

    def stop_requested(self) -> bool:
        self.left -= 1
        return self.left == -1 and self.do()


def interrupt_all() -> bool:
    """As Ctrl-C does: every process gets the signal, and the leader makes a wish to stop of it."""
    (other,) = multiprocessing.active_children()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(cast(int, other.pid), number)
    until(lambda: not undelivered(cast(int, other.pid)), "the signals' arrival")
    return True


def undelivered(pid: int) -> bool:
    """Whether a signal that the process has not shut out still waits for it; where Linux does not tell: no."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    masks = {name: int(value, 16) for name, value in (line.split(":") for line in lines) if name in SIGNALS}
    return bool(masks) and (masks["SigPnd"] | masks["ShdPnd"]) & ~masks["SigBlk"] != 0


def kill_the_other() -> bool:
    (other,) = multiprocessing.active_children()
    other.kill()
    other.join()
    return False


def test_stopped_and_a_rank_killed_it_goes_on_to_the_same_bytes(tmp_path: Path, unbroken: Run) -> None:
    run = open_or_new(tmp_path, spec(**TWO))
    with pytest.raises(Interrupted):
        learn_sequence(run, At(EPOCH * 4 + 4, interrupt_all))
    assert run.frozen() == 1
    assert [path.name for path in run.task_work(2).rglob("at-*.json")] == ["at-0000-000004.json"]
    with pytest.raises(CpgError, match=r"process 1 .*ended \(exit code -9.*same command again"):
        learn_sequence(open_run(tmp_path, "tiny"), At(EPOCH + 2, kill_the_other))
    assert [path.name for path in run.task_work(2).rglob("at-*.json")] == ["at-0001-000000.json"]
    learn_sequence(open_run(tmp_path, "tiny"), Silent())
    assert frozen_bytes(run) == frozen_bytes(unbroken)
    assert multiprocessing.active_children() == []


def test_more_processes_than_gpus_are_refused(new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_worker, "device_of", lambda _choice: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(CpgError, match=r"compute\.processes is 2, one a GPU, and this machine has 1"):
        learn_sequence(new_run(**TWO), Silent())


def test_a_finished_run_starts_nobody(unbroken: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_worker, "_start", lambda *_: pytest.fail("a process was started"))
    learn_sequence(unbroken, Silent())


def test_a_mistake_that_one_rank_finds_is_told_in_its_words() -> None:
    """Such as an image that it cannot read, while the others wait for it in an exchange."""
    here, there = multiprocessing.Pipe()
    process = SimpleNamespace(sentinel=here, is_alive=lambda: True, join=lambda _seconds: None)
    leader = Leader(torch.device("cpu"), [RankProcess(cast(Any, process), here)])
    there.send_bytes(b"image 7 cannot be read")
    with pytest.raises(CpgError, match="image 7 cannot be read"), leader.on_all_ranks("call"):
        raise RuntimeError("an exchange broke off")
    with pytest.raises(CpgError, match="a mistake of its own"), leader.on_all_ranks("call"):
        raise CpgError("a mistake of its own")


def test_a_follower_writes_no_snapshot(tmp_path: Path) -> None:
    for kind, files in ((ReadOnly, 0), (Snapshots, 2)):
        kind(tmp_path / kind.__name__, "key").save(Position(), dict)
        assert len(list((tmp_path / kind.__name__).glob("*"))) == files
