"""Part b of `gpu.py`: what a step of each stage costs over a plain module's, both recorded, and how fast that is.

The arms take turns; a turn is many steps between two marks of the device's own clock. What is reported is the median
over the turns of the ratio to the plain arm in the same turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from gpu_results import Results
from gpu_setup import Setup
from torch.utils.flop_counter import FlopCounterMode

from cpg_core.config.settings import Optimizer
from cpg_core.machine import deterministic
from cpg_core.model.network import Network, build, shared_parameters
from cpg_core.training.compiler import compiles
from cpg_core.training.evaluation import Evaluator
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.score_rules import adam_scores
from cpg_core.training.step import TrainStep

SGD = Optimizer(kind="sgd", momentum=0.9, weight_decay=4e-5)
ARMS = ("plain", "task 1", "pick_train", "prune")
PEAK_TFLOPS = {"float32": 67.0, "tf32": 494.7, "bfloat16": 989.4}
"""Of an H100 or H200 SXM, dense, as its maker states it."""


class PlainOptimizer:
    """Torch's own fused SGD with the interface that a step asks for."""

    learns_picks = False

    def __init__(self, network: Network) -> None:
        self._sgd = torch.optim.SGD(
            network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=4e-5, fused=True
        )

    def set_rates(self, lr: float, score_lr: float = 0.0) -> None:
        """The rate is fixed."""

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients of all parameters."""
        loss.backward()

    def update(self) -> None:
        """Move."""
        self._sgd.step()
        self._sgd.zero_grad()


@dataclass
class Arm:
    """One side of the comparison."""

    network: Network
    step: TrainStep


def time_steps(setup: Setup, results: Results) -> None:
    """Every precision at the published batch size and a larger one, the chosen precision first."""
    chosen = [setup.precision, *(name for name in PEAK_TFLOPS if name != setup.precision)]
    with deterministic(8 if setup.device.type == "cuda" else 1):
        for batch in (32, 128):
            for precision in chosen[:1] if setup.device.type == "cpu" else chosen:
                if setup.left > 0 or (batch == 32 and precision == chosen[0]):
                    results.add(f"{precision}_batch_{batch}", figures(setup, precision, batch))


def figures(setup: Setup, precision: str, batch: int) -> dict[str, object]:
    """Seconds of the plain step, ratios to it, images a second, and the share of the device's peak."""
    width = 0.125 if setup.quick else 1.0
    began = time.monotonic()
    arms = {name: make(name, width, setup.device, precision, batch) for name in ARMS}
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(batch, 3, 32, 32, generator=generator).to(setup.device, memory_format=torch.channels_last)
    labels = torch.randint(5, (batch,), generator=generator).to(setup.device)
    for arm in arms.values():
        one_turn(arm, images, labels, 5)
    ready = time.monotonic() - began
    turns, steps = (2, 2) if setup.quick else (9, 50)
    taken = [{name: one_turn(arm, images, labels, steps) for name, arm in arms.items()} for _ in range(turns)]
    plain = median(turn["plain"] for turn in taken)
    found: dict[str, object] = {"ready_seconds": round(ready, 1), "plain_ms": round(1e3 * plain, 4)}
    for name in ARMS[1:]:
        found[f"{name.replace(' ', '_')}_ratio"] = round(median(turn[name] / turn["plain"] for turn in taken), 3)
    picks = median(turn["pick_train"] for turn in taken)
    flops = training_flops(arms["plain"].network, images)
    found |= {"pick_train_ms": round(1e3 * picks, 4), "pick_train_images_a_second": round(batch / picks)}
    if setup.device.type == "cuda":
        peak = flops / picks / 1e12 / PEAK_TFLOPS[precision]
        found |= {"tflop_a_step": round(flops / 1e12, 4), "pick_train_share_of_peak": round(peak, 4)}
        found["peak_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    evaluate = Evaluator(arms["plain"].network)
    for _ in range(4):
        evaluate([(images, labels)])
    found["evaluation_ms"] = round(
        1e3 * median(timed(setup.device, lambda: evaluate([(images, labels)])) for _ in range(9)), 4
    )
    return found


def make(name: str, width: float, device: torch.device, precision: str, batch: int) -> Arm:
    """A network with what trains it; half of the weights belong to earlier tasks, of task 1 none."""
    network = build("vgg16_bn", width, 5, "step").place(device, precision)
    network.train()
    if name == "plain":
        return Arm(network, TrainStep(network, PlainOptimizer(network), full_batch=batch))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    values = {key: value.detach().cpu() for key, value in shared_parameters(network).items()}
    share = 0.0 if name == "task 1" else 0.5
    trained = {key: torch.rand(value.shape, generator=generator) >= share for key, value in values.items()}
    size = sum(value.numel() for value in values.values())
    optimizer = TaskOptimizer(
        network, trained, values, SGD, scores=adam_scores(0.01, 0.005) if name == "pick_train" else None,
        compiled=compiles("auto", device, size) and device.type == "cuda",
    )  # fmt: skip
    return Arm(network, TrainStep(network, optimizer, full_batch=batch))


def one_turn(arm: Arm, images: torch.Tensor, labels: torch.Tensor, steps: int) -> float:
    """Seconds of a step, the mean over some."""

    def run() -> None:
        for done in range(steps):
            arm.step(images, labels, in_batch=len(labels), done=done, lr=0.01, score_lr=5e-4)

    return timed(images.device, run) / steps


def timed(device: torch.device, run: Callable[[], object]) -> float:
    """Seconds that a function keeps the device busy."""
    if device.type == "cpu":
        began = time.perf_counter()
        run()
        return time.perf_counter() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


def training_flops(network: Network, images: torch.Tensor) -> int:
    """Floating-point operations of a step: those of a forward pass, three times over."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return 3 * int(counter.get_total_flops())
