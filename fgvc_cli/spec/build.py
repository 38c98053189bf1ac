"""Build a RunSpec from preset < config < flags < --set (later ones override), then validate once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fgvc_cli.errors import BadRequest
from fgvc_cli.files import read_text
from fgvc_cli.spec.complaints import models_of, readable
from fgvc_cli.spec.data import DATASET_NAMES
from fgvc_cli.spec.methods import method_spec
from fgvc_cli.spec.presets import OWN_PHOTOS, PRESETS, load_preset
from fgvc_cli.spec.run import SCHEMA_VERSION, RunSpec
from fgvc_cli.values import brief, parse

DEFAULT_METHOD, DEFAULT_DATASET = "baseline", "demo"

Tree = dict[str, Any]


def build_spec(
    *,
    preset: str | None = None,
    method: str | None = None,
    dataset: str | None = None,
    config: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
) -> RunSpec:
    """Build and validate the spec of a run.

    `flags` maps dotted field names to values (None: not given); `sets` are strings `a.b=v`. Raises BadRequest with one
    line per wrong field.
    """
    given = _read_config(config) if config else {}
    base = _base_preset(preset, method, dataset, given).model_dump(mode="json")
    names_first = sorted(sets, key=lambda text: not text.partition("=")[0].strip().endswith(".name"))
    layers = [given, _from_flags(dataset, flags or {}), *map(parse_set, names_first)]
    tree = base
    for layer in layers:
        tree = _merge(tree, layer, RunSpec)
    _scale_resize(tree, base)
    _adapt_plain_epochs(tree, base, layers[0], layers[1:])
    return validate(tree)


def validate(tree: Tree) -> RunSpec:
    """The RunSpec of nested dicts. Raises BadRequest with one line per wrong field."""
    if isinstance(tree, dict) and _newer(tree.get("schema_version")):
        version = tree["schema_version"]
        raise BadRequest(
            f"this spec has schema version {version}, but this fgvc reads version {SCHEMA_VERSION}: upgrade fgvc"
        )
    try:
        return RunSpec.model_validate(tree)
    except ValidationError as error:
        raise BadRequest(*readable(error, RunSpec)) from None


def parse_set(text: str) -> Tree:
    """Nested dicts of `a.b=v`; v is parsed as JSON (0.2, true, null, [1,2]), or else taken as a string."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise BadRequest(f"--set takes FIELD=VALUE, for example optim.lr=0.01 (got {text!r})")
    try:
        leaf: Any = parse(value)
    except json.JSONDecodeError:
        leaf = value
    except ValueError as error:
        raise BadRequest(f"--set {brief(path)}: {error}") from None
    for key in reversed(keys):
        leaf = {key: leaf}
    return dict(leaf)


def _newer(version: Any) -> bool:
    return isinstance(version, int) and version > SCHEMA_VERSION


def _base_preset(preset: str | None, method: str | None, dataset: str | None, config: Tree) -> RunSpec:
    named = _text(config, "method", "name")
    if method and named and method != named:
        raise BadRequest(f"--config is for method {named}, not {method}: leave out --method or --config")
    method = method or named
    if method:
        method_spec(method)  # raises for an unknown method
    if preset:
        return load_preset(preset, method)
    dataset = dataset or _text(config, "data", "dataset") or DEFAULT_DATASET
    if dataset not in DATASET_NAMES:
        raise BadRequest(f"no dataset is called {dataset!r}; there are {', '.join(DATASET_NAMES)}")
    return _preset_for(method or DEFAULT_METHOD, dataset)


def _preset_for(method: str, dataset: str) -> RunSpec:
    """The method's preset for this dataset, or else its preset for an image folder."""
    name = f"{method}-{dataset}"
    if name in PRESETS:
        return load_preset(name)
    own = load_preset(f"{method}-{OWN_PHOTOS}")
    return own.model_copy(update={"data": own.data.model_copy(update={"dataset": dataset})})


def recipe_note(spec: RunSpec) -> str | None:
    """A line for the user if a known dataset has no preset, so that the preset for an image folder is used."""
    method, dataset = spec.method.name, spec.data.dataset
    if spec.preset != f"{method}-{OWN_PHOTOS}" or dataset in (OWN_PHOTOS, "csv") or spec.method.at_once:
        return None
    return f"there is no published recipe of {method} for {dataset}: using preset {spec.preset}"


def _text(tree: Tree, section: str, key: str) -> str | None:
    value = _section(tree, section).get(key)
    return value if isinstance(value, str) else None


def _read_config(path: Path) -> Tree:
    file = path / "run.json" if path.is_dir() else path
    try:
        tree = parse(read_text(file, "utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise BadRequest(f"cannot read --config {file}: {reason}") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"--config {file} is not valid JSON: line {error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise BadRequest(f"--config {file} cannot be used: {error}") from None
    if not isinstance(tree, dict):
        raise BadRequest(f"--config {file} must hold a JSON object like a run's run.json")
    return tree


def _from_flags(dataset: str | None, flags: Mapping[str, Any]) -> Tree:
    tree: Tree = {"data": {"dataset": dataset}} if dataset else {}
    for path, value in flags.items():
        if value is not None:
            section, key = path.split(".")
            tree.setdefault(section, {})[key] = value
    return tree


def _merge(base: Tree, layer: Tree, model: Any) -> Tree:
    """`base` overridden by `layer`. If a union (optimizer, schedule) gets another name, its old fields are dropped."""
    merged = dict(base)
    for key, value in layer.items():
        old, choices = base.get(key), models_of(model, key)
        if isinstance(old, dict) and isinstance(value, dict) and choices:
            renamed = len(choices) > 1 and value.get("name", old.get("name")) != old.get("name")
            merged[key] = dict(value) if renamed else _merge(old, value, choices[0] if len(choices) == 1 else None)
        else:
            merged[key] = value
    return merged


def _adapt_plain_epochs(tree: Tree, base: Tree, config: Tree, layers: Sequence[Tree]) -> None:
    """Set `plain_epochs` to 0 if other weights are given, or scale a preset's with the number of epochs.

    A number that is given stays, but not a config's whose weights the command line (`layers`) replaces.
    """
    if any("plain_epochs" in _section(layer, "backbone") for layer in layers):
        return
    backbone, recorded = _section(tree, "backbone"), _section(config, "backbone")
    known = recorded if "plain_epochs" in recorded else base["backbone"]  # what says how to start
    if not known["plain_epochs"]:
        return
    epochs = _section(tree, "train").get("epochs")
    if backbone.get("weights") != known.get("weights", base["backbone"]["weights"]):
        backbone["plain_epochs"] = 0
    elif known is not recorded and isinstance(epochs, int) and epochs > 0:
        share = known["plain_epochs"] / base["train"]["epochs"]
        backbone["plain_epochs"] = max(1, round(share * epochs))


def _section(tree: Tree, name: str) -> Tree:
    part = tree.get(name)
    return part if isinstance(part, dict) else {}


def _scale_resize(tree: Tree, base: Tree) -> None:
    """Scale a preset's `resize` with the image size, if only the latter is changed: 600 → 448 becomes 300 → 224."""
    new, old = tree.get("data"), base["data"]
    if not isinstance(new, dict) or not isinstance(new.get("image_size"), int):
        return
    untouched = new.get("resize") == old["resize"] is not None
    if untouched and new["image_size"] != old["image_size"]:
        new["resize"] = round(old["resize"] * new["image_size"] / old["image_size"])
