"""A tiny run learns today what it learned when its figures were written down (tests/golden/regenerate.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from golden import regenerate
from golden.figures import HOW, agree, beginning, figures, structure
from golden.instruction_sets import DEFAULT, SETS, Figures, InstructionSet
from golden.regenerate import Golden, outdated, read, renewed

from cpg_core.stages import source_hash
from cpg_core.storage.run import Run

GOLDEN = {each.name: read(each) for each in SETS}
CURRENT = [golden for golden in GOLDEN.values() if not outdated(golden, GOLDEN[DEFAULT.name])]


@pytest.mark.parametrize("instruction_set", SETS, ids=lambda each: each.name)
def test_every_figure_is_the_golden_one_of_its_instruction_set(instruction_set: InstructionSet) -> None:
    if not instruction_set.is_here:
        pytest.skip(f"this processor has no {instruction_set.name}")
    if outdated(GOLDEN[instruction_set.name], GOLDEN[DEFAULT.name]):
        pytest.skip(f"{instruction_set.file.name} is outdated; `python tests/golden/regenerate.py` renews it here")
    assert agree(instruction_set.figures(**HOW), GOLDEN[instruction_set.name].figures)


def test_what_no_rounding_turns_is_golden_with_this_process_s_instructions(learned: Callable[..., Run]) -> None:
    found = figures(learned(**HOW))
    for golden in CURRENT:
        assert structure(found) == structure(golden.figures)
        assert beginning(found) == pytest.approx(beginning(golden.figures), rel=1e-3)


def test_another_seed_is_not_golden(learned: Callable[..., Run]) -> None:
    found = figures(learned(**HOW, seed=2))
    for golden in CURRENT:
        assert not agree(found, golden.figures)
        assert beginning(found) != pytest.approx(beginning(golden.figures), rel=1e-3)


def test_a_changed_rule_is_not_golden(
    learned: Callable[..., Run], new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learning rate does not fall; and another prune schedule ends with other counts."""
    from core.tiny import learn, spec

    monkeypatch.setattr("cpg_core.training.loop.factor", lambda *_: 1.0)
    found = figures(learn(new_run().root, spec(**HOW)))
    assert not any(agree(found, golden.figures) for golden in CURRENT)
    less = figures(learned(**HOW, overrides=("prune.targets=[0.5, 0.7]",)))
    assert not any(structure(less) == structure(golden.figures) for golden in CURRENT)


def figures_of(loss: float) -> Figures:
    return [{"test_accuracy": 1.0, "stages": [{"loss": [loss], "accuracy": [], "train_accuracy": []}]}]


OLD, NEW = figures_of(0.5), figures_of(0.6)


@pytest.mark.parametrize(
    ("before", "found", "expected"),
    [
        # A refactoring leaves every file, and their hash, as they are.
        ({"default": "a", "avx2": "a"}, {"default": OLD, "avx2": OLD}, {}),
        # A changed rule on a machine without AVX2 ...
        ({"default": "a", "avx2": "a"}, {"default": NEW}, {"default": "now"}),
        # ... and the next machine with it, where the code may have changed again meanwhile.
        ({"default": "b", "avx2": "a"}, {"default": OLD, "avx2": NEW}, {"avx2": "b"}),
        # A set that agrees by chance is made current all the same.
        ({"default": "b", "avx2": "a"}, {"default": OLD, "avx2": OLD}, {"avx2": "b"}),
        ({"default": "a", "avx2": "a"}, {"default": NEW, "avx2": NEW}, {"default": "now", "avx2": "now"}),
        # A set without a file yet.
        ({"default": "a"}, {"default": OLD, "avx2": NEW}, {"avx2": "a"}),
    ],
)
def test_what_is_renewed(before: dict[str, str], found: dict[str, Figures], expected: dict[str, str]) -> None:
    new = renewed({name: Golden(sha256, OLD) for name, sha256 in before.items()}, found, "now")
    assert {name: golden.code_sha256 for name, golden in new.items()} == expected
    assert all(golden.figures == found[name] for name, golden in new.items())
    after = {name: new[name].code_sha256 if name in new else sha256 for name, sha256 in before.items()}
    assert [name for name in found if outdated(Golden(after.get(name, ""), OLD), Golden(after["default"], OLD))] == [
        name for name in found if name not in before
    ]


@dataclass
class Fake:
    """An instruction set with a file of its own, under which a run learns what the test says."""

    name: str
    file: Path
    is_here: bool
    learned: Figures

    def figures(self, **how: Any) -> Figures:  # noqa: ANN401  (as the real one)
        assert self.is_here and how == HOW
        return self.learned


def test_the_command_writes_what_has_changed_and_leaves_every_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the hash of the code that the tiny run is learned by."""
    hashed: list[dict[str, str]] = []
    monkeypatch.setattr(source_hash, "source_sha256", lambda **chosen: hashed.append(chosen) or "now")
    sets = [Fake(name, tmp_path / f"{name}.json", name != "avx512", OLD) for name in ("default", "avx2", "avx512")]
    before = json.dumps({"code_sha256": "then", "figures": OLD})  # in one line, which the command does not write
    for each in sets:
        each.file.write_text(before)
    monkeypatch.setattr(regenerate, "SETS", sets)
    regenerate.main()
    assert [each.file.read_text() for each in sets] == [before] * 3

    sets[0].learned = sets[1].learned = NEW
    regenerate.main()
    written = [each.file.read_text() for each in sets]
    assert [json.loads(text) for text in written[:2]] == [{"code_sha256": "now", "figures": NEW}] * 2
    assert written[2] == before
    assert hashed[-1] == {"methods": "cpg", "backbones": "digits_cnn", "objectives": "classification"}
