"""Law 8: nothing is ever unpickled, neither as the sources stand nor as they run."""

from __future__ import annotations

import ast
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from core.tiny import ROOT

from cpg_core.recall.audit import audit
from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Silent

MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CALLS = {
    *("torch.load", "torch.jit.load", "torch.hub.load", "torch.serialization.load", "torch.export.load"),
    *("pd.read_pickle", "pandas.read_pickle", "yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.Loader"),
}
WORDS = {"allow_pickle", "UnsafeLoader", "FullLoader", "weights_only"}
SOURCES = sorted(path for folder in ("cpg_core", "flows") for path in (ROOT / folder).rglob("*.py"))
WEIGHT_FILES = ROOT / "cpg_core/storage/weight_files.py"
"""It reads tensors from files of others, with `weights_only=True`."""
EXPORTED = ROOT / "cpg_core/recall/export/formats.py"
"""It reads back the `.pt2` file that it has just written."""
ALLOWED = {WEIGHT_FILES: {"torch.load", "weights_only", "pickle"}, EXPORTED: {"torch.export.load"}}


def ways_to_unpickle(source: str) -> set[str]:
    """The modules, calls and arguments in a source through which something could be unpickled."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names if name.name.split(".")[0] in MODULES}
            case ast.ImportFrom(module=str(module), names=names):
                found |= {module} if module.split(".")[0] in MODULES else set()
                found |= {f"{module}.{name.name}" for name in names} & CALLS
            case ast.Attribute():
                found |= {ast.unparse(node)} & CALLS | {node.attr} & WORDS
            case ast.keyword(arg=str(argument)):
                found |= {argument} & WORDS
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_unpickle(path: Path) -> None:
    assert ways_to_unpickle(path.read_text()) == ALLOWED.get(path, set())


def test_weight_files_are_read_as_tensors_alone() -> None:
    calls = [node for node in ast.walk(ast.parse(WEIGHT_FILES.read_text())) if isinstance(node, ast.Call)]
    loads = [call for call in calls if ast.unparse(call.func) == "torch.load"]
    assert [[ast.unparse(word) for word in call.keywords if word.arg == "weights_only"] for call in loads] == [
        ["weights_only=True"]
    ]


@pytest.mark.parametrize(
    "sample",
    [
        "import pickle",
        "from joblib import load",
        "def f(p):\n    import cloudpickle.thing",
        "import torch\nstate = torch.load(path)",
        "from torch import load",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.UnsafeLoader)",
        "yaml.load(text, Loader=yaml.Loader)",
        "module = torch.export.load(path)",
        "from torch.serialization import load",
        "frame = pd.read_pickle(path)",
    ],
)
def test_the_scan_finds_each_way(sample: str) -> None:
    assert ways_to_unpickle(sample) != set()


EVENTS: list[str] | None = None


def listen(event: str, _arguments: tuple[object, ...]) -> None:
    """Python tells of every class that an unpickler looks up."""
    if EVENTS is not None and event == "pickle.find_class":
        EVENTS.append(event)


@contextmanager
def unpickled() -> Iterator[list[str]]:
    global EVENTS  # noqa: PLW0603  (an audit hook can never be taken out again, only told to rest)
    if listen not in HOOKED:
        sys.addaudithook(listen)
        HOOKED.append(listen)
    EVENTS = events = []
    try:
        yield events
    finally:
        EVENTS = None


HOOKED: list[Callable[..., None]] = []


def test_learning_and_auditing_unpickle_nothing(new_run: Callable[..., Run]) -> None:
    run = new_run(tasks="1-2")
    with unpickled() as events:
        learn_sequence(run, Silent())
        assert all(finding.ok for finding in audit(run))
    assert events == []


def test_the_hook_hears_an_unpickler() -> None:
    with unpickled() as events:
        pickle.loads(pickle.dumps(Path("here")))
    assert events != []
