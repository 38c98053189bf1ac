"""What starting weights were trained with: mean, standard deviation, interpolation, size and crop of the images."""

from __future__ import annotations

from typing import Any, NamedTuple

from fgvc_cli.backbones.hub import config_of
from fgvc_cli.backbones.weights import find_run, weights_file
from fgvc_cli.spec.backbone import TIMM_PREFIX, TORCHVISION_NAMES
from fgvc_cli.spec.data import AUTO, IMAGENET_MEAN, IMAGENET_STD, Interpolation, Triple
from fgvc_cli.spec.run import RunSpec

_KNOWN: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic")
_FIELDS = ("mean", "std", "interpolation", "image_size", "resize")


class Preprocessing(NamedTuple):
    """How images are made into a network's input. `crop`: side of the resized square for a crop of one pixel."""

    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    interpolation: Interpolation = "bilinear"
    size: int = 224
    crop: float = 1.0


def trained_with(spec: RunSpec) -> Preprocessing:
    """The preprocessing of the starting weights.

    Of a run of fgvc it is the run's own; of any other weights that of the library's weights for this network, as files
    do not say; for a random start the usual one (ImageNet's mean and standard deviation, bilinear).

    Raises:
        BadRequest: the weights do not exist, or timm is not installed.
    """
    name, weights = spec.backbone.name, spec.backbone.weights
    run = find_run(weights)
    if run is not None and run.preprocessing is not None:
        recorded = run.preprocessing
        size = recorded.side
        return Preprocessing(*recorded.normalisation, _known(recorded.interpolation), size, recorded.resize_side / size)
    if weights == "none":
        return Preprocessing()
    file = weights_file(weights)
    said = None if file is None else _of_config(config_of(file) or {})
    if said is not None:
        return said
    if name.startswith(TIMM_PREFIX):
        return _of_timm(name.removeprefix(TIMM_PREFIX))
    return _of_torchvision(name) if name in TORCHVISION_NAMES else Preprocessing()


def resolved(spec: RunSpec) -> RunSpec:
    """The spec with every `auto` of its data replaced by what the starting weights were trained with."""
    data = spec.data
    if AUTO not in (data.mean, data.std, data.interpolation, data.image_size, data.resize):
        return spec
    found = trained_with(spec)
    size = found.size if data.image_size == AUTO else data.image_size
    values = (found.mean, found.std, found.interpolation, size, round(size * found.crop))
    new = {name: value for name, value in zip(_FIELDS, values, strict=True) if getattr(data, name) == AUTO}
    return spec.model_copy(update={"data": type(data).model_validate(data.model_dump() | new)})


def contradiction(spec: RunSpec) -> str | None:
    """A line for the user if a resolved spec's pixels differ from those that the starting weights were trained with."""
    if spec.backbone.weights == "none":
        return None
    found = trained_with(spec)
    wrong = [
        f"data.{name} is {_short(ours)}, not {_short(theirs)}"
        for name, ours, theirs in (
            ("mean", spec.data.mean, found.mean),
            ("std", spec.data.std, found.std),
            ("interpolation", spec.data.interpolation, found.interpolation),
        )
        if ours != theirs
    ]
    return f"unlike what the starting weights were trained with, {', '.join(wrong)}" if wrong else None


def _short(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(f"{number:g}" for number in value)


def _known(name: str) -> Interpolation:
    """The interpolation of that name; some weights were trained with several, then bilinear."""
    return next((known for known in _KNOWN if known == name), "bilinear")


def _of_config(config: dict[str, Any]) -> Preprocessing | None:
    """What a config.json says in timm's words; None if it lacks a value or holds one of another kind."""
    try:
        mean, std = (tuple(float(value) for value in config[key]) for key in ("mean", "std"))
        size, crop = int(config["input_size"][-1]), 1 / float(config.get("crop_pct") or 1)
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    if len(mean) != 3 or len(std) != 3:
        return None
    return Preprocessing(mean, std, _known(str(config.get("interpolation"))), size, crop)


def _of_timm(model: str) -> Preprocessing:
    from fgvc_cli.backbones.timm.models import pretrained_config

    config = pretrained_config(model)
    mean, std = tuple(config.mean), tuple(config.std)
    size = int(config.input_size[-1])
    return Preprocessing(mean, std, _known(config.interpolation), size, 1 / config.crop_pct)


def _of_torchvision(name: str) -> Preprocessing:
    from torchvision.models import get_model_weights

    transforms: Any = get_model_weights(name)["IMAGENET1K_V1"].transforms()
    size, side = int(transforms.crop_size[0]), int(transforms.resize_size[0])
    interpolation = _known(transforms.interpolation.value)
    return Preprocessing(tuple(transforms.mean), tuple(transforms.std), interpolation, size, side / size)
