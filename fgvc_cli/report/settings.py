"""A run's settings as table rows, with the preset's values that differ."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from fgvc_cli.errors import FgvcError
from fgvc_cli.report.record import Record
from fgvc_cli.spec.presets import RECIPES, load_preset
from fgvc_cli.spec.run import RunSpec


@dataclass(frozen=True)
class Setting:
    """One field of the spec."""

    name: str
    value: str
    preset: str | None  # the preset's value if it differs


def settings(spec: RunSpec) -> list[Setting]:
    """Every field of a spec with its dotted name, as for `--set`."""
    usual = _preset_of(spec)
    return [
        Setting(name, value, usual.get(name) if usual and usual.get(name) != value else None)
        for name, value in flat(spec.model_dump(mode="json")).items()
        if name not in ("schema_version", "preset")
    ]


def _preset_of(spec: RunSpec) -> dict[str, str]:
    """The preset's fields; empty if the preset no longer exists."""
    try:
        method = spec.method.name if spec.preset in RECIPES else None
        return flat(load_preset(spec.preset, method).model_dump(mode="json")) if spec.preset else {}
    except FgvcError:
        return {}


def flat(tree: dict[str, Any], above: str = "") -> dict[str, str]:
    """A tree of settings as dotted name → value in JSON; strings have no quotes."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        name = above + key
        if isinstance(value, dict):
            found |= flat(value, name + ".")
        else:
            found[name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found


def facts(record: Record) -> list[tuple[str, str]]:
    """The most important settings: (name, value)."""
    spec = record.spec
    weights = "from scratch" if spec.backbone.weights == "none" else f"from {spec.backbone.weights}"
    chosen = [
        ("method", spec.method.name),
        ("backbone", f"{spec.backbone.name}, {weights}"),
        ("dataset", f"{spec.data.dataset}, {len(record.classes)} classes"),
        ("images", f"{spec.data.side} × {spec.data.side} pixels"),
        ("epochs", f"{len(record.epochs)} of {spec.train.epochs} done"),
        ("optimizer", f"{spec.optim.optimizer.name}, learning rate {spec.optim.lr:g}"),
        ("batch", f"{spec.train.batch_size} images"),
        ("seed", str(spec.train.seed)),
    ]
    seconds = sum(row.get("seconds", 0.0) for row in record.epochs)
    return [*chosen, ("training time", duration(seconds))] if seconds else chosen


def duration(seconds: float) -> str:
    """A duration as text in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def environment(record: Record) -> list[tuple[str, str]]:
    """The machine, the packages and the command of the run: (name, value)."""
    found = dict(record.environment)
    packages = found.pop("packages", None)
    command = found.pop("command", None)
    rows = [(name.replace("_", " "), str(value)) for name, value in found.items() if value not in ("", None)]
    if isinstance(packages, dict):
        rows += [(str(name), str(value)) for name, value in packages.items()]
    if isinstance(command, list):
        rows.append(("command", "fgvc " + shlex.join(map(str, command))))
    return rows
