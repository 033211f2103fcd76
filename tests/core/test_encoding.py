"""Text is UTF-8 wherever it is read or written, whatever encoding the locale of a machine names."""

from __future__ import annotations

import ast

import pytest

from core.tiny import ROOT

SOURCES = sorted(path for folder in ("cpg_core", "flows") for path in (ROOT / folder).rglob("*.py"))
OPENS = {"open", "fdopen", "NamedTemporaryFile", "TemporaryFile"}


def without_encoding(source: str) -> list[str]:
    """The calls that read or write text in the encoding of the locale."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    encoded = [any(keyword.arg == "encoding" for keyword in call.keywords) for call in calls]
    return [ast.unparse(call) for call, named in zip(calls, encoded, strict=True) if is_text(call) and not named]


def is_text(call: ast.Call) -> bool:
    """Whether a call reads or writes text: temporary files are opened as bytes unless their mode says otherwise, and
    those of `os` and Pillow, which are no text, without one."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [value.value for value in given if isinstance(value, ast.Constant) and is_mode(value.value)]
    if name == "open" and not given and not call.keywords:
        return True
    return name in ("read_text", "write_text") or (name in OPENS and any("b" not in mode for mode in modes))


def is_mode(value: object) -> bool:
    return isinstance(value, str) and value != "" and set(value) <= set("rwaxbt+")


def test_no_text_is_read_or_written_in_the_encoding_of_the_locale() -> None:
    found = {str(path.relative_to(ROOT)): without_encoding(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("file.read_text()", True),
        ("file.read_text(encoding='utf-8')", False),
        ("file.write_text(text)", True),
        ("file.open()", True),
        ("open(file, 'w')", True),
        ("file.open(mode='a')", True),
        ("file.open('rb')", False),
        ("file.open(newline='', encoding='utf-8')", False),
        ("tempfile.NamedTemporaryFile('w')", True),
        ("tempfile.TemporaryFile()", False),
        ("Image.open(file)", False),
        ("os.open(file, os.O_RDONLY)", False),
    ],
)
def test_the_check_knows_one_from_the_other(source: str, found: bool) -> None:
    assert bool(without_encoding(source)) == found
