"""What a training step of each stage costs over a plain module's: VGG16-BN at width 1.

    python benchmarks/step.py            batch 32 and 128, a few minutes
    python benchmarks/step.py --quick    batch 32 without memory, under a minute

The plain step is forward, backward and torch's own fused SGD. All arms take turns in one process, so the machine's
noise meets them alike, and what is reported is the median of the ratios turn by turn. Memory is measured in a
process of its own per arm.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from output import show
from torch import Tensor, nn

from cpg_core.config.settings import Optimizer
from cpg_core.data.batches import train_batches
from cpg_core.data.fields import Augment
from cpg_core.data.sources.digits import DigitsSource
from cpg_core.data.spec import TaskSpec
from cpg_core.data.splits.split import Split
from cpg_core.data.task import TaskData
from cpg_core.model.network import Network, build, shared_parameters
from cpg_core.stages.pruning.prune_schedule import CubicSchedule, Release
from cpg_core.training.evaluation import eval_mode
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.score_rules import adam_scores

MEGABYTE = 2**20
SGD = Optimizer(kind="sgd", momentum=0.9, weight_decay=4e-5)
ARMS = ("plain", "task 1", "pick_train", "prune")
PAPER_PRUNE = {"epochs": 20, "prune_epochs": 4, "every_steps": 10, "images": 2250}


@dataclass
class Arm:
    """One side of the comparison: a network and how it steps by a loss: backward and update."""

    network: Network
    step: Callable[[Tensor], object]
    release_seconds: float = 0.0


def make(name: str, frozen: float, layout: torch.memory_format, *, compiled: bool) -> Arm:
    """A network at width 1 with what trains it; `frozen` of the weights belong to earlier tasks."""
    network = build("vgg16_bn", 1.0, 5, "step").to(memory_format=layout)  # type: ignore[call-overload]
    if name == "plain":
        plain = torch.optim.SGD(
            network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=4e-5, fused=True
        )

        def plain_step(loss: Tensor) -> None:
            loss.backward()
            plain.step()
            plain.zero_grad()

        return Arm(network, plain_step)
    share = 0.0 if name == "task 1" else frozen
    generator = torch.Generator().manual_seed(0)
    parameters = shared_parameters(network)
    trainable = {key: torch.rand(value.shape, generator=generator) >= share for key, value in parameters.items()}
    fixed_values = {key: value.detach() for key, value in parameters.items()}
    optimizer = TaskOptimizer(
        network,
        trainable,
        fixed_values,
        SGD,
        scores=adam_scores(0.01, 0.005) if name == "pick_train" else None,
        compiled=compiled,
    )
    seconds = 0.0
    if name == "prune":
        available = {key: int(mask.sum()) for key, mask in trainable.items()}
        began = time.perf_counter()
        Release(available, CubicSchedule(start=0.0, target=0.1, steps=1, every=1))(network, optimizer, 0)
        seconds = time.perf_counter() - began

    def step(loss: Tensor) -> None:
        optimizer.set_rates(0.01, 5e-4)
        optimizer.backward(loss)
        optimizer.update()

    return Arm(network, step, seconds)


def one_step(arm: Arm, images: Tensor, labels: Tensor) -> float:
    """Seconds of forward, backward and update."""
    began = time.perf_counter()
    arm.step(nn.functional.cross_entropy(arm.network(images), labels))
    return time.perf_counter() - began


def noise(batch: int, layout: torch.memory_format) -> tuple[Tensor, Tensor]:
    """A batch of noise with labels."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(batch, 3, 32, 32, generator=generator).to(memory_format=layout)
    return images, torch.randint(5, (batch,), generator=generator)


def best_layout(batch: int) -> torch.memory_format:
    """The memory format in which the plain step is faster at this batch size."""
    seconds = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        arm, (images, labels) = make("plain", 0.0, layout, compiled=False), noise(batch, layout)
        seconds[layout] = median(one_step(arm, images, labels) for _ in range(4))
    return min(seconds, key=lambda layout: seconds[layout])


def compare(batch: int, turns: int, layout: torch.memory_format) -> dict[str, float]:
    """Median ratio of each arm's step to the plain one in the same turn, and the plain step's seconds."""
    arms = {name: make(name, 0.5, layout, compiled=name != "plain") for name in ARMS}
    images, labels = noise(batch, layout)
    for arm in arms.values():
        one_step(arm, images, labels)
        one_step(arm, images, labels)
    taken = [{name: one_step(arm, images, labels) for name, arm in arms.items()} for _ in range(turns)]
    plain = median(turn["plain"] for turn in taken)
    ratios = {name: median(turn[name] / turn["plain"] for turn in taken) for name in ARMS[1:]}
    paper = PAPER_PRUNE
    steps = paper["images"] / batch
    releases = paper["prune_epochs"] * steps / paper["every_steps"] / (paper["epochs"] * steps)
    ratios["prune"] += arms["prune"].release_seconds * releases / plain
    return {"plain_seconds": plain, **{f"{name.replace(' ', '')}_ratio": ratio for name, ratio in ratios.items()}}


def recall_ratio(batch: int, turns: int, layout: torch.memory_format) -> float:
    """Evaluating a recalled task's network over a plain module's forward pass."""
    networks = [make("plain", 0.0, layout, compiled=False).network for _ in range(2)]
    for parameter in shared_parameters(networks[1]).values():
        parameter.data *= torch.rand_like(parameter) < 0.5
    images, _ = noise(batch, layout)
    taken: list[list[float]] = []
    for _ in range(turns + 1):
        turn = []
        for network in networks:
            with eval_mode(network):
                began = time.perf_counter()
                network(images)
                turn.append(time.perf_counter() - began)
        taken.append(turn)
    return median(turn[1] / turn[0] for turn in taken[1:])


def batch_seconds(batch: int) -> float:
    """Preparing one augmented training batch of CIFAR's size."""
    count = 2250
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    split = Split(labels=torch.arange(count) % 5, shape=(3, 32, 32), images=images)
    spec = TaskSpec(name="noise", source=DigitsSource(kind="digits"), augment=Augment(crop_padding=4, flip=True))
    third = torch.full((3,), 0.5)
    data = TaskData(spec, ("a", "b", "c", "d", "e"), split, split, third, third, lambda: split)
    began = time.perf_counter()
    batches = sum(1 for _ in train_batches(data, batch, 3, "cpu"))
    return (time.perf_counter() - began) / batches


def peak_mb(arm: str, batch: int, layout: str) -> tuple[float, float]:
    """Peak resident memory of a process that takes three steps, and what it held before it built the network."""
    command = [sys.executable, __file__, "--memory-of", arm, "--batch", str(batch), "--layout", layout]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, idle = json.loads(found.stdout.splitlines()[-1])
    return peak, idle


def report_memory(arm_name: str, batch: int, layout: torch.memory_format) -> None:
    """What the child process of `peak_mb` does."""
    idle = own_peak_mb()
    arm = make(arm_name, 0.5, layout, compiled=arm_name != "plain")
    images, labels = noise(batch, layout)
    for _ in range(3):
        one_step(arm, images, labels)
    print(json.dumps([own_peak_mb(), idle]))


def own_peak_mb() -> float:
    """This process's own peak so far; `getrusage` would count the parent's, which a fork inherits."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / MEGABYTE


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="batch 32 only, few turns")
    parser.add_argument("--memory-of", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=32, help=argparse.SUPPRESS)
    parser.add_argument("--layout", default="channels_last", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.memory_of:
        report_memory(options.memory_of, options.batch, getattr(torch, options.layout))
        return
    rows, figures = [], {}
    for batch in (32,) if options.quick else (32, 128):
        layout = torch.channels_last if options.quick else best_layout(batch)
        name = str(layout).removeprefix("torch.")
        found = compare(batch, 4 if options.quick else 12, layout)
        found["batch_share"] = batch_seconds(batch) / found["plain_seconds"]
        found["recall_ratio"] = recall_ratio(batch, 4 if options.quick else 12, layout)
        if not options.quick:
            (plain, plain_idle), (picks, picks_idle) = (peak_mb(arm, batch, name) for arm in ("plain", "pick_train"))
            found["pick_train_process_memory_ratio"] = picks / plain
            found["pick_train_added_memory_ratio"] = (picks - picks_idle) / (plain - plain_idle)
        figures[f"batch_{batch}"] = {"layout": name, **{key: round(value, 4) for key, value in found.items()}}
        rows.append({"batch": batch, "layout": name, **{key: f"{value:.3f}" for key, value in found.items()}})
    frame = pd.DataFrame(rows).set_index("batch").T.reset_index(names="figure")
    show("A training step over a plain module's (VGG16-BN, width 1, two threads)", frame, figures)


if __name__ == "__main__":
    main()
