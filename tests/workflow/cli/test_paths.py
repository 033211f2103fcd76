"""A path means the same however it is given: `~` is the home folder, and a project is looked for where it may be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import typer
from core.tiny import ROOT
from pydantic import TypeAdapter

from cpg_core.errors import CpgError
from flows.cli.app import app
from flows.parameters import existing_results, results_folder, with_home
from flows.request import resolve
from workflow.asking import cpg, parameters, tiny_request
from workflow.listeners import silently

OF_RESULTS = (results_folder, existing_results)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def paths_of(commands: typer.Typer) -> dict[str, Any]:
    """How each path that a command takes is read, those of the groups of commands included."""
    found = {}
    for command in commands.registered_commands:
        assert command.callback is not None
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            kind, *about = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            if kind is Path or Path in get_args(kind):
                found[f"{command.callback.__name__} {name}"] = about[0].parser
    for group in commands.registered_groups:
        assert group.typer_instance is not None
        found |= {f"{group.name} {name}": parser for name, parser in paths_of(group.typer_instance).items()}
    return found


def test_every_path_of_the_command_line_is_expanded(home: Path) -> None:
    found = paths_of(app)
    assert {"run root", "evaluate data", "add task", "reproduce learn root"} <= set(found)
    assert {name for name, parser in found.items() if parser not in (with_home, *OF_RESULTS)} == set()
    assert {parser for name, parser in found.items() if name.endswith(" root")} == set(OF_RESULTS)
    assert with_home("~/runs") == home / "runs"


def test_a_root_at_home_is_looked_into(home: Path) -> None:
    (home / "runs").mkdir()
    assert str(home / "runs") in cpg("list", "--root=~/runs").stdout


def test_an_unknown_home_is_a_mistake() -> None:
    result = cpg("list", "--root=~nobody-of-this-name/runs")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ~nobody-of-this-name/runs: ")


def test_a_request_expands_its_files(home: Path, tmp_path: Path) -> None:
    (home / "mine.yaml").write_text((ROOT / "data" / "digits-5.yaml").read_text())
    (home / "goals.json").write_text(json.dumps({"zero-one": 0.9, "two-three": 0.8}))
    spec = resolve(replace(tiny_request(goal="~/goals.json"), sequence="~/mine.yaml"), tmp_path)
    assert spec.goals == {"zero-one": 0.9, "two-three": 0.8}
    assert spec.settings.goal == str(home / "goals.json")
    assert with_home("runs") == Path("runs")


@pytest.mark.usefixtures("prefect_server")
def test_the_parameters_of_a_deployment_are_expanded(home: Path) -> None:
    from flows.orchestration.sequence import add_flow, sequence_flow

    given = sequence_flow(silently).validate_parameters(parameters(tiny_request(), Path("~/runs")))
    assert given["root"] == str(home / "runs")
    given = add_flow(silently).validate_parameters({"run": "tiny", "task": "~/more.yaml", "root": "~"})
    assert (given["task"], given["root"]) == (str(home / "more.yaml"), str(home))


@pytest.mark.parametrize("read", OF_RESULTS)
def test_a_folder_of_results_can_be_written_to(home: Path, read: Callable[[str], Path]) -> None:
    assert read("~") == home
    (home / "file").write_text("")
    for path, said in ((os.fsdecode(b"bad\xff"), "not valid UTF-8"), ("~/file", "this is a file"), ("", "empty")):
        with pytest.raises(CpgError, match=said):
            read(path)


def test_a_deployment_refuses_the_same_roots() -> None:
    from flows.orchestration.parameters import Root

    with pytest.raises(CpgError, match="not valid UTF-8"):
        TypeAdapter(Root).validate_python(os.fsdecode(b"bad\xff"))


@pytest.mark.parametrize("words", [["run", "digits-5"], ["prepare", "digits-5"], ["compare", "digits-5"]])
def test_outside_a_project_it_says_where_it_looked(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    result = cpg(*words, "--root", str(tmp_path / "results"))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: there is no params.yaml in ")
    for part in (str(here), str(tmp_path / "results"), "cd to the project", "--root"):
        assert part in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_root_that_is_a_project_needs_no_folder_to_be_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CpgError, match="there is no params"):
        resolve(tiny_request(), tmp_path)
    assert resolve(tiny_request(), ROOT).name == "tiny"
