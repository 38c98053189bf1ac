"""Weights in the layout of the Hugging Face hub: a folder with config.json and a weights file, here or on the hub."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import read_text
from fgvc_cli.hub.client import Unreachable, fetch
from fgvc_cli.spec.backbone import HUB_PREFIX
from fgvc_cli.values import parse

CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first is preferred


def weights_in(folder: Path) -> Path | None:
    """The weights file of a folder; None if there is none."""
    return next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)


def fetched(weights: str) -> Path:
    """The local weights file of `hf-hub:OWNER/NAME[@REVISION]`, beside its config.json; fetched only the first time.

    Only files of weights and of settings are fetched: no code of a repository is.

    Raises:
        BadRequest: huggingface_hub is not installed, or the repository has no weights file that may be read.
        FgvcError: it could not be fetched.
    """
    kept = next((file for file in (_fetch(weights, name, local=True) for name in _WEIGHTS) if file), None)
    if kept is not None:
        return kept
    try:
        for name in _WEIGHTS:
            file = _fetch(weights, name)
            if file is not None:
                with suppress(BadRequest, FgvcError):  # then its preprocessing is that of the library's record
                    _fetch(weights, CONFIG)
                return file
    except Unreachable as error:
        advice = "(what was fetched once is used offline too), or use --weights FILE or FOLDER"
        raise FgvcError(f"{error} {advice}") from None
    raise BadRequest(f"weights: {weights} has no {' and no '.join(_WEIGHTS)}")


def _fetch(weights: str, name: str, *, local: bool = False) -> Path | None:
    """A file of the repository, or of what was fetched of it (`local`); None if there is none. Raises as `fetched`."""
    repository, _, revision = weights.removeprefix(HUB_PREFIX).partition("@")
    return fetch(repository, name, revision or None, f"weights: {weights}", local=local)


def config_of(file: Path) -> dict[str, Any] | None:
    """What config.json beside a weights file says of its preprocessing, in timm's words; None if it says nothing.

    timm's first files have it without the section `pretrained_cfg`.
    """
    try:
        tree = parse(read_text(file.parent / CONFIG))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValueError):
        return None
    config = tree.get("pretrained_cfg", tree) if isinstance(tree, dict) else None
    return config if isinstance(config, dict) else None
