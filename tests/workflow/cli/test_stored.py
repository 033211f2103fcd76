"""`cpg size` and `cpg convert`: what they print, and how they end."""

from __future__ import annotations

import pytest

from cpg_core.storage.run import Run
from cpg_core.storage.runs import names, open_run
from workflow.asking import cpg


def test_a_run_is_converted_and_measured(copied: Run) -> None:
    at = ("--root", copied.root)
    done = cpg("convert", "tiny", "--to", "small", "--values", "int8", "--private", "bfloat16", *at)
    assert done.exit_code == 0, done.output
    small = open_run(copied.root, "small")
    rows = {words[0]: words for words in map(str.split, done.stdout.splitlines())}
    for old, new in zip(copied.records(), small.records(), strict=True):
        percent = [f"{100 * accuracy:.1f}" for accuracy in (old.test_accuracy, new.test_accuracy)]
        assert rows[old.name][1:3] == percent
        assert rows[old.name][-3:] == [str(old.delta_bytes), str(new.delta_bytes), "int8"]
    total = sum(record.delta_bytes for record in small.records())
    assert f"small: {total:,} bytes, " in done.stdout
    assert "4 checks, none failed" in cpg("audit", "small", *at).stdout
    sized = cpg("size", "small", *at)
    assert sized.exit_code == 0, sized.output
    assert next(line for line in sized.stdout.splitlines() if line.startswith("all ")).split()[-1] == str(total)
    assert [line.split()[0] for line in sized.stdout.splitlines()[-6:]] == [
        "as",
        "values",
        "values",
        "private",
        "masks",
        "all",
    ]


@pytest.mark.parametrize(
    "words, message",
    [
        (("--to", "tiny"), "is there already"),
        (("--to", "new", "--values", "int4"), "'float32', 'bfloat16' or 'int8', got 'int4'"),
    ],
)
def test_mistakes_make_nothing(copied: Run, words: tuple[str, ...], message: str) -> None:
    result = cpg("convert", "tiny", *words, "--root", copied.root)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert names(copied.root) == ["tiny"]
