"""Checkpoints: any tree of tensors and plain values, as one safetensors file and one JSON file, never as a pickle."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import write_atomically, write_folder_atomically
from fgvc_cli.runs.folder import RunFolder

_TENSOR, _ITEMS = "$tensor", "$items"


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


def save_checkpoint(run: RunFolder, step: int, state: Mapping[str, Any], keep: int = 1) -> None:
    """Write checkpoints/STEP/ atomically, then remove all but the last `keep` checkpoints."""

    def write(folder: Path) -> None:
        tensors: dict[str, Tensor] = {}
        text = json.dumps(split_tree(state, tensors))
        _save_tensors(folder / "state.safetensors", tensors, None)
        (folder / "state.json").write_text(text, encoding="utf-8")

    if not run.checkpoint(step).exists():  # after a resume, the state at the same step is the same
        write_folder_atomically(run.checkpoint(step), write)
    for old in run.checkpoint_steps()[:-keep]:
        shutil.rmtree(run.checkpoint(old), ignore_errors=True)


def load_checkpoint(run: RunFolder, step: int) -> Any:
    """The state saved at `step`. FgvcError if the files are damaged."""
    folder = run.checkpoint(step)
    try:
        tree = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return join_tree(tree, load_file(folder / "state.safetensors"))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise FgvcError(f"checkpoint {folder} is damaged ({error}): delete that folder and resume again") from None


def save_model(path: Path, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Save everything that prediction needs in one file: weights, and in its metadata key `fgvc` what `about` says.

    `about` holds the spec, classes and epoch.
    """
    tensors: dict[str, Tensor] = {}
    for name, weight in weights.items():
        split_tree(weight, tensors, name)
    metadata = {"fgvc": json.dumps(about, ensure_ascii=False)}
    write_atomically(path, lambda temporary: _save_tensors(temporary, tensors, metadata))


def load_model(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights (on the CPU) and the `about` of `save_model`. BadRequest if fgvc did not save the file."""
    about = about_model(path)
    try:
        return load_file(path), about
    except (OSError, SafetensorError):
        raise BadRequest(f"{path} is not a model saved by fgvc") from None


def about_model(path: Path) -> dict[str, Any]:
    """The `about` of `save_model`, without reading the weights. BadRequest if fgvc did not save the file."""
    if not path.is_file():
        raise BadRequest(f"there is no trained model at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {})["fgvc"]))
    except (OSError, ValueError, KeyError, SafetensorError):
        raise BadRequest(f"{path} is not a model saved by fgvc") from None


def _save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None) -> None:
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:  # safetensors turns an OSError (a full disk) into text: make it an OSError again
        number = re.search(r"os error (\d+)", str(error))
        code = int(number.group(1)) if number else errno.EIO
        raise OSError(code, os.strerror(code)) from error


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
