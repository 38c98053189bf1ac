"""Settings to pick from, and the settings that were picked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fgvc_cli.suite.plan import Range, Search, SuiteFile, Values

if TYPE_CHECKING:
    from optuna.trial import Trial


def pick(trial: Trial, search: Search) -> Values:
    """A value of each setting, by Optuna's sampler."""
    return {name: _picked(trial, name, among) for name, among in search.items()}


def _picked(trial: Trial, name: str, among: Range | list[Any]) -> Any:
    if isinstance(among, list):
        return trial.suggest_categorical(name, among)
    low, high, step = among.low, among.high, among.step
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int | None):
        return trial.suggest_int(name, low, high, step=step or 1, log=among.log)
    return trial.suggest_float(name, low, high, step=step, log=among.log)


def with_picked(flags: Values, picked: Mapping[str, Any]) -> Values:
    """Flags with picked values: a name with a point is a field of the spec, as in `set`."""
    fields = [f"{name}={_text(value)}" for name, value in picked.items() if "." in name]
    named = {name.replace("-", "_"): value for name, value in picked.items() if "." not in name}
    return flags | named | {"set": [*flags.get("set", []), *fields]}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def picked_text(picked: Mapping[str, Any]) -> str:
    """Picked values in a line."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in picked.items()
    )


def suite_text(file: SuiteFile, rows: Mapping[str, Values]) -> str:
    """A suite in TOML: that of `file` with these flags for its rows, and nothing left to search.

    A JSON value of text, a number, a truth value or a list of them is one of TOML as well; a path becomes text.
    """
    head = {"title": file.title, "baseline": file.reference, "seeds": file.seeds}
    parts = ["".join(f"{key} = {json.dumps(value)}\n" for key, value in head.items())]
    if file.slurm:
        parts.append("[slurm]\n" + _pairs(file.slurm))
    for row in file.rows:
        about = {"name": row.name} | ({} if row.published is None else {"published": row.published})
        parts.append("[[rows]]\n" + _pairs(about | rows[row.name]))
    return "\n".join(parts)


def _pairs(values: Mapping[str, Any]) -> str:
    given = {key: value for key, value in values.items() if value not in (None, [])}
    return "".join(f"{_key(key)} = {json.dumps(value, default=str)}\n" for key, value in given.items())


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else json.dumps(name)
