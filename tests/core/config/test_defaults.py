"""A run that was made before a setting was: it is audited and added to all the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from core import tiny
from cpg_core.config.defaults import OLD_DEFAULTS, OLD_DEFAULTS_LEFT_OUT, with_old_defaults
from cpg_core.config.method_settings import KNOWN, READ_BY, settings_of
from cpg_core.config.settings import Settings
from cpg_core.errors import CpgError
from cpg_core.methods import names
from cpg_core.recall.audit import audit
from cpg_core.runner import learn_sequence
from cpg_core.storage.files import read_json, write_json
from cpg_core.storage.run import RUN, Run
from cpg_core.storage.runs import extend, open_or_new, open_run
from cpg_core.training.reporter import Silent


def without(run: Run, *names: str) -> None:
    """Rewrite `run.json` without some settings."""
    content = read_json(run.folder / RUN)
    for name in names:
        *groups, last = name.split(".")
        place = content["settings"]
        for group in groups:
            place = place[group]
        del place[last]
    write_json(run.folder / RUN, content)


NEWER = [
    "compute.processes",
    *(f"{name}.{field}" for name, value in OLD_DEFAULTS_LEFT_OUT.items() if isinstance(value, dict) for field in value),
    *(name for name, value in OLD_DEFAULTS_LEFT_OUT.items() if not isinstance(value, dict)),
    *(group for group in OLD_DEFAULTS if group != "compute"),  # new as a whole
]


NOT_AS_BEFORE: dict[str, Any] = {
    "linear_init": "normal",
    "seeds": "per_method",
    "grow.new_weights": "border",
    "grow.reserve_x": 0.1,
    "pick_train.keep": "best",
    "prune.share": 0.3,
    "prune.keep": "best",
    "prune.unit": "channel",
    "prune.room_share": "rounded",
    "prune.min_sparsity": 0.5,
    "prune.skip_empty": True,
    "one_shot.schedule": {"kind": "steps", "at_epochs": [1], "factor": 0.1},
    "finetune.init_from": "first",
    "retrain.compare": "reset",
    "compute.precision": "tf32",
    "store.values": "int8",
    "store.private": "bfloat16",
    "store.masks": "entropy",
}


def test_a_run_of_before_is_audited_and_goes_on_with_another_task(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    before = tiny.frozen_bytes(run)
    without(run, *NEWER)
    older = open_run(run.root, run.spec.name)
    assert older.spec.settings.compute.processes == 1
    assert all(finding.ok for finding in audit(older))
    third = extend(older, tiny.spec(tasks="3").tasks[0], 0.6)
    learn_sequence(third, Silent())
    after = tiny.frozen_bytes(third)
    assert {name: after[name] for name in before if name != RUN} == {n: b for n, b in before.items() if n != RUN}
    assert all(finding.ok for finding in audit(third))


def test_a_setting_that_there_always_was_may_not_be_missing(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    without(run, "optimizer")
    with pytest.raises(CpgError, match="optimizer"):
        open_run(run.root, run.spec.name)


def test_what_a_run_says_stays() -> None:
    compute = {"threads": 3, "processes": 2, "precision": "tf32", "cache_bytes": 0}
    said: dict[str, Any] = {"finetune": {"lr": 0.5}, "compute": compute}
    found = with_old_defaults(said)
    assert (found["finetune"], found["compute"]) == ({"lr": 0.5, "init_from": "random"}, said["compute"])
    assert found["lwf"] == OLD_DEFAULTS["lwf"]


def test_what_stands_for_new_settings_is_of_their_kind() -> None:
    whole = tiny.settings().model_dump()
    for name, value in [*OLD_DEFAULTS.items(), *OLD_DEFAULTS_LEFT_OUT.items()]:
        whole[name] = {**whole[name], **value} if isinstance(value, dict) else value
    Settings.model_validate(whole)


@pytest.mark.parametrize("name", sorted(NOT_AS_BEFORE))
def test_a_newer_setting_is_told_only_where_it_is_not_what_was_in_effect_before(name: str) -> None:
    def value_of(values: dict[str, Any]) -> object:
        group, _, field = name.partition(".")
        return values.get(group, {}).get(field) if field else values.get(group)

    before, other = value_of(OLD_DEFAULTS_LEFT_OUT), NOT_AS_BEFORE[name]
    method = READ_BY.get(name.partition(".")[0], "cpg")
    assert value_of(settings_of(method, tiny.settings(f"{name}={json.dumps(before)}"))) is None
    assert value_of(settings_of(method, tiny.settings(f"{name}={json.dumps(other)}"))) == other


def test_how_much_is_kept_decoded_makes_no_other_run() -> None:
    told = settings_of("cpg", tiny.settings("compute.cache_bytes=1"))
    assert told == settings_of("cpg", tiny.settings("compute.cache_bytes=0"))
    assert "cache_bytes" not in told["compute"]


def test_how_many_threads_decode_ahead_makes_no_other_run() -> None:
    told = settings_of("cpg", tiny.settings("compute.workers=3"))
    assert told == settings_of("cpg", tiny.settings("compute.workers=0")) and told["compute"]["workers"] == 0


def test_a_method_of_ones_own_depends_on_all_settings() -> None:
    one, other = (settings_of("ewc_online", tiny.settings(f"ewc.strength={value}")) for value in (1, 100))
    assert one != other
    assert settings_of("cpg", tiny.settings("ewc.strength=1")) == settings_of("cpg", tiny.settings("ewc.strength=100"))
    assert sorted(KNOWN) == names()


def test_settings_that_were_always_told_are_told_still() -> None:
    assert settings_of("lwf", tiny.settings())["lwf"] == OLD_DEFAULTS["lwf"]
    assert settings_of("cpg", tiny.settings())["compute"]["processes"] == 1


def test_a_run_that_says_what_was_in_effect_before_is_the_run_that_does_not_say_it(
    damageable: Callable[..., Run],
) -> None:
    run = damageable(tasks="1-2")
    without(run, *NEWER)
    assert open_or_new(run.root, tiny.spec(tasks="1-2")).frozen() == 2
    with pytest.raises(CpgError, match=r"setting grow\.new_weights"):
        open_or_new(run.root, tiny.spec(tasks="1-2", overrides=("grow.new_weights=border",)))
