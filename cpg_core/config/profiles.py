"""The profiles of `params.yaml`: what one extends, what it says, what it says of a method, and overrides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml

from cpg_core.config.schema import read_mapping
from cpg_core.config.suggestions import unknown
from cpg_core.errors import CpgError

METHODS = "methods"
"""The key of a profile under which settings stand that differ for a method."""


OPTION = "--set"
"""How an override is given."""


def profile_values(path: Path, profile: str, overrides: tuple[str, ...], method: str | None) -> dict[str, Any]:
    """The values of a profile, not yet checked; arguments and errors as of `load_settings`."""
    values, of_methods = _read(path, profile)
    own = of_methods.get(method, {})
    if not isinstance(own, dict):
        raise CpgError(f"{path}, profile '{profile}': {METHODS}: {method}: expected settings, found {own!r:.80}")
    values = merged(values, own)
    for override in overrides:
        _set(values, override)
    return values


def methods_named(path: Path, profile: str) -> list[str]:
    """The methods for which a profile, or one that it extends, has settings of their own."""
    _, of_methods = _read(path, profile)
    return sorted(map(str, of_methods))


def _read(path: Path, profile: str) -> tuple[dict[str, Any], dict[str | None, Any]]:
    """The values of a profile, and what differs in them for methods."""
    profiles = read_mapping(path).get("profiles")
    if not isinstance(profiles, dict):
        raise CpgError(f"{path}: expected a `profiles` mapping")
    values = _extended(path, profiles, profile, ())
    of_methods = values.pop(METHODS, {})
    if not isinstance(of_methods, dict):
        raise CpgError(f"{path}, profile '{profile}': {METHODS}: expected methods and their settings")
    return values, of_methods


def _extended(path: Path, profiles: dict[str, Any], name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    if name not in profiles:
        raise unknown("profile", name, profiles)
    if not isinstance(profiles[name], dict):
        raise CpgError(f"{path}, profile '{name}': expected names and values, found {profiles[name]!r:.80}")
    if name in seen:
        raise CpgError(f"{path}: profiles extend each other in a circle: {' -> '.join((*seen, name))}")
    own = dict(profiles[name])
    base = own.pop("extends", None)
    if base is not None and not isinstance(base, str):
        raise CpgError(f"{path}, profile '{name}': extends: expected the name of a profile, found {base!r:.80}")
    return merged(_extended(path, profiles, base, (*seen, name)), own) if base else own


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with what `over` says: groups by field, a schedule as one value, since its fields depend on its kind."""
    out = dict(base)
    for key, value in over.items():
        group = isinstance(value, dict) and isinstance(base.get(key), dict) and "kind" not in value
        out[key] = merged(base[key], value) if group else value
    return out


def overrides_of(values: dict[str, Any], group: str = "") -> Iterator[str]:
    """Settings in groups as overrides, a string for each: the inverse of how overrides are read.

    Args:
        values: as `merged` takes them.
        group: the dotted name of what they are of, with a dot at its end.
    """
    for key, value in values.items():
        if isinstance(value, dict) and "kind" not in value:
            yield from overrides_of(value, f"{group}{key}.")
        else:
            yield f"{group}{key}={json.dumps(value)}"


def overridden(override: str) -> str:
    """The dotted name of the setting that an override changes."""
    return override.partition("=")[0].strip()


def blamed(overrides: tuple[str, ...], field: str, what: str) -> str:
    """The options behind a wrong field, or "".

    Args:
        overrides: as of `load_settings`.
        field: its dotted name; of a group, or "" for all settings, where values do not go together.
        what: is wrong; of a group, it names the fields.
    """
    # A kind decides which keys stand beside it.
    of_field = [
        override for override in overrides if f"{field}.".startswith(f"{overridden(override).removesuffix('.kind')}.")
    ]
    in_group = [
        override
        for override in overrides
        if f".{overridden(override)}".startswith(f".{field}" if field else "")
        and overridden(override).rpartition(".")[2] in what
    ]
    return " ".join(f"{OPTION} {override}" for override in of_field or in_group)


def _set(values: dict[str, Any], override: str) -> None:
    _, separator, text = override.partition("=")
    name = overridden(override)
    if not separator:
        raise CpgError(f"{OPTION} {override}: expected NAME=VALUE, such as prune.lr=0.001")
    *groups, field = name.split(".")
    place = values
    for group in groups:
        inner = place.get(group)
        if not isinstance(inner, dict):
            groups_here = [key for key, value in place.items() if isinstance(value, dict)]
            raise CpgError(f"{OPTION} {override}: {unknown('group of settings', group, groups_here)}")
        place[group] = dict(inner)
        place = cast(dict[str, Any], place[group])
    if field not in place:
        settings_here = [".".join([*groups, key]) for key in place]
        raise CpgError(f"{OPTION} {override}: {unknown('setting', name, settings_here)}")
    try:
        place[field] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # 2020-13-01 is taken for a date
        raise CpgError(f"{OPTION} {override}: the value is not valid YAML") from error
