"""The flags of `fgvc train` and what they set in a spec; the same names in Python and in a suite's rows."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from fgvc_cli.errors import BadRequest
from fgvc_cli.files import expanded
from fgvc_cli.spec.build import build_spec
from fgvc_cli.spec.run import RunSpec

FIELDS = {
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "lr": "optim.lr",
    "backbone": "backbone.name",
    "weights": "backbone.weights",
    "image_size": "data.image_size",
    "fit": "data.fit",
    "freeze": "backbone.freeze",
    "device": "train.device",
    "precision": "train.precision",
    "compile": "train.compile",
    "seed": "train.seed",
    "ema_decay": "train.ema_decay",
    "label_smoothing": "regularise.label_smoothing",
    "mixup": "regularise.mixup_alpha",
    "cutmix": "regularise.cutmix_alpha",
    "class_balance": "train.class_balance",
    "patience": "train.patience",
    "track": "train.track",
    "augment": "data.augment",
    "erasing": "data.erasing",
    "workers": "data.workers",
    "cache": "data.cache",
    "data_dir": "data.root",
    "train_dir": "data.train_dir",
    "val_dir": "data.val_dir",
    "test_dir": "data.test_dir",
    "follow_links": "data.follow_links",
    "val_fraction": "data.val_fraction",
    "group_by": "data.group_by",
    "on_bad_image": "data.on_bad_image",
    "leave_out": "data.leave_out",
    "taxonomy": "data.taxonomy",
    "label_fixes": "data.label_fixes",
    "limit_train": "data.limit_train",
    "limit_test": "data.limit_test",
}
RECIPE = ("method", "dataset", "preset", "config")
_PATHS = ("config", "data_dir", "train_dir", "val_dir", "test_dir", "taxonomy", "label_fixes", "out", "resume")


def spec_of(flags: Mapping[str, Any]) -> RunSpec:
    """The validated spec that flags ask for; one that is missing or None is not given, `sets` are FIELD=VALUE.

    A path is made absolute, since a run may be read from another working directory.
    """
    recipe = {key: flags[key] for key in RECIPE if flags.get(key) is not None}
    fields = {field: _absolute(flags.get(key)) for key, field in FIELDS.items()}
    for key in ("image_size", "freeze", "leave_out"):  # a number or a word
        fields[FIELDS[key]] = _number(flags.get(key))
    for key in ("train_dir", "val_dir", "test_dir"):  # relative to --data-dir, or to the working directory without it
        fields[FIELDS[key]] = str(expanded(flags[key])) if flags.get(key) else None
    if flags.get("train_dir") and not (flags.get("data_dir") or flags.get("config")):
        fields["data.root"] = str(Path.cwd())
    apart = fields["data.leave_out"]
    if isinstance(apart, str) and expanded(apart).is_file():
        fields["data.leave_out"] = _absolute(Path(apart))
    weights = fields["backbone.weights"]
    if weights not in (None, "", "imagenet", "none") and not str(weights).startswith("hf-hub:"):
        fields["backbone.weights"] = _absolute(Path(weights))
    if str(fields["data.group_by"]).startswith("csv:"):
        file, colon, column = str(fields["data.group_by"]).removeprefix("csv:").rpartition(":")
        fields["data.group_by"] = f"csv:{_absolute(Path(file))}{colon}{column}" if file else fields["data.group_by"]
    return build_spec(**recipe, flags=fields, sets=flags.get("sets") or ())


def checked_flags(given: Mapping[str, Any], known: Collection[str], of: str) -> dict[str, Any]:
    """Flags that were given by name, with paths where paths are meant. BadRequest for a name that is not known.

    Args:
        given: name with underscores → value.
        known: the names that there are.
        of: what takes them, for the message.
    """
    odd = next((key for key in given if key not in known), None)
    if odd is not None:
        near = difflib.get_close_matches(odd, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
        raise BadRequest(f"{odd} is no flag of {of}: {hint}")
    return {key: Path(value) if key in _PATHS and value is not None else value for key, value in given.items()}


def sets_of(given: str | Iterable[str] | Mapping[str, Any] | None) -> list[str]:
    """FIELD=VALUE of what a program gives for `set`: one text, several, or field → value."""
    if isinstance(given, Mapping):
        return [f"{field}={json.dumps(value)}" for field, value in given.items()]
    return [given] if isinstance(given, str) else list(given or ())


def spec_of_row(row: Mapping[str, Any]) -> RunSpec:
    """The spec of a suite's row: flags by their names with underscores, and `set`. BadRequest for another name."""
    flags = checked_flags(row, {*RECIPE, *FIELDS, "set"}, "a suite's rows")
    return spec_of(flags | {"sets": flags.pop("set", [])})


def written(flags: Mapping[str, Any]) -> list[str]:
    """The flags that were given, as on the command line."""
    names = [key for key, value in flags.items() if value is not None and value != []]
    return ["--set" if key == "sets" else "--" + key.replace("_", "-") for key in names]


def _number(text: Any) -> Any:
    """The whole number that a flag's text says, else the text, which the spec judges."""
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 10 else text


def _absolute(value: Any) -> Any:
    return str(expanded(value).absolute()) if isinstance(value, Path) else value
