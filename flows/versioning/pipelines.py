"""Which of DVC's pipelines computes the goals of a profile: the project's, or that of an experiment."""

from __future__ import annotations

from pathlib import Path

from cpg_core.config.schema import read_mapping
from flows.parameters import PARAMS

PLANS = "experiments/*/plan.yaml"


def makes_goals(home: Path, profile: str) -> str | None:
    """What a person does for the goals of a profile to be computed; None: no plan is of that profile.

    Args:
        home: the folder of `params.yaml`.
        profile: its name.

    Raises:
        CpgError: a plan is no YAML.
    """
    for plan in (home / PARAMS, *sorted(home.glob(PLANS))):
        values = read_mapping(plan)
        reproduce = values.get("reproduce")
        sequences = reproduce.get("sequences") if isinstance(reproduce, dict) else None
        if isinstance(sequences, dict) and profile in sequences:
            return _command(plan.relative_to(home), profile, chosen=values.get("profile") == profile)
    return None


def _command(plan: Path, profile: str, *, chosen: bool) -> str:
    """What has the pipeline of a plan learn a profile, which may not be the one that it has chosen."""
    if plan == PARAMS:
        return "dvc repro" if chosen else f"dvc exp run -S profile={profile}"
    repro = f"dvc repro {plan.with_name('dvc.yaml')}"
    return repro if chosen else f"{repro}, with `profile: {profile}` in {plan}"
