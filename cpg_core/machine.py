"""Where it is computed: the device, the threads, and what else the bits of a result depend on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

import torch

from cpg_core.errors import CpgError
from cpg_core.model.precision import tf32
from cpg_core.storage.records import Machine


def device_of(choice: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means here, to learn on.

    Raises:
        CpgError: `cuda` is asked for and there is none.
    """
    if choice == "cuda" and not torch.cuda.is_available():
        raise CpgError(
            "compute.device is cuda, and torch finds no GPU here; learn where there is one, or another run with "
            "--set compute.device=auto"
        )
    return device_at_hand(choice)


def device_at_hand(choice: str) -> torch.device:
    """The device to read a run on that was learned with `choice`: that one, or the CPU where there is no GPU."""
    return torch.device("cuda" if choice != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Torch on that many threads and with repeatable kernels inside the block: the bits of a result depend on both."""
    before = torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        with ExitStack() as stack:
            if torch.cuda.is_available():
                stack.enter_context(_repeatable_on_gpu())
                stack.enter_context(tf32(False))
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[1:]


@contextmanager
def _repeatable_on_gpu() -> Iterator[None]:
    """Algorithms without atomic additions, where torch has them.

    Some have no such twin but are repeatable as they are used here (max pooling without overlap): these only warn.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first matrix product of a process
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic
    filled = fills.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    fills.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a pass over memory for every new tensor
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation.*")
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        fills.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def versions() -> dict[str, str]:
    """The versions that results may depend on."""
    packages = ("torch", "torchvision", "safetensors", "numpy")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def git_commit(root: Path) -> str | None:
    """The commit that is checked out, with `-dirty` where a tracked file differs from it; None if there is none.

    There is none outside a repository, in one without a commit, and without git.
    """
    # No tag stands for the commit; and a repository that may only be read is not written to.
    command = ["git", "--no-optional-locks", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def machine(device: torch.device, threads: int) -> Machine:
    """This machine, as far as the bits of a forward pass depend on it."""
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return Machine(processor=processor, device=device.type, threads=threads, torch=torch.__version__)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return f"{next(named, platform.processor() or platform.machine())} {torch.backends.cpu.get_cpu_capability()}"


def device_seconds() -> float:
    """Seconds of a clock that never goes back, once all that was sent to a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()
