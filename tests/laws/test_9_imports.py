"""Law 9: the core stands alone, and importing it does nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from core.test_rooms import imported
from core.tiny import ROOT

FOREIGN = ("prefect", "mlflow", "dvc", "flows")
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "cpg_core").rglob("*.py"))
]
LOOK = """
import importlib, json, os, random, sys, warnings
import numpy, pandas, PIL.Image, pyarrow.parquet, pydantic, safetensors.torch, torch, torchvision, yaml, filelock

def everything():
    numbers = numpy.random.get_state()
    return {
        "working directory": os.getcwd(),
        "environment": dict(os.environ),
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "dtype": str(torch.get_default_dtype()),
        "gradients": torch.is_grad_enabled(),
        "kernels": [torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark,
                    torch.are_deterministic_algorithms_enabled()],
        "randomness": [torch.get_rng_state().tolist(), repr(random.getstate()), numbers[1].tolist(), numbers[2]],
        "warnings": [repr(entry) for entry in warnings.filters],
        "files": sorted(os.listdir()),
        "path": list(sys.path),
    }

before, changed = everything(), []
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
    after = everything()
    changed += [[name, what] for what in after if after[what] != before[what]]
    before = after
print(json.dumps({"changed": changed, "loaded": sorted({name.split(".")[0] for name in sys.modules})}))
"""


Found = dict[str, list[Any]]


def foreign(source: str) -> set[str]:
    """The packages of `FOREIGN` that a source imports anywhere, inside its functions too."""
    return {name.split(".")[0] for name in imported(ast.parse(source))} & set(FOREIGN)


def test_no_function_of_the_core_imports_them() -> None:
    found = {path: foreign(path.read_text()) for path in (ROOT / "cpg_core").rglob("*.py")}
    assert {path: names for path, names in found.items() if names} == {}


def test_an_import_inside_a_function_is_seen() -> None:
    assert foreign("def f():\n    import mlflow.x\n    from prefect import flow") == {"mlflow", "prefect"}


def import_alone(modules: list[str], folder: Path, *paths: Path) -> Found:
    """What a fresh process in `folder` finds changed by each of these modules, and which packages are then loaded."""
    found = subprocess.run(
        [sys.executable, "-c", LOOK, json.dumps(modules)],
        cwd=folder,
        env={"PYTHONPATH": ":".join(map(str, (ROOT, *paths))), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(found.stdout)


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return import_alone(MODULES, tmp_path_factory.mktemp("core"))


def test_the_core_loads_no_workflow_tracking_or_versioning(core: Found) -> None:
    assert "cpg_core" in core["loaded"]
    assert set(FOREIGN) & set(core["loaded"]) == set()


def test_importing_any_module_changes_nothing(core: Found) -> None:
    assert len(MODULES) > 30
    assert core["changed"] == []


SIDE_EFFECTS = {
    "environment": "import os; os.environ['OMP_NUM_THREADS'] = '7'",
    "threads": "import torch; torch.set_num_threads(7)",
    "dtype": "import torch; torch.set_default_dtype(torch.float64)",
    "gradients": "import torch; torch.set_grad_enabled(False)",
    "kernels": "import torch; torch.backends.cudnn.benchmark = True",
    "randomness": "import torch; torch.manual_seed(3)",
    "warnings": "import warnings; warnings.filterwarnings('ignore', 'never said')",
    "files": "open('log.txt', 'w').close()",
    "path": "import sys; sys.path.append('x')",
    "working directory": "import os; os.chdir('..')",
}


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Modules with a side effect each, the working directory last, and one that imports a `prefect`."""
    folder, modules = tmp_path_factory.mktemp("careless"), tmp_path_factory.mktemp("modules")
    (modules / "prefect.py").touch()
    (modules / "uses_prefect.py").write_text("import prefect\n")
    for number, line in enumerate(SIDE_EFFECTS.values()):
        (modules / f"careless_{number}.py").write_text(line + "\n")
    names = [f"careless_{number}" for number in range(len(SIDE_EFFECTS))]
    return import_alone(["uses_prefect", *names], folder, modules)


def test_the_same_look_sees_a_foreign_import(careless: Found) -> None:
    assert "prefect" in careless["loaded"]


@pytest.mark.parametrize("what", SIDE_EFFECTS)
def test_the_same_look_sees_each_side_effect(careless: Found, what: str) -> None:
    assert [f"careless_{list(SIDE_EFFECTS).index(what)}", what] in careless["changed"]
