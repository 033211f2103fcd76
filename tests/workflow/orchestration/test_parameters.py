"""The parameters of the deployment: what its form shows, what the server refuses, and what the flow refuses itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from core.tiny import ROOT

from cpg_core.data.spec import SequenceSpec
from cpg_core.errors import CpgError
from cpg_core.methods import names
from cpg_core.storage.run import Run
from flows.request import SequenceRequest, resolve
from workflow.asking import arguments, cpg, parameters, tiny_request
from workflow.listeners import silently


@pytest.fixture(scope="module")
def schema(prefect_server: None) -> dict[str, Any]:  # noqa: ARG001  (first: Prefect reads its settings on import)
    """As `prefect deploy` records it."""
    from flows.orchestration.sequence import sequence_flow

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return sequence_flow().parameters.model_dump()


def test_every_field_has_its_help(schema: dict[str, Any]) -> None:
    fields = schema["properties"]
    assert len(fields) == 11
    assert [name for name, field in fields.items() if not field.get("description")] == []
    kinds = [kind for field in fields.values() for kind in field.get("anyOf", [])]
    assert all(kind["title"] for kind in kinds)


def test_the_choices_are_those_there_are(schema: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:  # noqa: ANN401
    from flows.orchestration.sequence import sequence_flow

    profiles = yaml.safe_load((ROOT / "params.yaml").read_text())["profiles"]
    assert schema["properties"]["method"]["enum"] == names()
    assert all(f"`{name}`" in schema["properties"]["method"]["description"] for name in names())
    assert schema["properties"]["profile"]["enum"] == [None, *profiles]
    monkeypatch.chdir(tmp_path)
    assert "enum" not in sequence_flow().parameters.model_dump()["properties"]["profile"]


SAME = {"no_track": "track"}
OF_THE_TERMINAL = {"plain", "help"}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("command", ["run", "compare", "add"])
def test_the_command_line_says_the_same(command: str) -> None:
    """Both have the same parameters, and each is explained by the same words."""
    import typer

    from flows.cli.app import app
    from flows.orchestration.compare import compare_flow
    from flows.orchestration.sequence import add_flow, sequence_flow

    flow = {"run": sequence_flow, "compare": compare_flow, "add": add_flow}[command]()
    form = flow.parameters.model_dump()["properties"]
    options: Any = {found.name: found for found in typer.main.get_command(app).commands[command].params}  # type: ignore[attr-defined]
    if command == "add":
        options["run"] = options.pop("name")
    if command == "run":
        options["run"] = options.pop("name")
    assert {SAME.get(name, name) for name in options} - OF_THE_TERMINAL == set(form)
    for name, field in form.items():
        if name != "track":
            words = options[name].help.replace("\\[", "[").split("; otherwise")[0].split(" One of")[0]
            words = words.removesuffix(" Separated by commas.").removesuffix(" May be repeated.").rstrip(".")
            assert words and field["description"].startswith(words), name


GOOD = ({}, {"goal": 0.7}, {"goal": "avg"}, {"ordering": 2}, {"ordering": "default"}, {"tasks": 2}, {"tasks": "1-3"},
        {"profile": "cpu"}, {"profile": None}, {"overrides": ["prune.lr=0.1"]}, {"run": "mine"})  # fmt: skip
BAD = ({"method": "cgp"}, {"goal": 75}, {"goal": -1}, {"goal": [0.5]}, {"profile": "gpu"}, {"ordering": -1},
       {"tasks": 0}, {"seed": -1}, {"seed": "one"}, {"track": "yes"}, {"overrides": "prune.lr=0.1"})  # fmt: skip


@pytest.mark.parametrize("given", GOOD, ids=json.dumps)
def test_the_server_takes(given: dict[str, Any], schema: dict[str, Any]) -> None:
    from prefect.utilities.schema_tools.validation import validate

    assert validate({"sequence": "digits-5", **given}, schema) == []


@pytest.mark.parametrize("given", BAD, ids=json.dumps)
def test_the_server_refuses(given: dict[str, Any], schema: dict[str, Any]) -> None:
    from prefect.utilities.schema_tools.validation import ValidationError, validate

    (name,) = given
    with pytest.raises(ValidationError, match=f"field '{name}'"):
        validate({"sequence": "digits-5", **given}, schema, raise_on_error=True)


def test_numbers_and_words_mean_the_same_run(tmp_path: Path) -> None:
    asked = tiny_request(run=None)
    names = {resolve(replace(asked, ordering=ordering), tmp_path).name for ordering in (0, "0", "default")}
    assert names == {"digits-5-cpg-0.6-digits-o0-s1"}
    assert resolve(replace(asked, ordering=1), tmp_path).tasks != resolve(asked, tmp_path).tasks
    assert resolve(replace(asked, tasks=2), tmp_path).tasks == resolve(asked, tmp_path).tasks[1:]


def with_definitions(root: Path) -> Path:
    for name in ("params.yaml", "data", "experiments"):
        (root / name).symlink_to(ROOT / name)
    return root


def test_a_computed_goal_is_found(tmp_path: Path) -> None:
    goals = with_definitions(tmp_path) / "results" / "digits" / "goals"
    goals.mkdir(parents=True)
    (goals / "avg.json").write_text('{"zero-one": 0.9, "two-three": 0.8}')
    assert resolve(tiny_request(goal="avg"), tmp_path).goals == {"zero-one": 0.9, "two-three": 0.8}


@pytest.mark.parametrize(
    ("profile", "end"),
    [
        ("cpu", "cpu/goals/avg.json is not there yet; the pipeline computes it: dvc repro"),
        ("smoke", "is not there yet; the pipeline computes it: dvc exp run -S profile=smoke"),
        ("photos", "is not there yet; the pipeline computes it: dvc repro experiments/photos/dvc.yaml"),
        ("faces-paper", "faces/dvc.yaml, with `profile: faces-paper` in experiments/faces/plan.yaml"),
        ("digits", "digits/goals/avg.json is not there, and no pipeline computes goals for profile 'digits'; give a "
         "number, or a file with one for each task"),
    ],
)  # fmt: skip
def test_a_computed_goal_that_is_not_there_is_told_with_what_makes_it(profile: str, end: str, tmp_path: Path) -> None:
    with pytest.raises(CpgError) as error:
        resolve(SequenceRequest("digits-5", goal="avg", profile=profile), with_definitions(tmp_path))
    assert str(error.value).startswith(f"goal 'avg': {tmp_path}/results/{profile}/goals/avg.json is not there")
    assert str(error.value).endswith(end)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "sequence": ({"sequence": "digits-6"}, "did you mean 'digits-5'"),
    "ordering": ({"ordering": "9"}, "ordering '9' is not in sequence 'digits-5'"),
    "tasks": ({"tasks": "4-7"}, "there is no task 6"),
    "goal": ({"goal": "top"}, "top.json is not there, and no pipeline"),
    "overrides": ({"overrides": ["prune.rate=1"]}, "unknown setting 'prune.rate'"),
    "run": ({"run": "../elsewhere"}, "becomes a folder name"),
}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("given, message", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_fails_the_run_with_its_message_alone(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    from flows.orchestration.sequence import sequence_flow

    state = sequence_flow(silently)(**{**parameters(tiny_request(), tmp_path), **given}, return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "Failed")
    assert message in state.message
    assert "\n" not in state.message and "CpgError" not in state.message
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def resolutions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sequences that were read to resolve a request, as often as they were."""
    from flows import request

    found: list[str] = []
    load = request.load_sequence

    def counted(name: str, folder: Path) -> SequenceSpec:
        found.append(name)
        return load(name, folder)

    monkeypatch.setattr(request, "load_sequence", counted)
    return found


@pytest.fixture
def finished(unbroken: Run, tmp_path: Path) -> Path:
    """A root where the run is learned already: its flow only shows it."""
    shutil.copytree(unbroken.folder, tmp_path / "checkpoints" / "tiny")
    return tmp_path


@pytest.mark.usefixtures("prefect_server")
def test_a_request_of_the_command_line_is_resolved_once(finished: Path, resolutions: list[str]) -> None:

    result = cpg(*arguments(tiny_request(), finished), "--no-track")
    assert result.exit_code == 0, result.output
    assert "tiny: 2 of 2 tasks" in result.stdout
    assert resolutions == ["digits-5"]


@pytest.mark.usefixtures("prefect_server")
def test_a_request_of_a_deployment_is_resolved_once_a_flow_run(finished: Path, resolutions: list[str]) -> None:
    """For the name of the flow run, which the flow goes on with; the next flow run reads everything anew."""
    from flows.orchestration.sequence import sequence_flow

    flow = sequence_flow(silently)
    for times in (1, 2):
        assert flow(**parameters(tiny_request(), finished), return_state=True).name == "Completed"
        assert len(resolutions) == times
