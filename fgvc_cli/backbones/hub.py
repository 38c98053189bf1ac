"""Weights in the layout of the Hugging Face hub: a folder with config.json and a weights file, here or on the hub."""

from __future__ import annotations

import json
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
    """The local weights file of `hf-hub:OWNER/NAME`, fetched if it was not before; its config.json lies beside it.

    Only files of weights and of settings are fetched: no code of a repository is.

    Raises:
        BadRequest: huggingface_hub is not installed, or the repository has no weights file.
        FgvcError: it could not be fetched.
    """
    repository = weights.removeprefix(HUB_PREFIX)
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError
    except ImportError:
        raise BadRequest(f"weights: {weights} needs the package huggingface_hub: pip install huggingface_hub") from None
    for name in _WEIGHTS:
        try:
            file = Path(hf_hub_download(repository, name))
            _beside(repository)
            return file
        except (RepositoryNotFoundError, HFValidationError):
            raise BadRequest(f"weights: the hub has no repository {repository!r} that can be read") from None
        except EntryNotFoundError as error:
            if _is_offline(error):
                raise _unreachable(weights, error) from error
        except Exception as error:  # the libraries for the network have types of their own
            raise _unreachable(weights, error) from error
    raise BadRequest(f"weights: {weights} has no {' and no '.join(_WEIGHTS)}")


def _beside(repository: str) -> None:
    """Fetch config.json, if there is one."""
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(repository, CONFIG)
    except Exception:  # then its preprocessing is taken from the library's record of the network
        return


def _is_offline(error: Exception) -> bool:
    return type(error).__name__ == "LocalEntryNotFoundError"


def _unreachable(weights: str, error: Exception) -> FgvcError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return FgvcError(
        f"could not fetch {weights} ({reason}): check the connection and try again (what was fetched once is used "
        "offline too), or use --weights FILE or FOLDER"
    )


def config_of(file: Path) -> dict[str, Any] | None:
    """What config.json beside a weights file says of its preprocessing, in timm's words; None if it says nothing."""
    try:
        tree = parse(read_text(file.parent / CONFIG))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValueError):
        return None
    config = tree.get("pretrained_cfg") if isinstance(tree, dict) else None
    return config if isinstance(config, dict) else None
