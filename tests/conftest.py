"""Fixtures that every test may use: tiny runs, made anew or learned once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from getpass import getuser
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from core import tiny
from filelock import FileLock
from PIL import Image
from tiny_results import tiny_results

from cpg_core.storage.run import Run
from flows.reproduce.result import RunResult


def pytest_configure(config: pytest.Config) -> None:
    """The mark that pytest-xdist knows, also where tests run without it."""
    config.addinivalue_line("markers", "xdist_group(name): tests that one worker runs, one after the other")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks as it comes to its own turn
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, those of one file share its fixtures, and those of tests/browser their servers.

    A test that names its group itself runs there, so that two workers share a file that takes long.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            group = item.path.parent if item.path.parent.name == "browser" else item.path
            item.add_marker(pytest.mark.xdist_group(group.stem))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Torch on one thread: fast for tiny tensors, and the bits of a sum depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def compiler() -> Iterator[None]:
    """Skips where `torch.compile` does not work for the passes of the optimizer.

    What it compiled for another instruction set, which a test run before may have been told to use, is not taken.
    """
    used = torch.backends.cpu.get_cpu_capability()
    if not any(map(shutil.which, ("g++", "clang++"))):
        pytest.skip("no C++ compiler here")
    if used == "DEFAULT":
        pytest.skip("without AVX2, torch.compile writes code that no compiler takes (at::vec is not declared)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"torchinductor-{getuser()}-{used}"))
        yield


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Run]:
    """`new_run(method="pae", tasks="1-2", goal=0.9, overrides=(...))`: a run with nothing learned yet."""
    return lambda **how: tiny.begun(tmp_path, tiny.spec(**how))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this session that all its workers see: what takes long is made there once, under a lock."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def learned(shared_folder: Path) -> Callable[..., Run]:
    """The same, learned; once a session for each way to ask. Only to be read: damage a `damageable` one."""
    known: dict[str, Run] = {}

    def learn(**how: Any) -> Run:  # noqa: ANN401  (handed on to tiny.spec)
        key = repr(sorted(how.items()))
        if key not in known:
            root = shared_folder / "learned" / sha256(key.encode()).hexdigest()
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{root}.lock"):
                known[key] = tiny.learn(root, tiny.spec(**how))
        return known[key]

    return learn


@pytest.fixture(scope="session")
def prefect_database(shared_folder: Path) -> Path:
    """A database with Prefect's tables, which take seconds to make, for servers to begin with a copy of."""
    home = shared_folder / "prefect"
    with FileLock(f"{home}.lock"):
        if not home.exists():
            command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
            subprocess.run(command, env={**os.environ, "PREFECT_HOME": str(home)}, check=True, capture_output=True)
    return home / "prefect.db"


@pytest.fixture(scope="session")
def results(learned: Callable[..., Run]) -> dict[str, RunResult]:
    """As of a whole `dvc repro`, of tiny runs."""
    return tiny_results(learned)


@pytest.fixture
def damageable(tmp_path: Path, learned: Callable[..., Run]) -> Callable[..., Run]:
    """A copy of a learned run, to be changed at will."""
    return lambda **how: tiny.copy(learned(**how), tmp_path)


@pytest.fixture
def write_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write `images/PART/CLASS/0.png` and so on, from {"train/cat": count, ...}; noise that differs a file."""

    def write(counts: Mapping[str, int], size: tuple[int, int] = (12, 12), root: str = "images") -> Path:
        rng = np.random.default_rng(0)
        for home, count in counts.items():
            (tmp_path / root / home).mkdir(parents=True)
            for k in range(count):
                noise = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(noise).save(tmp_path / root / home / f"{k}.png")
        return tmp_path / root

    return write
