"""The page on what is on disk is right: its reader, which knows nothing of this project, reads every format."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.tiny import GROWS, ROOT, copy
from cpg_core.config.store import Store
from cpg_core.methods import assembly_of
from cpg_core.recall.convert import convert
from cpg_core.runner import learn_sequence
from cpg_core.stages.freezing.recalled_network import network_of
from cpg_core.storage.manage import rename
from cpg_core.storage.run import Run
from cpg_core.storage.runs import branch, extend, open_run
from cpg_core.training.reporter import Silent

STORES = ("int8 bfloat16 entropy", "bfloat16 float32 entropy", "int8 float32 zlib")
Network = Callable[[Path, int], dict[str, Any]]


def code_of_the_page() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "format.md").read_text(), re.DOTALL)
    return str(code)


def network_by(code: str) -> Network:
    """The function `network_of` that a code defines."""
    names: dict[str, Any] = {}
    exec(code, names)
    found: Network = names["network_of"]
    return found


@pytest.fixture(scope="module")
def stored(learned: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """A run of three tasks, of which the second grew, stored otherwise."""

    @cache
    def converted(store: str) -> Run:
        run = copy(learned(overrides=GROWS), tmp_path_factory.mktemp("stored"))
        values, private, masks = store.split()
        convert(run, "other", Store.model_validate({"values": values, "private": private, "masks": masks}))
        return open_run(run.root, "other")

    return converted


def is_read(network: Network, run: Run) -> None:
    """Every task's network, bit for bit as it is recalled."""
    assembly = assembly_of(run)
    shared = assembly.rebuild(run.frozen())
    for index in range(1, run.frozen() + 1):
        found = network(run.folder, index)
        recalled = network_of(assembly, shared, run.record(index), run.delta(index)).state_dict()
        assert found.keys() == recalled.keys()
        for name, tensor in recalled.items():
            assert np.array_equal(found[name], tensor.numpy()), f"{run.label(index)} {name}"


def test_the_reader_imports_nothing_of_the_project_nor_its_coder() -> None:
    imports = re.findall(r"^ *(?:import|from) (.*)$", code_of_the_page(), re.M)
    assert set(imports) == {"hashlib, json, zlib", "numpy as np", "safetensors.numpy import load_file"}
    assert "__import__" not in code_of_the_page()


@pytest.mark.parametrize("store", STORES)
def test_the_reader_reads_every_format(stored: Callable[[str], Run], store: str) -> None:
    run = stored(store)
    assert [record.format for record in run.records()] == [2, 2, 2]
    assert [record.budget_x for record in run.records()] == [1.0, 2.0, 2.0]
    is_read(network_by(code_of_the_page()), run)


def test_the_reader_reads_older_runs(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").symlink_to(ROOT / "tests" / "fixtures")
    is_read(network_by(code_of_the_page()), open_run(tmp_path, "run_0_1"))


def test_the_reader_reads_a_branch_whatever_its_base_is_called(damageable: Callable[..., Run]) -> None:
    run = damageable()
    learn_sequence(extend(branch(run, "two-three", "twig"), run.spec.tasks[2], 0.6), Silent())
    rename(run.root, "tiny", "trunk")
    is_read(network_by(code_of_the_page()), open_run(run.root, "twig"))


@pytest.mark.parametrize("right, wrong", [("65536 + 1,", "65536 + 99999,"), ("value * scale[", "value * 2 * scale[")])
def test_a_reader_that_reads_otherwise_fails(stored: Callable[[str], Run], right: str, wrong: str) -> None:
    other = code_of_the_page().replace(right, wrong)
    assert other != code_of_the_page()
    with pytest.raises((AssertionError, ValueError)):  # other bits: other weights, or not as many as there are values
        is_read(network_by(other), stored(STORES[0]))
