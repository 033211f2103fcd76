"""Law 9: the core stands alone, and importing it does nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from core.tiny import ROOT

FOREIGN = ("prefect", "mlflow", "dvc", "flows")
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "cpg_core").rglob("*.py"))
]
LOADED = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
EFFECTS = """
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
print(json.dumps(changed))
"""


def run_alone(script: str, modules: list[str], folder: Path, *paths: Path) -> list[object]:
    """What a fresh process prints that imports these modules in `folder`."""
    found = subprocess.run(
        [sys.executable, "-c", script, json.dumps(modules)],
        cwd=folder,
        env={"PYTHONPATH": ":".join(map(str, (ROOT, *paths))), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(found.stdout)


def test_the_core_loads_no_workflow_tracking_or_versioning(tmp_path: Path) -> None:
    loaded = run_alone(LOADED, MODULES, tmp_path)
    assert "cpg_core" in loaded
    assert set(FOREIGN) & set(loaded) == set()


def test_the_same_look_sees_a_foreign_import(tmp_path: Path) -> None:
    (tmp_path / "careless.py").write_text("from prefect import types\n")
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "__init__.py").write_text("types = None\n")
    assert "prefect" in run_alone(LOADED, ["careless"], tmp_path, tmp_path)


def test_importing_any_module_changes_nothing(tmp_path: Path) -> None:
    assert len(MODULES) > 30
    assert run_alone(EFFECTS, MODULES, tmp_path) == []


SIDE_EFFECTS = {
    "working directory": "import os; os.chdir('..')",
    "environment": "import os; os.environ['OMP_NUM_THREADS'] = '7'",
    "threads": "import torch; torch.set_num_threads(7)",
    "dtype": "import torch; torch.set_default_dtype(torch.float64)",
    "kernels": "import torch; torch.backends.cudnn.benchmark = True",
    "randomness": "import torch; torch.manual_seed(3)",
    "warnings": "import warnings; warnings.filterwarnings('ignore', 'never said')",
    "files": "open('log.txt', 'w').close()",
}


def test_the_same_look_sees_each_side_effect(tmp_path: Path) -> None:
    careless = tmp_path / "modules"
    careless.mkdir()
    names = [f"careless_{number}" for number in range(len(SIDE_EFFECTS))]
    for name, line in zip(names, reversed(SIDE_EFFECTS.values()), strict=True):
        (careless / f"{name}.py").write_text(line + "\n")
    changed = run_alone(EFFECTS, names, tmp_path, careless)
    for name, what in zip(names, reversed(SIDE_EFFECTS), strict=True):
        assert [name, what] in changed
