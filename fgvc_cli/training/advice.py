"""Which preset fits this machine: what training on own photos says in a line, and `fgvc doctor` by timed steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fgvc_cli.backbones import resolved, with_backbone
from fgvc_cli.backbones.choice import TORCH, at_hand
from fgvc_cli.backbones.timm.packaged_weights import has_package, install_hint
from fgvc_cli.backbones.weights import imagenet_file
from fgvc_cli.errors import BadRequest
from fgvc_cli.machine.device import prepare_device, resolve_device
from fgvc_cli.methods.cost import summarize
from fgvc_cli.spec.backbone import TIMM_PREFIX, TORCHVISION_NAMES
from fgvc_cli.spec.presets import PRESETS, load_preset
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.training.estimate import estimate_memory, estimate_time

_LIGHT = "light-folder"
_FOR_PHOTOS = ("modern-folder", "baseline-folder", _LIGHT, "probe-folder")  # the most demanding first
PHOTOS, _CLASSES = 2_000, 50  # of the data that a machine is judged by
HOUR = 60  # minutes that training them may take
_SECONDS = 2.5  # that timing one preset may take


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
    if _to_download(spec):
        return (
            f"the weights of {backbone.name} are not on this machine and will be downloaded; "
            f"without a network, {_light(spec)} needs no download"
        )
    return None


def _to_download(spec: RunSpec) -> bool:
    """Whether PyTorch downloads the weights first."""
    name = spec.backbone.name
    return spec.backbone.weights == "imagenet" and name in TORCHVISION_NAMES and not imagenet_file(name).exists()


@dataclass(frozen=True)
class Fit:
    """A preset, and what training PHOTOS photos with it takes here."""

    preset: str
    minutes: float
    basis: str  # of the minutes
    before: str  # what must be installed or downloaded before, as the end of a sentence


def fitting(reached: Mapping[str, bool]) -> Fit | None:
    """The most demanding preset for own photos that this machine trains in an HOUR, else the quickest; None: none.

    Steps are timed, for some seconds in all. A network whose weights are not here and cannot be had is passed over.

    Args:
        reached: whether `choice.HUB` and `choice.TORCH` answer.
    """
    slow: list[Fit] = []
    for name in _FOR_PHOTOS:
        fit = _timed(name, reached)
        if fit is not None and fit.minutes <= HOUR:
            return fit
        slow += [fit] if fit is not None else []
    return min(slow, key=lambda fit: fit.minutes, default=None)


def _timed(name: str, reached: Mapping[str, bool]) -> Fit | None:
    """What a preset takes here; None if it cannot be used."""
    try:
        spec = resolved(with_backbone(load_preset(name), reached)[0])
    except BadRequest:
        return None
    if not _to_be_had(spec, reached):
        return None
    device = prepare_device(spec.train)
    batch, operations = spec.train.batch_size, summarize(spec, _CLASSES).multiply_adds
    memory = estimate_memory(spec, _CLASSES, batch, device)
    if memory.free is not None and memory.total > memory.free:
        return None
    taken = estimate_time(spec, _CLASSES, batch, device, operations, memory, _SECONDS)
    epochs = 1 if spec.method.at_once else spec.train.epochs
    network = spec.backbone.name.removeprefix(TIMM_PREFIX)
    hint = "" if has_package(network) else install_hint(network)
    before = f"; before: {hint}" if hint else "; its weights are downloaded first" if _to_download(spec) else ""
    return Fit(name, taken.batch / batch * PHOTOS * epochs / 60, taken.basis, before)


def _to_be_had(spec: RunSpec, reached: Mapping[str, bool]) -> bool:
    """Whether the weights that a spec starts from are here or can be fetched."""
    name = spec.backbone.name
    if spec.backbone.weights != "imagenet":
        return True
    if name in TORCHVISION_NAMES:
        return reached[TORCH] or not _to_download(spec)
    network = name.removeprefix(TIMM_PREFIX)
    return bool(install_hint(network)) or at_hand(network, reached) is not None


def _light(spec: RunSpec) -> str:
    """The flags, and what must be installed before."""
    recipe = load_preset(_LIGHT)
    network = recipe.backbone.name.removeprefix(TIMM_PREFIX)
    method = "" if spec.method.name == recipe.method.name else f" --method {spec.method.name}"
    before = "" if has_package(network) else f" (after {install_hint(network)})"
    return f"--preset {_LIGHT}{method}{before}"
