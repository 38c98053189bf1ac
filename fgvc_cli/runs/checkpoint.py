"""Checkpoints: any tree of tensors and plain values, as one safetensors file and one JSON file, never as a pickle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import checksum, json_text, make_folder, read_text, write_atomically, write_folder_atomically
from fgvc_cli.machine.interrupt import held
from fgvc_cli.machine.tensor_files import DamagedError, read_metadata, read_tensors, write_tensors
from fgvc_cli.runs.folder import RunFolder
from fgvc_cli.runs.schema import ModelAbout, parsed
from fgvc_cli.spec.complaints import readable

_TENSOR, _ITEMS, _CHECKSUMS = "$tensor", "$items", "$checksums"
_TREE, _TENSORS = "state.json", "state.safetensors"  # the files of a checkpoint


def split_tree(tree: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """The JSON form of `tree`. Its tensors are added to `tensors` under their paths, contiguous and on the CPU."""
    if isinstance(tree, Tensor):
        tensors[path] = tree.detach().cpu().contiguous().clone()
        return {_TENSOR: path}
    if isinstance(tree, Mapping):
        items = [(key, split_tree(value, tensors, f"{path}/{key}")) for key, value in tree.items()]
        if all(isinstance(key, str) for key, _ in items):
            return dict(items)
        return {_ITEMS: [[key, value] for key, value in items]}
    if isinstance(tree, list | tuple):
        return [split_tree(value, tensors, f"{path}/{number}") for number, value in enumerate(tree)]
    return tree


def join_tree(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of split_tree, except that tuples become lists."""
    if isinstance(tree, list):
        return [join_tree(value, tensors) for value in tree]
    if not isinstance(tree, dict):
        return tree
    if _TENSOR in tree:
        return tensors[tree[_TENSOR]]
    if _ITEMS in tree:
        return {key: join_tree(value, tensors) for key, value in tree[_ITEMS]}
    return {key: join_tree(value, tensors) for key, value in tree.items()}


def difference(saved: Any, own: Any, path: str = "") -> str | None:
    """Where a saved tree has another form than `own`: other kinds of values or shapes. None if it has the same form.

    Entries that only one of two mappings has are not compared: another version of PyTorch may have more of them.
    """
    if isinstance(saved, Tensor) and isinstance(own, Tensor):
        return None if saved.shape == own.shape else f"{path} has shape {[*saved.shape]}, not {[*own.shape]}"
    if isinstance(saved, Mapping) and isinstance(own, Mapping):
        parts = [(f"{path}.{key}", saved[key], own[key]) for key in saved if key in own]
    elif isinstance(saved, list | tuple) and isinstance(own, list | tuple) and len(saved) == len(own):
        parts = [(f"{path}.{number}", one, other) for number, (one, other) in enumerate(zip(saved, own, strict=True))]
    elif _kind(saved) == _kind(own):
        return None
    else:
        return f"{path} does not fit"
    found = (difference(one, other, name.removeprefix(".")) for name, one, other in parts)
    return next((place for place in found if place is not None), None)


def _kind(value: Any) -> type:
    return float if isinstance(value, int | float) else type(value)


def save_checkpoint(run: RunFolder, step: int, state: Mapping[str, Any], keep: int = 1) -> None:
    """Write checkpoints/STEP/ atomically, then remove all but the last `keep` checkpoints."""

    def write(folder: Path) -> None:
        tensors: dict[str, Tensor] = {}
        tree = split_tree(state, tensors)
        write_tensors(folder / _TENSORS, tensors)
        sums = {_TENSORS: checksum(folder / _TENSORS), _TREE: checksum(json.dumps(tree).encode())}
        (folder / _TREE).write_text(json.dumps({_CHECKSUMS: sums, **tree}), encoding="utf-8")

    if not run.checkpoint(step).exists():  # after a resume, the state at the same step is the same
        make_folder(run.checkpoints)
        write_folder_atomically(run.checkpoint(step), write)
    for old in run.checkpoint_steps()[:-keep]:
        shutil.rmtree(run.checkpoint(old), ignore_errors=True)


def load_checkpoint(run: RunFolder, step: int, form: type[BaseModel] | None = None) -> Any:
    """The state saved at `step`.

    FgvcError if it cannot be read, or if it is damaged: a checksum is wrong (checkpoints of fgvc 0.1 have none), the
    files are no JSON and safetensors, or the state has not the form of the model `form`.
    """
    folder = run.checkpoint(step)
    try:
        with held():  # an interrupt would look like damage
            return _read(folder, form)
    except DamagedError as error:
        raise FgvcError(f"checkpoint {folder} is damaged ({error}): {_way_on(run, step)}") from None
    except OSError as error:
        raise FgvcError(f"cannot read checkpoint {folder}: {error.strerror or error}; it is left as it is") from None


def _read(folder: Path, form: type[BaseModel] | None) -> Any:
    missing = [name for name in (_TREE, _TENSORS) if folder.is_dir() and not (folder / name).exists()]
    if missing:
        raise DamagedError(f"{missing[0]} is missing")
    tree = _read_tree(folder)
    try:
        state = join_tree(tree, read_tensors(folder / _TENSORS))
    except (KeyError, ValueError, TypeError, RecursionError):
        raise DamagedError(f"{_TREE} refers to tensors that {_TENSORS} does not have") from None
    if form is not None:
        try:
            form.model_validate(state, strict=True)
        except ValidationError as error:
            raise DamagedError(f"{_TREE}: {readable(error, form)[0]}") from None
    return state


def _read_tree(folder: Path) -> dict[str, Any]:
    """The JSON of a checkpoint, after the checksums of both files are compared."""
    try:
        tree = json.loads(read_text(folder / _TREE))
    except (ValueError, RecursionError):
        raise DamagedError(f"{_TREE} is no valid JSON") from None
    if not isinstance(tree, dict):
        raise DamagedError(f"{_TREE} is no JSON object")
    sums = tree.pop(_CHECKSUMS, None)
    if sums is None:
        return tree
    found = {_TENSORS: checksum(folder / _TENSORS), _TREE: checksum(json.dumps(tree).encode())}
    wrong = [name for name in found if not isinstance(sums, dict) or sums.get(name) != found[name]]
    if wrong:
        raise DamagedError(f"the checksum of {wrong[0]} is wrong")
    return tree


def _way_on(run: RunFolder, step: int) -> str:
    older = [number for number in run.checkpoint_steps() if number < step]
    way = f"then training goes on from {run.checkpoint(older[-1])}" if older else "then training starts anew"
    return f"delete that folder and resume again; {way}" + ("" if older else ", for there is no older checkpoint")


def save_model(path: Path, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Save everything that prediction needs in one file: weights, and in its metadata key `fgvc` what `about` says.

    `about` holds what `ModelAbout` checks: spec, classes and epoch.
    """
    tensors: dict[str, Tensor] = {}
    for name, weight in weights.items():
        split_tree(weight, tensors, name)
    metadata = {"fgvc": json_text(about)}
    write_atomically(path, lambda temporary: write_tensors(temporary, tensors, metadata))


def load_model(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights (on the CPU) and the `about` of `save_model`. BadRequest if fgvc did not save the file."""
    about = about_model(path)
    with _model_file(path):
        return read_tensors(path), about


def about_model(path: Path) -> dict[str, Any]:
    """The `about` of `save_model`, without reading the weights. BadRequest if fgvc did not save the file."""
    with _model_file(path):
        text = read_metadata(path).get("fgvc")
    if text is None:
        raise BadRequest(f"{path} is not a model saved by fgvc")
    try:
        return dict(parsed(text, ModelAbout))
    except ValueError as error:
        raise BadRequest(f"{path} is not a model saved by fgvc: {error}") from None


@contextmanager
def _model_file(path: Path) -> Iterator[None]:
    """Turn what hinders reading a model into one line."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise BadRequest(f"there is no trained model at {path}") from None
    except OSError as error:
        raise FgvcError(f"cannot read {path}: {error.strerror or error}") from None
    except DamagedError:
        raise BadRequest(f"{path} is not a model saved by fgvc, or it is damaged") from None


def random_state(device: torch.device) -> dict[str, Tensor]:
    """States of the default random generators that a step may use."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore the default generators. One whose state was not saved (on another kind of device) is left unchanged."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
