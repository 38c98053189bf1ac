"""Which preset fits this machine, for whoever trains on their own photos with another one."""

from __future__ import annotations

from fgvc_cli.backbones.timm.packaged_weights import has_package, install_hint
from fgvc_cli.backbones.weights import imagenet_file
from fgvc_cli.machine.device import resolve_device
from fgvc_cli.spec.backbone import TIMM_PREFIX, TORCHVISION_NAMES
from fgvc_cli.spec.presets import PRESETS, load_preset
from fgvc_cli.spec.run import RunSpec

_LIGHT = "light-folder"


def preset_note(spec: RunSpec) -> str | None:
    """A line that names the preset for this machine if the spec's has a network that is too large for it, or weights
    that are not on it; None where that network was chosen by the user. The network is not used.
    """
    if (
        spec.method.at_once
        or spec.data.dataset not in ("folder", "csv")
        or spec.preset not in PRESETS
        or spec.preset == _LIGHT
    ):
        return None
    backbone = spec.backbone
    if backbone.name != load_preset(spec.preset).backbone.name:
        return None
    if resolve_device(spec.train.device).type == "cpu":
        return f"{backbone.name} at {spec.data.image_size} pixels takes long on a CPU: {_light(spec)} takes minutes"
    if (
        backbone.weights == "imagenet"
        and backbone.name in TORCHVISION_NAMES
        and not imagenet_file(backbone.name).exists()
    ):
        return (
            f"the weights of {backbone.name} are not on this machine and will be downloaded; "
            f"without a network, {_light(spec)} needs no download"
        )
    return None


def _light(spec: RunSpec) -> str:
    """The flags, and what must be installed before."""
    recipe = load_preset(_LIGHT)
    network = recipe.backbone.name.removeprefix(TIMM_PREFIX)
    method = "" if spec.method.name == recipe.method.name else f" --method {spec.method.name}"
    before = "" if has_package(network) else f" (after {install_hint(network)})"
    return f"--preset {_LIGHT}{method}{before}"
