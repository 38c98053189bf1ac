"""Weights in the layout of the Hugging Face hub: a folder with config.json and a weights file, here or on the hub."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from fgvc_cli.errors import BadRequest, FgvcError
from fgvc_cli.files import read_text
from fgvc_cli.spec.backbone import HUB_PREFIX
from fgvc_cli.values import parse

CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first is preferred


def weights_in(folder: Path) -> Path | None:
    """The weights file of a folder; None if there is none."""
    return next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)


def fetched(weights: str) -> Path:
    """The local weights file of `hf-hub:OWNER/NAME[@REVISION]`, fetched unless it was before, beside its config.json.

    Only files of weights and of settings are fetched: no code of a repository is.

    Raises:
        BadRequest: huggingface_hub is not installed, or the repository has no weights file that may be read.
        FgvcError: it could not be fetched.
    """
    for name in _WEIGHTS:
        file = _fetch(weights, name)
        if file is not None:
            with suppress(BadRequest, FgvcError):  # then its preprocessing is that of the library's record
                _fetch(weights, CONFIG)
            return file
    raise BadRequest(f"weights: {weights} has no {' and no '.join(_WEIGHTS)}")


def _fetch(weights: str, name: str) -> Path | None:
    """A file of the repository; None if it has none of that name. Raises as `fetched`."""
    try:
        from huggingface_hub import errors as hub
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise BadRequest(f"weights: {weights} needs the package huggingface_hub: pip install huggingface_hub") from None
    repository, _, revision = weights.removeprefix(HUB_PREFIX).partition("@")
    try:
        return Path(hf_hub_download(repository, name, revision=revision or None))
    except hub.GatedRepoError:
        page = f"accept them on the page of {repository} and log in with `hf auth login`"
        raise BadRequest(f"weights: {weights} is only for those who accepted its terms: {page}") from None
    except (hub.RepositoryNotFoundError, hub.HFValidationError):
        raise BadRequest(f"weights: the hub has no repository {repository!r} that can be read") from None
    except hub.RevisionNotFoundError:
        raise BadRequest(f"weights: {repository} has no revision {revision!r}") from None
    except hub.EntryNotFoundError as error:
        if _is_offline(error):
            raise _unreachable(weights, error) from error
        return None
    except Exception as error:  # the libraries for the network have types of their own
        raise _unreachable(weights, error) from error


def _is_offline(error: Exception) -> bool:
    return type(error).__name__ == "LocalEntryNotFoundError"


def _unreachable(weights: str, error: Exception) -> FgvcError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return FgvcError(
        f"could not fetch {weights} ({reason}): check the connection and try again (what was fetched once is used "
        "offline too), or use --weights FILE or FOLDER"
    )


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
