"""Part a of `gpu.py`: the laws on the device, with a network so small that a task takes seconds.

Each law comes with a control that must break it. The pass of the optimizer is compiled where the device compiles it, so
that these are the kernels that the large network runs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from faults_sequence import content
from gpu_results import Results
from gpu_setup import Clock, Setup, run_spec

from cpg_core.config.settings import Optimizer
from cpg_core.errors import CpgError
from cpg_core.machine import deterministic, device_of
from cpg_core.model.network import Network, build, shared_parameters
from cpg_core.recall.audit import audit
from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_or_new
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.reporter import Interrupted
from cpg_core.training.step import TrainStep

TINY = (
    "compute.threads=1",
    "base_width=0.5",
    "pick_train.epochs=3",
    "pick_train.score_lr=0.002",
    "pick_train.score_freeze_epoch=2",
    "check.min_train_accuracy=1.0",
    "grow.max_x=1.5",
    "prune.targets=[0.5, 0.8]",
    "prune.epochs=2",
    "prune.prune_epochs=1",
    "retrain.epochs=2",
    "retrain.score_lr=0.002",
)
"""The check always fails, so the network grows."""
STOPS = (5, 40, 90)
"""Batches after which a run is asked to stop, one stop a call."""
KILLED_AT = 60
COMPILED = Optimizer(kind="sgd", momentum=0.9, weight_decay=0.1)


def check_laws(setup: Setup, results: Results) -> None:
    """All of them, or as many as there is time for.

    Raises:
        CpgError: a law is broken, or a control does not break it; named after all have been checked.
    """
    root = setup.root / "laws"
    shutil.rmtree(root, ignore_errors=True)
    compiled = pass_compiles(setup, results)
    whole = learned(setup, root / "whole", "cpg", compiled)

    def same(run: Run) -> bool:
        return content(run) == content(whole)

    checks: dict[str, Callable[[], bool]] = {
        "recall_to_the_bit": lambda: audited(whole),
        "fixed_values_keep_their_bits": lambda: all(fixed_values_stay(setup, compiled=c) for c in {False, compiled}),
        "stopped_and_resumed_the_same_bytes": lambda: same(stopped_and_resumed(setup, root / "stopped", compiled)),
        "control_sequential_forgets": lambda: not audited(learned(setup, root / "forgets", "sequential", compiled)),
        "killed_and_resumed_the_same_bytes": lambda: same(killed_and_resumed(setup, root / "killed", compiled)),
        "learned_twice_the_same_bytes": lambda: same(learned(setup, root / "again", "cpg", compiled)),
        "control_another_rate_gives_other_bytes": lambda: (
            not same(learned(setup, root / "other", "cpg", compiled, "pick_train.lr=0.02"))
        ),
    }
    broken = []
    for name, holds in checks.items():
        if setup.left <= 0:
            results.add(name, None)
            continue
        found = holds()
        results.add(name, found)
        broken += [] if found else [name]
    shutil.rmtree(root, ignore_errors=True)
    if broken:
        raise CpgError(f"broken on {setup.device_name} in {setup.precision}: {', '.join(broken)}")


def audited(run: Run) -> bool:
    """Whether every task is recalled to the bit."""
    return all(found.ok for found in audit(run))


def pass_compiles(setup: Setup, results: Results) -> bool:
    """Whether the optimizer's pass can be compiled here; on a processor it is not tried."""
    if setup.device.type == "cpu":
        return False
    try:
        fixed_values_stay(setup, compiled=True)
    except Exception:
        results.add("compiled_pass", traceback.format_exc()[-2000:])
        return False
    results.add("compiled_pass", True)
    return True


def fixed_values_stay(setup: Setup, *, compiled: bool) -> bool:
    """Whether half of the weights keep their bits over steps with momentum and decay, and all others move."""
    with deterministic(1):
        network: Network = build("digits_cnn", 0.5, 2, "fixed").place(setup.device, setup.precision)
        before = {name: value.detach().clone() for name, value in shared_parameters(network).items()}
        generator = torch.Generator().manual_seed(1)
        trained = {name: torch.rand(value.shape, generator=generator) < 0.5 for name, value in before.items()}
        cpu = {name: value.cpu() for name, value in before.items()}
        optimizer = TaskOptimizer(network, trained, cpu, COMPILED, scores=None, compiled=compiled)
        step = TrainStep(network, optimizer, full_batch=32)
        for number in range(8):
            images = torch.randn(32, 1, 8, 8, generator=generator).to(setup.device)
            labels = torch.randint(2, (32,), generator=generator).to(setup.device)
            step(images, labels, in_batch=32, done=number, lr=0.01)
        stay = all(bool((value == before[name])[~trained[name]].all()) for name, value in now(network).items())
        move = all(bool((value != before[name])[trained[name]].all()) for name, value in now(network).items())
    return stay and move


def now(network: Network) -> dict[str, torch.Tensor]:
    """The shared weights as they stand."""
    return {name: value.detach() for name, value in shared_parameters(network).items()}


def begun(setup: Setup, root: Path, method: str, compiled: bool, *overrides: str) -> Run:
    """A run over three tasks of digits-5, not learned yet."""
    compile_pass = f"compute.compile={'always' if compiled else 'never'}"
    settings = setup.settings("digits", *TINY, compile_pass, *overrides)
    return open_or_new(root, run_spec("laws", "digits-5", method, settings, "digits", [0.6] * 3, "1-3"))


def learned(setup: Setup, root: Path, method: str, compiled: bool, *overrides: str) -> Run:
    """A finished run."""
    run = begun(setup, root, method, compiled, *overrides)
    learn_sequence(run, Clock(ends=setup.ends + 3600, say=False))
    return run


def stopped_and_resumed(setup: Setup, root: Path, compiled: bool) -> Run:
    """A run that was asked to stop at some batches and gone on with each time."""
    run = begun(setup, root, "cpg", compiled)
    for batch in (*STOPS, None):
        try:
            learn_sequence(run, Clock(ends=setup.ends + 3600, stop_at=batch, say=False))
        except Interrupted:
            continue
    return run


def killed_and_resumed(setup: Setup, root: Path, compiled: bool) -> Run:
    """A run whose process was killed by a signal that it cannot catch, gone on with in this one."""
    run = begun(setup, root, "cpg", compiled)
    place = f"{root}:{'compiled' if compiled else 'eager'}"
    arguments = ["--die-in", place, "--device", setup.device.type, "--precision", setup.precision]
    script = Path(__file__).with_name("gpu.py")
    ended = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)
    if ended.returncode != -signal.SIGKILL:
        raise CpgError(f"the process that was to be killed ended with {ended.returncode}: {ended.stderr[-2000:]}")
    learn_sequence(run, Clock(ends=setup.ends + 3600, say=False))
    return run


class Dies(Clock):
    """Kills its own process at a batch."""

    def stop_requested(self) -> bool:
        """Die, or go on."""
        self.batches += 1
        if self.batches == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        return False


def learn_and_die(place: str, device: str, precision: str) -> None:
    """What the process that is killed does."""
    root, _, kind = place.rpartition(":")
    setup = Setup(device_of(device), precision, quick=True, real_data=False, root=Path(root), ends=0.0)
    learn_sequence(begun(setup, Path(root), "cpg", kind == "compiled"), Dies(ends=0.0, say=False))
