"""Checkpoints: any tree of tensors and plain values as one safetensors file and one JSON file. Never a pickle."""

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
    """The JSON form of `tree`; its tensors land in `tensors` under their path, contiguous and on the CPU."""
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
    """The inverse of split_tree (tuples come back as lists)."""
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
    """Write checkpoints/STEP/ whole or not at all; older ones beyond `keep` are removed afterwards."""

    def write(folder: Path) -> None:
        tensors: dict[str, Tensor] = {}
        text = json.dumps(split_tree(state, tensors))
        _save_tensors(folder / "state.safetensors", tensors, None)
        (folder / "state.json").write_text(text, encoding="utf-8")

    if not run.checkpoint(step).exists():  # the same step again, after a resume, is the same state
        write_folder_atomically(run.checkpoint(step), write)
    for old in run.checkpoint_steps()[:-keep]:
        shutil.rmtree(run.checkpoint(old), ignore_errors=True)


def load_checkpoint(run: RunFolder, step: int) -> Any:
    """The state saved at `step`. FgvcError where the files are damaged."""
    folder = run.checkpoint(step)
    try:
        tree = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return join_tree(tree, load_file(folder / "state.safetensors"))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise FgvcError(f"checkpoint {folder} is damaged ({error}): delete that folder and resume again") from None


def save_model(path: Path, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """One file that alone predicts: weights, and under the metadata key `fgvc` the spec, classes and epoch."""
    tensors: dict[str, Tensor] = {}
    for name, weight in weights.items():
        split_tree(weight, tensors, name)
    metadata = {"fgvc": json.dumps(about, ensure_ascii=False)}
    write_atomically(path, lambda temporary: _save_tensors(temporary, tensors, metadata))


def load_model(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights (CPU) and what `save_model` was told about them. BadRequest where the file is not fgvc's."""
    about = about_model(path)
    try:
        return load_file(path), about
    except (OSError, SafetensorError):
        raise BadRequest(f"{path} is no model that fgvc saved") from None


def about_model(path: Path) -> dict[str, Any]:
    """What `save_model` was told about the weights in a file, which are not read. BadRequest where it is not fgvc's."""
    if not path.is_file():
        raise BadRequest(f"there is no trained model at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {})["fgvc"]))
    except (OSError, ValueError, KeyError, SafetensorError):
        raise BadRequest(f"{path} is no model that fgvc saved") from None


def _save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None) -> None:
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:  # safetensors wraps the system's error in text: a full disk must stay one
        number = re.search(r"os error (\d+)", str(error))
        code = int(number.group(1)) if number else errno.EIO
        raise OSError(code, os.strerror(code)) from error


def random_state(device: torch.device) -> dict[str, Tensor]:
    """States of the default generators that a step may draw from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the default generators back; one that was not saved (another kind of device) is left alone."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
